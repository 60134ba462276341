"""What is exported: a model, and what is derived from it, each once."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import keras
import numpy as np
from keras import layers

from keras_resnet.data import Examples, Source, evenly, raw_images
from keras_resnet.graph.fold import fold_batch_norm
from keras_resnet.graph.remake import copied, remade
from keras_resnet.graph.tracing import walk
from keras_resnet.modelcard import Card, Preprocessing, card
from keras_resnet.predict import ends_in_logits
from keras_resnet.predict import preprocessing as preprocessing_of
from keras_resnet.serving import runtimes

ANY_SIZE = (64, 64)  # pixels of the images with which a network of any size is compared


@dataclass(frozen=True, eq=False)
class Job:
    """A model to export."""

    model: keras.Model
    preprocessing: Preprocessing
    fold: bool
    data: Source | None
    precision: str = "float32"  # or "bfloat16": of whatever works on images

    @cached_property
    def reference(self) -> keras.Model:
        """The model in float32 that ends in probabilities: what all formats must compute."""
        model = in_float32(self.model)
        if not ends_in_logits(model):
            return model
        softmax = layers.Softmax(name="probabilities", dtype="float32")
        return keras.Model(model.inputs[0], softmax(model.outputs[0]), name=model.name)

    @cached_property
    def network(self) -> keras.Model:
        network = fold_batch_norm(self.reference) if self.fold else self.reference
        return in_bfloat16(network) if self.precision == "bfloat16" else network

    @cached_property
    def from_pixels(self) -> keras.Model:
        """From `images` of the network's size, 0 to 255, to `probabilities`."""
        images = keras.Input(self.shape, name="images")
        normalized = preprocessing_of(self.model, replace(self.preprocessing, resize=None, crop=None))(images)
        return keras.Model(images, {"probabilities": self.network(normalized)}, name=self.model.name)

    @property
    def shape(self) -> tuple[int | None, ...]:
        return self.model.input_shape[1:]

    @property
    def channels(self) -> int:
        return self.model.input_shape[-1]

    @property
    def raw_size(self) -> tuple[int, int]:
        """To which the preprocessing resizes; or what the network takes."""
        return self.preprocessing.resize or self.preprocessing.crop or self.input_size or ANY_SIZE

    @property
    def input_size(self) -> tuple[int, int] | None:
        """Height and width that the network takes, or that the data have; None for any."""
        shapes = (self.shape, *([self.data.shape] if self.data else []))
        return next((shape[:2] for shape in shapes if None not in shape), None)  # type: ignore[return-value]

    def sized(self, images: np.ndarray) -> np.ndarray:
        """The middle of raw images that the network sees, float32 of 0 to 255."""
        return runtimes.middle(images, self.preprocessing.crop or self.raw_size)

    def images(self, examples: Examples, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Real ones from all over the split, uint8 [N, *raw_size, C], and their labels."""
        chosen = examples[evenly(count, len(examples))]
        resized = replace(self.preprocessing, resize=self.raw_size, crop=None)
        return raw_images(chosen, resized, self.channels), chosen.labels

    def card(self, exports: Mapping[str, Any]) -> Card:
        """The model's, with what was measured of its exports."""
        known = card(self.model) or Card(network=self.model.name, config={}, input_shape=self.shape)
        return replace(known, preprocessing=self.preprocessing, exports=exports)


def in_float32(model: keras.Model) -> keras.Model:
    """The model itself where it computes in float32."""
    if all(layer.compute_dtype == "float32" for layer in walk(model)):
        return model
    return remade(model, lambda layer: copied(layer, dtype="float32"))


def in_bfloat16(model: keras.Model) -> keras.Model:
    """The model again: what makes images of images computes in bfloat16, its input and its head stay in float32."""

    def narrow(layer: Any) -> Any:
        stays = isinstance(layer, layers.InputLayer) or len(layer.output.shape) < 4
        return copied(layer) if stays else copied(layer, dtype="mixed_bfloat16")

    return remade(model, narrow)
