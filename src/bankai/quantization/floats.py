"""Plain floats: every weight has a sign bit of its own, and a group is 32 weights, so that a flip has one spelling."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from bankai.quantization.base import Blocks, Quantization
from bankai.quantization.gguf_decoding import decoder

__all__ = ["F32", "FLOATS"]

_WEIGHTS = 32  # of a group


def _floats(
    name: str, ggml_id: int, nbytes: int, decode: Callable[[Blocks], NDArray[np.float32]]
) -> Quantization:
    """A type of little-endian numbers of ``nbytes``, whose last bit is the sign."""
    signs = tuple(range(8 * nbytes - 1, 8 * nbytes * _WEIGHTS, 8 * nbytes))
    size = nbytes * _WEIGHTS
    return Quantization(name, ggml_id, _WEIGHTS, size, signs, decode, own_signs=True, blocks=_WEIGHTS)


def _f32(blocks: Blocks) -> NDArray[np.float32]:
    return np.ascontiguousarray(blocks).view("<f4").reshape(len(blocks), -1)


def _f16(blocks: Blocks) -> NDArray[np.float32]:
    return np.ascontiguousarray(blocks).view("<f2").reshape(len(blocks), -1).astype(np.float32)


F32 = _floats("F32", 0, 4, _f32)
FLOATS = (
    F32,
    _floats("F16", 1, 2, _f16),
    _floats("BF16", 30, 2, decoder(30)),
)
