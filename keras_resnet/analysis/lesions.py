"""What a network still does without some of its blocks: Veit et al. 2016, figures 3 and 5a."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple, Unpack

import keras
import numpy as np
import tensorflow as tf

from keras_resnet.analysis.gates import Block, blocks, gated, gates, opened
from keras_resnet.analysis.measuring import columns_text, compiled, expect_draws, mean_over, subsets
from keras_resnet.analysis.samples import Reading, sample
from keras_resnet.checks import Rule, expect, expect_rule, is_integer, is_list_of


class Lesion(NamedTuple):
    baseline: float  # error of the whole network; errors are fractions of the images
    names: tuple[str, ...]  # of the blocks
    errors: np.ndarray  # float64 [blocks]: without that block; NaN where it cannot be deleted
    counts: tuple[int, ...]
    several: tuple[np.ndarray, ...]  # for each count, the errors [draws] without so many random blocks

    def __str__(self) -> str:
        means, low, high = zip(*((drawn.mean(), drawn.min(), drawn.max()) for drawn in self.several), strict=True)
        one, several = columns_text(self.names, self.errors), columns_text(self.counts, means, low, high)
        whole = f"error of the whole network {self.baseline:.4f}; without one block:\n{one}"
        return f"{whole}\nwithout so many random blocks, mean, least and greatest:\n{several}"


def lesion(
    model: keras.Model,
    data: Any,
    *,
    counts: Sequence[int] | None = None,
    repeats: int = 5,
    seed: int = 0,
    **reading: Unpack[Reading],
) -> Lesion:
    """Errors of a network without one of its blocks, and without several: Veit et al. 2016, figures 3 and 5a.

    Of a deleted block the shortcut remains, also the projection of one that changes the shape; of a dense block's
    layer, zeros. A plain block is skipped, as Veit et al. do in VGG: its input is its output. One that changes the
    shape has no such thing, cannot be deleted, and has the error NaN. The rest is as it was trained.

    Args:
        model: A residual, plain or dense network of this package, also a loaded or nested one.
        data: As `keras_resnet.load_data` takes it.
        counts: How many random blocks to delete; up to ten numbers from 1 to all where not given.
        repeats: Draws of each count; all subsets where there are no more.
        seed: Of the draws.
        reading: As in `sample`: split, images, preprocessing, batch_size.

    Returns:
        The whole network's error, each block's, and those of the draws.

    Raises:
        ValueError: If the network has no blocks that can be deleted, or an argument is invalid.
    """
    expect_draws(repeats, seed)
    parts = blocks(model)
    among = [index for index, part in enumerate(parts) if part.sums or not part.changes_shape]
    expect(among, "model", "a network with a block that keeps the shape, or with shortcuts", model.name)
    few = np.unique(np.linspace(1, len(among), min(len(among), 10)).astype(int)).tolist()
    sizes = few if counts is None else counts
    expect_rule(sizes_up_to(len(among)), "counts", sizes)
    batches, wrong = sample(model, data, **reading), misclassified(model, parts)

    def error(deleted: Sequence[int]) -> float:
        left = opened(parts)
        left[list(deleted)] = 1, 0
        return float(mean_over(batches, partial(wrong, gates=gates(left, left))))

    singles = np.array([error([index]) if index in among else np.nan for index in range(len(parts))])
    several = tuple(np.array([error(deleted) for deleted in subsets(among, size, repeats, seed)]) for size in sizes)
    return Lesion(error([]), tuple(part.name for part in parts), singles, tuple(sizes), several)


def sizes_up_to(most: int) -> Rule:
    is_size = is_list_of(lambda size: is_integer(size) and 1 <= size <= most)
    return Rule(is_size, f"a list of numbers from 1 to the {most} blocks that can be deleted")


def misclassified(model: keras.Model, parts: Sequence[Block]) -> Callable:
    """(images, labels, gates) -> [N]: 1 where the likeliest class is not the label."""

    def wrong(images: tf.Tensor, labels: tf.Tensor, gates: tf.Tensor) -> tf.Tensor:
        with gated(parts, gates):
            outputs = model(images, training=False)
        return tf.cast(tf.argmax(outputs, 1) != tf.argmax(labels, 1), tf.float32)

    return compiled(wrong, model, parts)
