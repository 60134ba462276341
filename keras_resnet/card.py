"""What is known of a trained network, beside its files: how it was made, on what, and how good it is."""

import json
import platform
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from keras_resnet.files import completed


@dataclass(frozen=True)
class Preprocessing:
    """From pixels of 0 to 255 to what the network reads: (pixels - mean) / std, a channel each."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __call__(self, images):
        return (images - self.mean) / self.std


def versions() -> dict[str, str]:
    """Of what has been imported, whatever the distributions are called that brought it."""
    loaded = [name for name in ("keras_resnet", "keras", "tensorflow", "jax", "numpy") if name in sys.modules]
    return {"python": platform.python_version(), **{name: sys.modules[name].__version__ for name in loaded}}


@dataclass(frozen=True, kw_only=True)
class Card:
    """The record of one training run. Accuracies are fractions."""

    network: str
    config: dict[str, Any]  # the network's row
    input_shape: tuple[int, int, int]
    params: int
    macs: int
    recipe: dict[str, Any]
    data: dict[str, Any]
    class_names: tuple[str, ...]
    preprocessing: Preprocessing
    seed: int
    metrics: dict[str, float]
    versions: dict[str, str] = field(default_factory=versions)

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=2) + "\n"

    def to_markdown(self) -> str:
        """One table for what is single, one for each of what has parts."""
        record = asdict(self)
        single = {key: value for key, value in record.items() if not isinstance(value, dict)}
        parts = {key: value for key, value in record.items() if isinstance(value, dict)}
        tables = [f"# {self.network} on {self.data['name']}", table(single)]
        tables += [f"## {key.capitalize()}\n\n{table(value)}" for key, value in parts.items()]
        return "\n\n".join(tables) + "\n"

    def write(self, folder: Path) -> None:
        """`card.json`, and the same to read as `card.md`."""
        for name, text in (("card.json", self.to_json()), ("card.md", self.to_markdown())):
            with completed(folder / name) as path:
                path.write_text(text)


def table(values: dict[str, Any]) -> str:
    return "\n".join(["| | |", "| --- | --- |", *(f"| {key} | {shown(value)} |" for key, value in values.items())])


def shown(value: Any) -> str:
    if isinstance(value, list | tuple) and all(isinstance(item, str) for item in value):
        return ", ".join(value)
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
