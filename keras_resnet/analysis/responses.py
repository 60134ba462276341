"""How strongly a network's layers respond: He et al. 2015, figure 7."""

from typing import Any, NamedTuple, Unpack

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from keras_resnet.analysis.measuring import columns_text, compiled
from keras_resnet.analysis.samples import Reading, sample
from keras_resnet.checks import expect
from keras_resnet.graph.tracing import recorded, walk


class Responses(NamedTuple):
    names: tuple[str, ...]  # of the convolutions, in the network's order
    stds: np.ndarray  # float64 [convolutions]

    def __str__(self) -> str:
        return columns_text(self.names, self.stds)


def layer_responses(model: keras.Model, data: Any, **reading: Unpack[Reading]) -> Responses:
    """Standard deviations of the layers' responses: He et al. 2015, figure 7.

    A response is the output of a convolution wider than 1x1, behind its batch norm where it has one and before relu and
    sum; its deviation is taken over images, pixels and channels. Batch norm uses its moving statistics.

    Args:
        model: A network of this package, also a loaded or nested one.
        data: As `keras_resnet.load_data` takes it.
        reading: As in `sample`: split, images, preprocessing, batch_size.

    Returns:
        Names and deviations, in the network's order.

    Raises:
        ValueError: If the model has no such convolution, or an argument is invalid.
    """
    batches, responding = sample(model, data, **reading), responding_layers(model)

    def moments(images: tf.Tensor) -> tf.Tensor:
        with recorded(responding.values()) as calls:
            model(images, training=False)
        outputs = [tf.cast(calls[layer][1], tf.float32) for layer in responding.values()]
        return tf.stack([tf.stack(tf.nn.moments(output, [0, 1, 2, 3])) for output in outputs])

    moments_of = compiled(moments, model)
    count = [len(images) for images, _ in batches]
    moments_of_batches = np.array([moments_of(images) for images, _ in batches], "float64")
    mean, variance = moments_of_batches[..., 0], moments_of_batches[..., 1]
    square = np.average(variance + mean**2, 0, count)
    return Responses(tuple(responding), np.sqrt(square - np.average(mean, 0, count) ** 2))


def responding_layers(model: keras.Model) -> dict[str, layers.Layer]:
    """A convolution's name -> its norm, or itself where it has none of its own."""
    leaves = {layer.name: layer for layer in walk(model)}
    convolutions = [layer for layer in leaves.values() if isinstance(layer, layers.Conv2D)]
    wide = {layer.name: layer for layer in convolutions if max(layer.kernel_size) > 1}
    expect(wide, "model", "one with convolutions wider than 1x1", model.name)
    return {name: leaves.get(f"{name.removesuffix('_conv')}_norm", layer) for name, layer in wide.items()}
