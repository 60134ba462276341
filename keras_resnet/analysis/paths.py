"""How long the paths through a network are, and what gradient each length carries: Veit et al. 2016, figure 6."""

from collections.abc import Sequence
from functools import partial
from math import comb
from typing import Any, NamedTuple, Unpack

import keras
import numpy as np

from keras_resnet.analysis.gates import blocks, gates, opened
from keras_resnet.analysis.gradients import gradient_norms
from keras_resnet.analysis.measuring import columns_text, expect_draws, mean_over, subsets
from keras_resnet.analysis.samples import Reading, sample
from keras_resnet.checks import expect


class Paths(NamedTuple):
    lengths: np.ndarray  # int [blocks + 1]: how many branches a path goes through
    shares: np.ndarray  # float64 [blocks + 1]: of all paths
    norms: np.ndarray  # float64 [blocks + 1]: of the gradient that one path of the length carries to the image

    @property
    def contributions(self) -> np.ndarray:
        """Shares times norms, made to sum to 1: Veit et al.'s figure 6c."""
        product = self.shares * self.norms
        return product / product.sum()

    def __str__(self) -> str:
        return columns_text(self.lengths, self.shares, self.norms, self.contributions)


def path_gradients(
    model: keras.Model, data: Any, *, repeats: int = 20, seed: int = 0, **reading: Unpack[Reading]
) -> Paths:
    """The distribution of path lengths and the gradient by path length: Veit et al. 2016, figure 6.

    A path goes through the branch of some blocks, as many as it is long, and through the shortcut of the others (a
    multi-residual block's branches count as one). The activations are the whole network's own; the gradient of an
    image's cross-entropy flows back through that path alone. Its L2 norm at the image, as the network reads it, is
    averaged over images and paths. Batch norm uses its moving statistics.

    Args:
        model: A residual or dense network of this package, also a loaded or nested one.
        data: As `keras_resnet.load_data` takes it.
        repeats: Paths drawn of each length; all of them where there are no more.
        seed: Of the draws.
        reading: As in `sample`: split, images, preprocessing, batch_size.

    Returns:
        Lengths, shares of all paths (binomial: n over length, divided by 2^n) and mean norms.

    Raises:
        ValueError: If the network has no shortcuts, and so a single path, or an argument is invalid.
    """
    expect_draws(repeats, seed)
    parts = blocks(model)
    expect(all(part.sums for part in parts), "model", "a network with shortcuts: a plain one has one path", model.name)
    batches, norms, total = sample(model, data, **reading), gradient_norms(model, parts), len(parts)

    def norm(path: Sequence[int]) -> float:
        return mean_over(batches, partial(norms, gates=gates(opened(parts), through(total, path))))[0]

    lengths = range(total + 1)
    shares = np.array([comb(total, length) / 2**total for length in lengths])
    paths = [subsets(range(total), length, repeats, seed) for length in lengths]
    return Paths(np.array(lengths), shares, np.array([np.mean([norm(path) for path in same]) for same in paths]))


def through(total: int, chosen: Sequence[int]) -> np.ndarray:
    """[blocks, 2]: the branches of the chosen blocks, and the shortcuts of the others."""
    branch = np.isin(np.arange(total), chosen)
    return np.stack([~branch, branch], -1).astype("float32")
