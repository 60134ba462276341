"""What all studies share: a compiled function of a network, means over images, random subsets, a table as text."""

from collections.abc import Callable, Iterable, Sequence
from itertools import combinations
from math import comb
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_resnet.analysis.gates import Block
from keras_resnet.analysis.samples import Batch
from keras_resnet.checks import COUNT, at_least, expect_rule


def compiled(function: Callable, model: keras.Model, parts: Sequence[Block] | None = None) -> Callable:
    """`function` of images, or of images, labels and the blocks' gates: traced once, whatever the number of images."""
    images, labels = tf.TensorSpec((None, *model.input_shape[1:])), tf.TensorSpec((None, model.output_shape[-1]))
    signature = [images] if parts is None else [images, labels, tf.TensorSpec((len(parts), 2, 2))]
    return tf.function(function, signature, autograph=False)


def mean_over(batches: Sequence[Batch], function: Callable) -> np.ndarray:
    """The mean over the images of what a function of a batch gives for each: [..., N] -> [...]."""
    return np.concatenate([function(*batch).numpy().astype("float64") for batch in batches], -1).mean(-1)


def subsets(among: Sequence[int], size: int, repeats: int, seed: int) -> list[Sequence[int]]:
    """Of that size: all of them, or so many random ones."""
    if comb(len(among), size) <= repeats:
        return list(combinations(among, size))
    random = np.random.default_rng((seed, size))
    return [random.choice(among, size, replace=False).tolist() for _ in range(repeats)]


def expect_draws(repeats: int, seed: int) -> None:
    expect_rule(COUNT, "repeats", repeats)
    expect_rule(at_least(0), "seed", seed)


def columns_text(*columns: Iterable[Any]) -> str:
    """A result as text, each column as wide as its longest entry."""
    texts = [[entry if isinstance(entry, str) else f"{entry:.4g}" for entry in column] for column in columns]
    aligned = [[text.rjust(max(map(len, column))) for text in column] for column in texts]
    return "\n".join(map("  ".join, zip(*aligned, strict=True)))
