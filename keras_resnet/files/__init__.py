"""What is written is whole or not there, survives a power cut, and belongs to one command at a time."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
