"""Residual networks for Keras, exact to the published parameter and multiply-add.

The public names are those of `__init__.pyi`. Each is imported when it is first used: this import brings neither Keras
nor TensorFlow.
"""

import lazy_loader

__version__ = "0.1.0"  # the build reads it without importing anything

__getattr__, _, __all__ = lazy_loader.attach_stub(__name__, __file__)
__all__ += ["__version__"]


def __dir__() -> list[str]:
    return sorted(__all__)
