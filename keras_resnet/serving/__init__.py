"""Exports, and what runs them."""
