from .checkpoint import Checkpoint
from .load import classes_of, implied, load, load_weights
from .readers import FORMATS, read
from .schemes import SCHEMES

__all__ = ["FORMATS", "SCHEMES", "Checkpoint", "classes_of", "implied", "load", "load_weights", "read"]
