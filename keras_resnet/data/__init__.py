"""Images to train on: sources, and the tf.data pipeline from a source to batches."""

from keras_resnet.data.pipeline import evaluation_batches, training_batches
from keras_resnet.data.sources import SOURCES, Source, digits

__all__ = ["SOURCES", "Source", "digits", "evaluation_batches", "training_batches"]
