"""How one image, in memory or in a file, becomes what the network's size asks for."""

from functools import partial

import tensorflow as tf

from keras_resnet.checks import expect
from keras_resnet.data.augment import center_view, random_resized_crop_box, read_crop, resized, scale_crop_box
from keras_resnet.data.encoded import decode
from keras_resnet.data.sources import Arrays, Examples

VIEWS = {  # of the training: (pixels of the crop) -> box_function
    "random_resized_crop": lambda size: random_resized_crop_box,
    "scale_crop": lambda size: partial(scale_crop_box, crop=size, short=(size * 256 // 224, size * 480 // 224)),
}


def training_view(name: str | None, examples: Examples, seed: int, preprocessing, channels: int):
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


def evaluation_view(examples: Examples, preprocessing, channels: int):
    """(image or file, position) -> the middle of the image, as the preprocessing says; None where images are that."""
    asked = {preprocessing.resize, preprocessing.crop} - {None}
    if isinstance(examples, Arrays) and asked <= {examples.images.shape[1:3]}:
        return None
    return lambda item, _: center_view(decoded(item, channels), preprocessing)


def expect_one_size(examples: Examples, preprocessing) -> None:
    """Raises a ValueError where the images differ in size, and would in their batches."""
    made = preprocessing.crop or preprocessing.resize or None not in examples.shape
    expect(made, "preprocessing", "one that gives images of one size, as these have several", preprocessing)


def decoded(item, channels: int):
    """An image [H, W, channels] of a file's bytes; what is an image already, as it is."""
    return decode(item, channels) if item.dtype == tf.string else item


def cropped(item, seed, size, box_function, channels):
    if item.dtype == tf.string:
        return read_crop(item, seed, size, box_function, channels)
    top, left, height, width = box_function(tf.shape(item), seed)
    return resized(item[top : top + height, left : left + width], (size, size))
