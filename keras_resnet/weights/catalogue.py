"""The public checkpoints of the networks: a row each, how it reads images and what it reaches, without Keras."""

import csv
from dataclasses import dataclass, replace
from difflib import get_close_matches
from fnmatch import fnmatchcase
from functools import cache
from importlib.resources import files
from typing import Any

from keras_resnet.modelcard import IMAGENET, PREPROCESSINGS, Preprocessing

KERAS = "keras.applications."  # before the name of its function
TORCHVISION_FIRST = "tv_in1k"  # the weights that papers compare with
FILE = "catalogue.csv"
NONCOMMERCIAL = "non-commercial"


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """Published weights of a network. Accuracies are in % on ImageNet's validation images."""

    network: str
    tag: str  # for `weights=`; behind another name and a dot where the weights change fields of the network's row
    source: str  # hf://owner/repo, or the function of keras.applications
    revision: str  # of the hub's repository: a commit, or "main"
    licence: str | None  # None where the source names none
    classes: int  # 0 without a classifier
    size: int  # pixels of the images with which the accuracy was measured
    crop: float  # share of the resized image's height that is kept
    interpolation: str
    normalization: str  # a key of PREPROCESSINGS
    top1: float | None
    top5: float | None

    @property
    def preprocessing(self) -> tuple[Preprocessing, float]:
        """How it reads images of any size, and the share that the crop keeps."""
        return replace(PREPROCESSINGS[self.normalization][0], interpolation=self.interpolation), self.crop

    @property
    def address(self) -> str:
        """With the revision, where that is a commit."""
        return self.source if self.revision in ("", "main") else f"{self.source}@{self.revision}"

    @property
    def is_default(self) -> bool:
        """Whether `weights="imagenet"` is this one."""
        return default(self.network) == self


class Checkpoints(tuple[Checkpoint, ...]):
    """Rows that print as a table."""

    __slots__ = ()

    def __repr__(self) -> str:
        """One line a checkpoint; * marks what `weights="imagenet"` loads."""
        rows = [HEADINGS, *map(cells, self)]
        widths = [max(len(row[column]) for row in rows) for column in range(len(HEADINGS))]
        return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


HEADINGS = ("network", "weights", "", "top-1", "top-5", "pixels", "licence", "source")


def cells(row: Checkpoint) -> tuple[str, ...]:
    accuracies = [f"{value:5.2f}" if value else "-" for value in (row.top1, row.top5)]
    return (row.network, row.tag, "*" * row.is_default, *accuracies, str(row.size), shown(row.licence), row.source)


def shown(licence: str | None) -> str:
    """The licence, and whether it excludes commercial use."""
    return f"{licence} ({NONCOMMERCIAL})" if is_noncommercial(licence) else licence or "unknown"


def is_noncommercial(licence: str | None) -> bool:
    return "-nc" in (licence or "")


KINDS: dict[str, Any] = {"classes": int, "size": int, "crop": float, "top1": float, "top5": float}
MAY_LACK = ("licence", "top1", "top5")


@cache
def catalogue() -> Checkpoints:
    """All rows, network by network."""
    text = (files("keras_resnet.weights") / FILE).read_text()
    return Checkpoints(map(checkpoint_of, csv.DictReader(text.splitlines())))


def checkpoint_of(cells: dict[str, str]) -> Checkpoint:
    values = {name: KINDS.get(name, str)(cell) if cell else "" for name, cell in cells.items()}
    return Checkpoint(**values | {name: values[name] or None for name in MAY_LACK})


def pretrained(pattern: str = "*") -> Checkpoints:
    """The public checkpoints of the networks that match a shell pattern, which `weights=` takes by their tags.

    Args:
        pattern: Of networks' names, such as "resnet50*".

    Returns:
        Rows with `network`, `tag`, `source`, `revision`, `licence`, `classes`, `size`, `top1`, `top5` and
        `preprocessing`. They print as a table, in which * marks what `weights="imagenet"` loads.

    >>> import keras_resnet
    >>> keras_resnet.pretrained("resnet18d")
    network    weights                 top-1  top-5  pixels  licence     source
    resnet18d  ra2_in1k                72.30  90.68  224     apache-2.0  hf://timm/resnet18d.ra2_in1k
    resnet18d  ra4_e3600_r224_in1k  *  74.36  91.83  224     apache-2.0  hf://timm/resnet18d.ra4_e3600_r224_in1k
    """
    return Checkpoints(row for row in catalogue() if fnmatchcase(row.network, pattern))


def default(network: str) -> Checkpoint | None:
    """keras.applications' own, or torchvision's first, or the most accurate that commerce may use, or any."""
    return max((row for row in catalogue() if row.network == network), key=preference, default=None)


def preference(row: Checkpoint) -> tuple[Any, ...]:
    rank = (row.source.startswith(KERAS), row.tag == TORCHVISION_FIRST)
    return *rank, "." not in row.tag, row.licence is not None and not is_noncommercial(row.licence), row.top1 or 0


def chosen(weights: Any, network: str | None) -> Checkpoint | None:
    """The checkpoint that "imagenet" or a tag is for that network, if any."""
    if network is None or not isinstance(weights, str):
        return None
    if weights == IMAGENET:
        return default(network)
    return next((row for row in catalogue() if (row.network, row.tag) == (network, weights)), None)


def nearest(network: str) -> list[str]:
    """Networks with checkpoints whose names are most like that one."""
    return get_close_matches(network, {row.network: None for row in catalogue()}, 3, cutoff=0)
