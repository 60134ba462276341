"""Convolutions, dense layers and norms of any source in the same terms."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from keras_resnet.checks import POSITIVE


@dataclass(frozen=True, eq=False)
class Affine:
    """A convolution, or a dense layer as a 1x1 convolution."""

    kernel: np.ndarray  # float32 [height, width, channels of a group, filters]
    bias: np.ndarray | None = None
    stride: int | None = None  # None where the format does not tell

    @property
    def shape(self) -> tuple[int, ...]:
        return self.kernel.shape

    @property
    def whole(self) -> bool:
        """Raises an error unless the parts agree in size."""
        return self.bias is None or self.bias.shape == self.kernel.shape[-1:]


@dataclass(frozen=True, eq=False)
class Norm:
    """(x - mean) / sqrt(variance + epsilon) * gamma + beta"""

    gamma: np.ndarray
    beta: np.ndarray
    mean: np.ndarray
    variance: np.ndarray
    epsilon: float | None = None  # None where the format does not tell

    @property
    def shape(self) -> tuple[int, ...]:
        return self.gamma.shape

    @property
    def whole(self) -> bool:
        """Raises an error unless the parts agree in size."""
        return all(part.shape == (self.gamma.size,) for part in (self.gamma, self.beta, self.mean, self.variance))


@dataclass(frozen=True)
class Other:
    """A layer that none of our networks has, such as a group norm."""

    shapes: Mapping[str, tuple[int, ...]]

    @property
    def shape(self) -> str:
        return ", ".join(f"{name} {shape}" for name, shape in self.shapes.items())


Layer = Affine | Norm | Other
Layers = Mapping[str, Layer]  # by the source's names, in the source's order


def constant(value: float, like: np.ndarray) -> np.ndarray:
    """An array of one value that takes no memory: the other may be a stand-in for values that are not read yet."""
    return np.broadcast_to(np.float32(value), like.shape)


def fault(epsilon: Any, arrays: Iterable[np.ndarray], variance: Any) -> str | None:
    """Why no network can compute with a layer of these, or None."""
    if epsilon is not None and not POSITIVE.holds(epsilon):
        return f"an epsilon of {epsilon!r}"
    if not all(np.isfinite(array).all() for array in arrays):
        return "values that are not finite"
    return "variances below zero" if np.any(np.less(variance, 0)) else None
