"""Images to train on: sources, and the tf.data pipeline from a source to batches."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
