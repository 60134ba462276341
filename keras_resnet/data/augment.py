"""Augmentation of whole batches: the operations by name.

Every draw is a function of (seed, step, position), and nothing has a state: a run resumes where it stopped, batches may
be made in parallel, and several workers together make the batches of one (but for the partners of mixup and CutMix).
"""

from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf

from keras_resnet.data.color import color
from keras_resnet.data.draws import Draws
from keras_resnet.data.geometry import flip, pad_crop, rotate, translate
from keras_resnet.data.mixing import cutmix, mixup
from keras_resnet.data.parameters import by_name
from keras_resnet.data.rand_augment import rand_augment
from keras_resnet.data.rectangles import cutout, erase

# (images, labels, draws, **parameters) -> (images, labels), for images float32 [n, h, w, c] of 0 to 255 and labels
# float32 [n, classes].
Augmentation = Callable[..., tuple[tf.Tensor, tf.Tensor]]

AUGMENTATIONS: dict[str, Augmentation] = {
    "pad_crop": pad_crop,
    "flip": flip,
    "rotate": rotate,
    "translate": translate,
    "erase": erase,
    "cutout": cutout,
    "color": color,
    "mixup": mixup,
    "cutmix": cutmix,
    "rand_augment": rand_augment,
}


@tf.autograph.experimental.do_not_convert  # there is nothing to convert, and to look for it takes seconds
def augment(
    images: tf.Tensor, labels: tf.Tensor, draws: Draws, steps: Mapping[str, Any]
) -> tuple[tf.Tensor, tf.Tensor]:
    """The augmentations by name, in that order.

    Args:
        images: float32 [n, h, w, c], RGB or one channel, 0 to 255.
        labels: float32 [n, classes], one-hot: mixup and CutMix mix them.
        draws: Of this batch; with n rows.
        steps: For a key of AUGMENTATIONS its parameters, or its first alone.

    Returns:
        Both, of the same shapes.

    >>> images, labels = tf.zeros((4, 32, 32, 3)), tf.eye(4)
    >>> images, labels = augment(images, labels, Draws(seed=0, step=0, size=4), {"pad_crop": 4, "flip": {"rate": 0.5}})
    >>> images.shape
    TensorShape([4, 32, 32, 3])
    """
    for name, value in steps.items():
        images, labels = AUGMENTATIONS[name](images, labels, draws, **by_name(name, value))
    return images, labels
