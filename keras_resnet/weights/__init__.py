"""Other projects' weights: readers of their formats, their names of our layers, and one loader."""

from keras_resnet.weights.checkpoint import Checkpoint
from keras_resnet.weights.load import classes_of, implied, load, load_weights
from keras_resnet.weights.readers import FORMATS, read
from keras_resnet.weights.schemes import SCHEMES

__all__ = ["FORMATS", "SCHEMES", "Checkpoint", "classes_of", "implied", "load", "load_weights", "read"]
