"""Architectures: configuration, names and order of tensors in a file, and layers of each kind of model."""
