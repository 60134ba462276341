"""What a source of weights holds, in the same terms whatever its format: convolutions, dense layers, norms, by name."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from keras_resnet.modelcard import Card, Preprocessing


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
        """Its parts agree in size."""
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
        """Its parts agree in size."""
        return all(part.shape == (self.gamma.size,) for part in (self.gamma, self.beta, self.mean, self.variance))


@dataclass(frozen=True)
class Other:
    """What no network of ours has, such as a group norm."""

    shapes: Mapping[str, tuple[int, ...]]

    @property
    def shape(self) -> str:
        return ", ".join(f"{name} {shape}" for name, shape in self.shapes.items())


Layer = Affine | Norm | Other


@dataclass(frozen=True, eq=False)
class Checkpoint:
    origin: str  # the path or address, for errors and cards
    layers: Mapping[str, Layer]  # under the source's names, in the source's order
    settings: Mapping[str, Mapping[str, Any]] = field(
        default_factory=dict
    )  # of all layers, as Keras' formats keep them
    ordered: bool = True  # whether the layers' order is the network's own
    bgr: bool = False  # whether the format's networks read blue, green, red
    pool_pad: int | None = None  # pixels around the stem's max pool, where the format tells
    preprocessing: tuple[Preprocessing, float] | None = (
        None  # and the share that the crop keeps, where the source tells
    )
    class_names: tuple[str, ...] | str | None = None
    card: Card | None = None  # where the source is a network of ours
    download: Callable[[], "Checkpoint"] | None = None  # what these layers are a description of, if not yet here
