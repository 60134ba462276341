from .load import implied, load, load_weights
from .pretrained import PretrainedWeights
from .readers import FORMATS, read
from .schemes import SCHEMES

__all__ = ["FORMATS", "SCHEMES", "PretrainedWeights", "implied", "load", "load_weights", "read"]
