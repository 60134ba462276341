"""Where weights may come from: names, addresses and files, checked before anything is read and without Keras."""

import re
from collections.abc import Sequence
from pathlib import Path

from keras_resnet.checks import expect, invalid, one_of
from keras_resnet.modelcard import IMAGENET
from keras_resnet.weights.catalogue import chosen, nearest, pretrained

HUB = "hf://"
CIFAR10 = "cifar10"  # for weights of ours

CHANNEL_ORDER = one_of(None, "RGB", "BGR")  # of what a source's network reads; None as its project's networks

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
OTHERS = f"'{CIFAR10}', hf://owner/repo, a Keras model, or a file {', '.join(SUFFIXES)}"
EXPECTED = f"None, '{IMAGENET}', a tag of keras_resnet.pretrained(), {OTHERS}"


def blocks_of(stages: Sequence[int | Sequence[int]]) -> Blocks:
    """The number of blocks in every stage of a row."""
    return tuple(stage if isinstance(stage, int) else len(stage) for stage in stages)


def expect_source(source: str | Path, blocks: Blocks, network: str | None = None) -> None:
    """Raises an error if no weights of the network can have that name, address or path.

    Args:
        source: What `weights=` is.
        blocks: The number of blocks in every stage.
        network: The published name, if there is one.
    """
    if chosen(source, network):
        return
    if source in NAMED:
        expect_network(str(source), blocks, network)
    elif str(source).startswith(HUB):
        expect_repository(str(source))
    else:
        expect_file(source, network)


def expect_network(source: str, blocks: Blocks, network: str | None) -> None:
    there = NAMED[source]
    if source == IMAGENET and network:
        near = f"{network} has no public weights; networks near it that have are {', '.join(nearest(network))}"
        raise invalid("weights", f"another source: {near}", source)
    expect(blocks in there, "weights", f"another source: {source!r} has only {', '.join(there.values())}", source)


def expect_repository(address: str) -> None:
    form = "hf://owner/repo or hf://owner/repo@revision"
    expect(re.fullmatch(rf"{HUB}\w[\w.-]*/\w[\w.-]*(@[\w./-]+)?", address, re.ASCII), "weights", form, address)


def expect_file(path: str | Path, network: str | None = None) -> None:
    tags = ", ".join(f"'{row.tag}'" for row in pretrained(network or ""))
    expected = f"None, '{IMAGENET}', a tag of {network}'s ({tags}), {OTHERS}" if tags else EXPECTED
    expect(suffix_of(path), "weights", expected, path)
    expect(Path(path).is_file(), "weights", f"{EXPECTED}, that exists", path)


def suffix_of(path: str | Path) -> str:
    return next((suffix for suffix in SUFFIXES if str(path).endswith(suffix)), "")
