"""The one place of the version: read by the build without importing Keras."""

__version__ = "0.1.0"
