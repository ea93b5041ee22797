"""A checkpoint as a torch module, and patches on it."""

from bankai.model.layers import Embedding, Linear
from bankai.model.loader import load, load_model
from bankai.model.matrices import WeightMatrix
from bankai.model.patching import ModelMatrices, flip, patched
from bankai.model.tokenizer import make_tokenizer

__all__ = [
    "Embedding",
    "Linear",
    "ModelMatrices",
    "WeightMatrix",
    "flip",
    "load",
    "load_model",
    "make_tokenizer",
    "patched",
]
