"""What a run is made of, by names and numbers alone: it needs no Keras, so that errors come at once."""

import json
import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from keras_resnet.checks import SEED, expect, expect_known, expect_rule, make_plain
from keras_resnet.files import read_state
from keras_resnet.networks import zoo
from keras_resnet.networks.arguments import check_arguments, check_part, check_size
from keras_resnet.training.recipes import Recipe, recipe_of

OPTIONS = ("data", "on_error", "validation", "recipe", "weights", "freeze", "size", "seed", "remat")  # of the command
MEANS = ("strategy", "remat")  # a resumed run may have others


@dataclass(frozen=True, kw_only=True)
class Run:
    """The settings of a run: from them, and the data, it can be repeated."""

    network: str
    data: str
    data_dir: str | None = None
    on_error: str = "raise"  # or "skip": images that cannot be decoded are left out
    validation: float | None = None  # share or number of the training images that are held out to choose the epoch
    recipe: str | None = None  # of RECIPES; None: by the data
    changes: Mapping[str, Any] = field(default_factory=dict)  # of the recipe
    config: Mapping[str, Any] = field(default_factory=dict)  # changes of the network's row
    weights: str | None = None
    freeze: str | None = None  # up to which part, in the first half of the epochs
    size: int | None = None  # of the images in pixels
    seed: int = 0
    strategy: str = "auto"
    remat: bool = False  # blocks are computed again in the backward pass, in less memory

    def __post_init__(self) -> None:
        make_plain(self)
        expect_rule(SEED, "seed", self.seed)

    @cached_property
    def row(self) -> zoo.Config:
        """The network's row with the changes. A ValueError says what is wrong with them."""
        return zoo.row(self.network, **self.config)

    @property
    def recipe_and_why(self) -> tuple[str, str] | None:
        """The recipe's name, and what it was chosen by; None where it goes by the size of the images."""
        if self.recipe:
            return self.recipe, "as asked for"
        if self.weights:
            return "finetune", "for a start from weights"
        return ("digits", "for these data") if self.data == "digits" else None

    def changed(self, recipe: str) -> Recipe:
        """The recipe of that name with the changes."""
        row = recipe_of(recipe)
        for key in self.changes:
            expect_known("set", [f.name for f in fields(Recipe)], key)
        return replace(row, **self.changes)

    def check(self) -> None:
        """Raises a ValueError for what is wrong, as far as it shows without data and without Keras."""
        check_size(self.size, self.row)
        check_part(self.freeze, self.row)
        check_arguments(self.row, None, self.weights, self.remat, self.network)
        if self.recipe_and_why:
            self.changed(self.recipe_and_why[0])

    @property
    def command(self) -> str:
        """Repeats the run, wherever the data are."""
        defaults = {f.name: f.default for f in fields(self)}
        changed = {name: value for name, value in asdict(self).items() if value != defaults[name]}
        options = [option(name, changed[name]) for name in OPTIONS if name in changed]
        options += [option(name, value) for name, value in self.config.items()]
        if self.changes:
            options += ["--set", *(shlex.quote(f"{key}={json.dumps(value)}") for key, value in self.changes.items())]
        return " ".join(["keras-resnet train", self.network, *options])

    @classmethod
    def read(cls, folder: Path) -> "Run":
        """The run of that folder."""
        path = folder / "run.json"
        expect(path.is_file(), "folder", "the folder of a run, with a run.json", str(folder))
        return read_state(path, lambda path: cls.of(json.loads(path.read_bytes())["run"]))

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> "Run":
        """Fields of later versions are passed over."""
        return cls(**{name: record[name] for name in (f.name for f in fields(cls)) if name in record})

    def differing(self, before: "Run") -> list[str]:
        """The fields in which it cannot resume that run."""
        theirs, ours = asdict(before), asdict(self)
        return [key for key in ours if key not in MEANS and theirs[key] != ours[key]]

    def expect_same(self, before: "Run", folder: Path) -> None:
        """Raises a ValueError unless it resumes that run."""
        differing, theirs, ours = self.differing(before), asdict(before), asdict(self)
        wanted = f"the run that is in {folder}, with { {key: theirs[key] for key in differing} }, or another output"
        expect(not differing, "resume", wanted, {key: ours[key] for key in differing})


def option(name: str, value: Any) -> str:
    """Of a command."""
    flag = name.replace("_", "-")
    if isinstance(value, bool):
        return f"--{flag}" if value else f"--no-{flag}"
    return f"--{flag} {shlex.quote(value if isinstance(value, str) else json.dumps(value))}"
