"""Where weights may come from: names, addresses and files, checked before anything is read and without Keras."""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from keras_resnet.checks import expect
from keras_resnet.modelcard import IMAGENET

HUB = "hf://"
CIFAR10 = "cifar10"  # for weights of ours

Blocks = tuple[int, ...]  # of every stage

# the network of keras.applications that is also one of ours
APPLICATIONS: dict[Blocks, str] = {
    (3, 4, 6, 3): "ResNet50",
    (3, 4, 23, 3): "ResNet101",
    (3, 8, 36, 3): "ResNet152",
    (6, 12, 24, 16): "DenseNet121",
    (6, 12, 32, 32): "DenseNet169",
    (6, 12, 48, 32): "DenseNet201",
}
TRAINED: dict[Blocks, str] = {(3, 3, 3): "resnet20"}  # by this project
NAMED = {IMAGENET: APPLICATIONS, CIFAR10: TRAINED}

SUFFIXES = {
    ".weights.h5": "keras",
    ".keras": "keras",
    ".safetensors": "safetensors",
    ".caffemodel": "caffe",
    **dict.fromkeys((".pth", ".pt", ".th", ".tar", ".bin"), "torch"),
}
EXPECTED = f"None, '{IMAGENET}', '{CIFAR10}', hf://owner/repo, a Keras model, or a file {', '.join(SUFFIXES)}"


def blocks_of(stages: Sequence[int | Sequence[int]]) -> Blocks:
    """The number of blocks in every stage of a row."""
    return tuple(stage if isinstance(stage, int) else len(stage) for stage in stages)


def expect_source(source: str | Path, blocks: Blocks) -> None:
    """Raises an error if no weights can have that name, address or path."""
    if source in NAMED:
        expect_network(str(source), blocks)
    elif str(source).startswith(HUB):
        expect_repository(str(source))
    else:
        expect_file(source)


def expect_network(source: str, blocks: Blocks) -> None:
    there = NAMED[source]
    expect(blocks in there, "weights", f"another source: {source!r} has only {', '.join(there.values())}", source)


def expect_repository(address: str) -> None:
    owner, _, name = address.removeprefix(HUB).partition("@")[0].partition("/")
    expect(owner and name and "/" not in name, "weights", "hf://owner/repo or hf://owner/repo@revision", address)
    expect_library("huggingface_hub", "hub", address)


def expect_file(path: str | Path) -> None:
    expect(suffix_of(path), "weights", EXPECTED, path)
    expect(Path(path).is_file(), "weights", f"{EXPECTED}, that exists", path)


def suffix_of(path: str | Path) -> str:
    return next((suffix for suffix in SUFFIXES if str(path).endswith(suffix)), "")


def expect_library(module: str, extra: str, source: str | Path) -> None:
    library = f"the library {module}, as in keras-resnet-zoo[{extra}], to read it with"
    expect(find_spec(module), "weights", library, str(source))
