"""Layers of Keras with the same weights and results, computed faster."""
