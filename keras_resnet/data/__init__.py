"""Images to train on: sources, and the tf.data pipeline from a source to batches."""

from keras_resnet.data.augment import AUGMENTATIONS, expect_augmentations
from keras_resnet.data.decoding import decode, read_image
from keras_resnet.data.load import Report, check, load_data
from keras_resnet.data.pipeline import evaluation_batches, training_batches
from keras_resnet.data.raw import raw_images
from keras_resnet.data.sources import Arrays, Examples, Source, digits, evenly
from keras_resnet.data.views import (
    VIEWS,
    evaluation_view,
    expect_one_size,
    multi_scale,
    ten_crop,
    training_view,
)

__all__ = [
    "AUGMENTATIONS",
    "VIEWS",
    "Arrays",
    "Examples",
    "Report",
    "Source",
    "check",
    "decode",
    "digits",
    "evaluation_batches",
    "evaluation_view",
    "evenly",
    "expect_augmentations",
    "expect_one_size",
    "load_data",
    "multi_scale",
    "raw_images",
    "read_image",
    "ten_crop",
    "training_batches",
    "training_view",
]
