"""A 1-bit checkpoint as a torch module, and patches on it."""

from bankai.model.binary_linear import BinaryEmbedding, BinaryLinear, PackedWeight
from bankai.model.loader import load, load_model
from bankai.model.packed_tensors import ModelBinaryTensors
from bankai.model.patching import flip, patched
from bankai.model.tokenizer import make_tokenizer

__all__ = [
    "BinaryEmbedding",
    "BinaryLinear",
    "ModelBinaryTensors",
    "PackedWeight",
    "flip",
    "load",
    "load_model",
    "make_tokenizer",
    "patched",
]
