"""Writes docs/results.md from the cards of `saved_models/`: `python docs/results.py`; more run folders as arguments."""

import json
import sys
from dataclasses import asdict
from pathlib import Path

from keras_resnet import NETWORKS
from keras_resnet.modelcard import Card

ROOT = Path(__file__).parent.parent
PAPERS = {  # test error in %, and where it is printed
    ("resnet20", "cifar10"): (8.75, "He et al. 2015, table 6"),
    ("resnet32", "cifar10"): (7.51, "He et al. 2015, table 6"),
    ("resnet44", "cifar10"): (7.17, "He et al. 2015, table 6"),
    ("resnet56", "cifar10"): (6.97, "He et al. 2015, table 6"),
    ("resnet110", "cifar10"): (6.43, "He et al. 2015, table 6"),
    ("wide_resnet28_10", "cifar10"): (4.00, "Zagoruyko and Komodakis' repository"),
    ("resnext29_8x64d", "cifar10"): (3.65, "Xie et al. 2017, table 7"),
}
HEAD = """# Results

What this code reached, on which data, with which command. The errors are those of the whole test split, at the end of
the training: no epoch was chosen by it. `python docs/results.py` writes this page from the cards of `saved_models/`.

| network | data | test error | paper's | epochs | seed | hours | on | command |
| --- | --- | ---: | ---: | ---: | ---: | ---: | --- | --- |
"""


def row(folder: Path) -> str:
    card = Card.from_json((folder / "card.json").read_text())
    command = json.loads((folder / "run.json").read_text())["command"]
    as_published = card.config == json.loads(json.dumps(asdict(NETWORKS[card.network])))
    paper, where = PAPERS.get((card.network, card.data["name"]), (None, None)) if as_published else (None, None)
    published = f"{paper:.2f} % ({where})" if paper else "not printed"
    error, hours = 100 * (1 - card.metrics["accuracy"]), card.metrics["training_seconds"] / 3600
    return (
        f"| {card.network} | {card.data['name']} | {error:.2f} % | {published} | {card.recipe['epochs']} | {card.seed} "
        f"| {hours:.2f} | {card.hardware} | `{command}` |"
    )


if __name__ == "__main__":
    folders = sorted(path.parent for path in (ROOT / "saved_models").glob("*/card.json"))
    rows = [row(folder) for folder in [*folders, *map(Path, sys.argv[1:])]]
    (ROOT / "docs" / "results.md").write_text(HEAD + "\n".join(rows) + "\n")
