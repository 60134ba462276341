"""Convolutions, dense layers and norms of any source in the same terms."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np


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
