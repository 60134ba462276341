"""Images as they are before they are normalized: what exported files take."""

import numpy as np
import tensorflow as tf

from keras_resnet.data.sources import Examples
from keras_resnet.data.views import evaluation_view

BATCH = 32


def raw_images(examples: Examples, preprocessing, channels: int) -> np.ndarray:
    """The images resized and cropped as the preprocessing says, and not normalized.

    Args:
        examples: A split, or a part of one.
        preprocessing: What has a `resize`, a `crop` and an `interpolation`: a `keras_resnet.Preprocessing`.
        channels: Of the images. Grey images in memory are repeated.

    Returns:
        uint8 [N, H, W, channels], 0 to 255.
    """
    view = evaluation_view(examples, preprocessing, channels)
    numbers = tf.data.Dataset.range(len(examples)).enumerate()
    batches = examples.batched(numbers, BATCH, complete=False, view=view).as_numpy_iterator()
    images = np.concatenate([images for images, _ in batches])
    pixels = images if images.dtype == np.uint8 else np.clip(np.round(images), 0, 255).astype("uint8")
    return np.broadcast_to(pixels, (*pixels.shape[:3], channels))
