"""Layers and losses of networks, which Keras saves by name."""
