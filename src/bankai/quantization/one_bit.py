"""Q1_0, the true 1-bit quantization: 128 weights, each ``+d`` or ``-d``.

A group is 18 bytes: ``d`` as little-endian fp16, then 16 bytes of signs, least significant bit first, 1 = ``+d``.
This is ggml's type 41. MLX's affine 1-bit weight, ``scale * bit + bias`` with scale 2d and bias -d, has the same bits
in the same order, in arrays of their own (`bankai.checkpoint.mlx`). The mask inverts the signs and leaves ``d``
alone.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bankai.quantization.base import Blocks, PackedTensor, Quantization

__all__ = ["Q1_0", "one_bit_blocks", "pack_one_bit", "scales_of", "signs_of"]

_WEIGHTS, _SIGNS = 128, 2  # weights of a group; bytes before its signs


def signs_of(blocks: Blocks) -> NDArray[np.uint8]:
    """The signs in blocks: a view ``[rows, groups, 16]``."""
    return blocks[..., _SIGNS:]


def scales_of(blocks: Blocks) -> NDArray[np.float16]:
    """The scales in blocks: a view ``[rows, groups]``."""
    return blocks[..., :_SIGNS].view("<f2")[..., 0]


def one_bit_blocks(scales: NDArray[np.float16], signs: NDArray[np.uint8]) -> Blocks:
    """Blocks ``[rows, groups, 18]`` of scales ``[rows, groups]`` and signs ``[rows, groups, 16]``: a copy."""
    return np.concatenate([scales.astype("<f2", copy=False)[..., None].view(np.uint8), signs], axis=2)


def _decode(blocks: Blocks) -> NDArray[np.float32]:
    bits = np.unpackbits(signs_of(blocks), axis=-1, bitorder="little").view(np.bool_)  # [rows, groups, 128]
    scales = scales_of(blocks).astype(np.float32)[..., None]
    return np.where(bits, scales, -scales).reshape(len(blocks), -1)


Q1_0 = Quantization(
    "Q1_0",
    41,
    _WEIGHTS,
    _SIGNS + _WEIGHTS // 8,
    sign_bits=tuple(range(8 * _SIGNS, 8 * _SIGNS + _WEIGHTS)),
    decode=_decode,
    own_signs=True,
)


def pack_one_bit(name: str, weight: ArrayLike) -> PackedTensor:
    """Pack ``weight`` ``[out, in]``, exactly.

    Every group must hold one magnitude that fp16 represents. Scales come out non-negative; the sign of a zero is kept
    as its bit, so ``to_dense`` gives back ``weight`` bit for bit. Raises ValueError for any weight that is not ``+d``
    or ``-d`` throughout its group.
    """
    dense = np.asarray(weight)
    if dense.ndim != 2 or dense.shape[1] % _WEIGHTS or dense.shape[1] == 0:
        wanted = f"[out, multiple of {_WEIGHTS}]"
        raise ValueError(f"{name}: weight must be {wanted}, not {dense.dtype} {list(dense.shape)}")
    grouped = dense.reshape(dense.shape[0], -1, _WEIGHTS)
    magnitudes = np.abs(grouped)
    with np.errstate(over="ignore"):
        scales = magnitudes[:, :, 0].astype(np.float16)
    if not np.array_equal(magnitudes, np.broadcast_to(scales[:, :, None], magnitudes.shape)):
        raise ValueError(f"{name}: not one fp16 magnitude per group of {_WEIGHTS}; binarize it first")
    if not np.isfinite(scales).all():
        raise ValueError(f"{name}: weights must be finite")
    signs = np.packbits(~np.signbit(grouped), axis=2, bitorder="little")
    return PackedTensor(name, Q1_0, one_bit_blocks(scales, signs))
