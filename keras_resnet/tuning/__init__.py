"""Searches over networks and recipes, on keras-tuner."""
