"""One run from a network's name to a folder: trained, evaluated, exported, described, and reloaded to predict."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
