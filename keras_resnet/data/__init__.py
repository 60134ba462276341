"""Images to train on: sources, and the tf.data pipeline from a source to batches."""

from keras_resnet.data.augment import AUGMENTATIONS, expect_augmentations, multi_scale, ten_crop
from keras_resnet.data.load import Report, check, load_data
from keras_resnet.data.pipeline import evaluation_batches, training_batches
from keras_resnet.data.raw import raw_images
from keras_resnet.data.sources import Arrays, Examples, Source, digits
from keras_resnet.data.views import VIEWS, evaluation_view, expect_one_size, training_view

__all__ = [
    "AUGMENTATIONS",
    "VIEWS",
    "Arrays",
    "Examples",
    "Report",
    "Source",
    "check",
    "digits",
    "evaluation_batches",
    "evaluation_view",
    "expect_augmentations",
    "expect_one_size",
    "load_data",
    "multi_scale",
    "raw_images",
    "ten_crop",
    "training_batches",
    "training_view",
]
