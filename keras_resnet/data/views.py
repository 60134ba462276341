"""How one image, in memory or in a file, becomes what the network's size asks for."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import tensorflow as tf

from keras_resnet.checks import expect
from keras_resnet.data.crops import Box, random_resized_crop_box, read_crop, resized, resized_as_pil, scale_crop_box
from keras_resnet.data.decoding import decode
from keras_resnet.data.sources import Arrays, Examples, View
from keras_resnet.modelcard import Preprocessing, middle

VIEWS: dict[str, Callable[[int], Callable[..., Box]]] = {  # of the training: (pixels of the crop) -> box_function
    "random_resized_crop": lambda size: random_resized_crop_box,
    "scale_crop": lambda size: partial(scale_crop_box, crop=size, short=(size * 256 // 224, size * 480 // 224)),
}


def training_view(
    name: str | None, examples: Examples, seed: int, preprocessing: Preprocessing, channels: int
) -> View | None:
    """(image or file, position) -> image, with draws of (seed, position); as in the evaluation where there is no name.

    Args:
        name: Of VIEWS.
        examples: The split, which decides whether anything needs to be done: None where not.
        seed: Of the run.
        preprocessing: A `keras_resnet.Preprocessing`; its `crop` is the size of the result.
        channels: 3 or 1.
    """
    if name is None:
        return evaluation_view(examples, preprocessing, channels)
    height, width = preprocessing.crop or (0, 0)
    expect(0 < height == width, "view", f"None, as the network does not take squares of one size ({name} does)", name)
    return lambda item, position: cropped(item, tf.stack([seed, position]), height, VIEWS[name](height), channels)


def evaluation_view(examples: Examples, preprocessing: Preprocessing, channels: int) -> View | None:
    """(image or file, position) -> the middle of the image, as the preprocessing says; None where images are that."""
    asked = {preprocessing.resize, preprocessing.crop} - {None}
    if isinstance(examples, Arrays) and asked <= {examples.images.shape[1:3]}:
        return None
    return lambda item, _: center_view(decoded(item, channels), preprocessing)


def expect_one_size(examples: Examples, preprocessing: Preprocessing) -> None:
    """Raises an ArgumentError if the images differ in size, and would in their batches."""
    made = preprocessing.crop or preprocessing.resize or None not in examples.shape
    expect(made, "preprocessing", "one that gives images of one size, as these have several", preprocessing)


def decoded(item: tf.Tensor, channels: int) -> tf.Tensor:
    """An image [H, W, channels] of a file's bytes; what is an image already, as it is."""
    return decode(item, channels) if item.dtype == tf.string else item


def cropped(item: tf.Tensor, seed: tf.Tensor, size: int, box_function: Callable[..., Box], channels: int) -> tf.Tensor:
    """The drawn box of an image, or of a file's bytes, resized to a square."""
    if item.dtype == tf.string:
        return read_crop(item, seed, size, box_function, channels)
    top, left, height, width = box_function(tf.shape(item), seed)
    return resized(item[top : top + height, left : left + width], (size, size))


def center_crop(images: tf.Tensor, height: int, width: int) -> tf.Tensor:
    """The middle of images [..., h, w, c]."""
    shape = tf.shape(images)
    top, left = middle(shape[-3], height), middle(shape[-2], width)
    return images[..., top : top + height, left : left + width, :]


def center_view(image: tf.Tensor, preprocessing: Preprocessing) -> tf.Tensor:
    """An image of any size as `keras_resnet.preprocessing` resizes and crops it, before it is normalized.

    Args:
        image: [h, w, c].
        preprocessing: Of which the `resize`, the `crop` and the `interpolation` count.

    Returns:
        float32 [*crop, c].
    """
    image = tf.cast(image, tf.float32)
    if preprocessing.resize:
        shape = tf.shape(image)
        size = preprocessing.covering(shape[0], shape[1], tf.maximum)
        image = resized_as_pil(image, size, preprocessing.interpolation)
    kept = preprocessing.crop or preprocessing.resize
    return center_crop(image, *kept) if kept else image


def ten_crop(images: tf.Tensor, size: int) -> tf.Tensor:
    """Four corners, the middle, and these mirrored, [10, n, size, size, c]: Krizhevsky et al. 2012, 4.1."""
    corners = [images[:, rows, columns] for rows in _ends(size) for columns in _ends(size)]
    five = tf.stack([*corners, center_crop(images, size, size)])
    return tf.concat([five, tf.reverse(five, [3])], 0)


def _ends(size: int) -> tuple[slice, slice]:
    return slice(None, size), slice(-size, None)


def multi_scale(image: tf.Tensor, sizes: Sequence[int] = (224, 256, 384, 480, 640)) -> Iterator[tf.Tensor]:
    """The image and its mirror image with the short side at each size, float32 [2, h, w, c]: He et al. 2015, 3.4.

    A fully-convolutional network scores each; He et al. average the scores over all.
    """
    shape = tf.shape(image)[:2]
    for size in sizes:
        view = resized(image, tf.unstack(shape * size // tf.reduce_min(shape)))
        yield tf.stack([view, tf.reverse(view, [1])])
