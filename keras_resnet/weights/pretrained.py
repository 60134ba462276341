"""The weights of a source, in the same terms for every format."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from keras_resnet.modelcard import Card, Preprocessing
from keras_resnet.weights.layers import Affine, Layers
from keras_resnet.weights.schemes import HEAD, UNNAMED, Scheme, recognized


@dataclass(frozen=True, eq=False)
class PretrainedWeights:
    """The layers of a source, and what it tells about their network."""

    origin: str  # the path or address, for errors and cards
    layers: Layers
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # of all layers, where the format has them
    ordered: bool = True  # whether the layers' order is the network's own
    often_bgr: bool = False  # whether networks in this format often read blue, green, red
    pool_pad: int | None = None  # pixels around the stem's max pool, where the format tells
    preprocessing: tuple[Preprocessing, float] | None = None  # and the share that the crop keeps
    class_names: tuple[str, ...] | str | None = None
    card: Card | None = None  # where the source is a network of ours
    fetch: Callable[[Collection[str]], Layers] | None = None  # with values, where those here have shapes only
    licence: str | None = None  # where the source tells
    size: int | None = None  # height and width of the images with which it was measured, where the source tells

    @cached_property
    def scheme(self) -> Scheme:
        """The project whose names the layers have."""
        return recognized(self.layers)

    @property
    def classes(self) -> int | None:
        """The number of the classifier's outputs; None without a classifier."""
        head = self.last_affine if self.scheme is UNNAMED else self.layers.get(self.scheme.of(HEAD, self.layers))
        return head.shape[-1] if isinstance(head, Affine) and head.shape[:2] == (1, 1) else None

    @property
    def last_affine(self) -> Affine | None:
        return next((layer for layer in reversed(list(self.layers.values())) if isinstance(layer, Affine)), None)
