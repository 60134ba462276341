"""Recipes, and the thin path from a model, a source and a recipe to `model.fit`."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
