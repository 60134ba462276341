"""Pins the checkpoints of the catalogue to the commits that the Hugging Face hub has now: `python docs/pin.py`.

Run it in a clone where the hub can be reached, and commit the catalogue. From then on everybody loads these files, also
if a repository changes.
"""

import csv
from pathlib import Path

from keras_resnet.files import replaced
from keras_resnet.weights.hub import SAFETENSORS, metadata
from keras_resnet.weights.sources import HUB

CATALOGUE = Path(__file__).parent.parent / "keras_resnet" / "weights" / "catalogue.csv"


def pin(catalogue: Path = CATALOGUE) -> int:
    """Writes the commits into the column `revision`, all or none; returns how many."""
    with catalogue.open(newline="") as file:
        rows = list(csv.DictReader(file))
    on_hub = [row for row in rows if row["source"].startswith(HUB)]
    for row in on_hub:
        row["revision"] = metadata(row["source"], SAFETENSORS).commit_hash
    with replaced(catalogue) as partial, partial.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return len(on_hub)


if __name__ == "__main__":
    print(f"{pin()} checkpoints pinned in {CATALOGUE}")
