"""A quantization as a value, and weight matrices in it.

The weights of a matrix are stored row by row, and a row group by group. A group is a block of the quantization: some
weights that share a scale, in a few bytes. Of a float type, where every number is a block of its own, a group is 32
numbers. Inverting the *sign bits* of a group negates all of its weights, exactly; so a flip is an XOR with a constant
mask. Where every weight has a sign bit of its own, single weights can be flipped as well.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["Blocks", "Matrices", "MatrixInfo", "PackedTensor", "Quantization"]

Blocks = NDArray[np.uint8]
"""Stored groups: uint8 ``[rows, groups, bytes of a group]``."""


@dataclass(frozen=True, eq=False)
class Quantization:
    """How weights are stored: ``weights`` of a group in ``nbytes``.

    ``name``, ``ggml_id``  the type in ggml's words and numbers
    ``sign_bits``          the bits of a group that negate it; bit b is bit ``b % 8`` of byte ``b // 8``
    ``own_signs``          whether ``sign_bits[i]`` is the sign of weight i alone
    ``decode``             groups uint8 ``[rows, groups, nbytes]`` to weights float32 ``[rows, groups * weights]``
    ``blocks``             how many of ggml's blocks a group is; a vector may end after any of them
    """

    name: str
    ggml_id: int
    weights: int
    nbytes: int
    sign_bits: tuple[int, ...]
    decode: Callable[[Blocks], NDArray[np.float32]]
    own_signs: bool = False
    blocks: int = 1

    def __repr__(self) -> str:
        return self.name

    @property
    def plain(self) -> bool:
        """Whether the weights are plain floats, each a block of its own."""
        return self.blocks > 1

    @cached_property
    def mask(self) -> NDArray[np.uint8]:
        """The mask whose XOR negates a whole group: uint8 ``[nbytes]``; not to be written to."""
        mask = np.zeros(self.nbytes, np.uint8)
        np.bitwise_or.at(mask, *self._at(np.array(self.sign_bits)))
        mask.flags.writeable = False
        return mask

    def weight_masks(
        self, weights: Sequence[int] | NDArray[np.intp]
    ) -> tuple[NDArray[np.intp], NDArray[np.uint8]]:
        """Of each of these weights of a group, the byte that holds its sign and the bit there: intp and uint8 ``[n]``.

        Only where weights have signs of their own.
        """
        return self._at(np.array(self.sign_bits)[np.array(weights, np.intp)])

    def negated(self, masks: Blocks) -> NDArray[np.bool_]:
        """Which weights the XOR with these masks negates: ``[..., groups, nbytes]`` to ``[..., groups * weights]``.

        ``masks`` are uint8 and must be combined from those of whole groups and of single weights.
        """
        at, bit = self._at(np.array(self.sign_bits if self.own_signs else self.sign_bits[:1]))
        found: NDArray[np.bool_] = (masks[..., at] & bit) != 0  # [..., groups, weights or 1]
        if not self.own_signs:
            found = np.repeat(found, self.weights, axis=-1)
        return found.reshape(*found.shape[:-2], found.shape[-2] * self.weights)

    def row_bytes(self, columns: int) -> int:
        """Bytes of a row, or a vector, of so many weights. Raises ValueError where it does not end with a block."""
        block = self.weights // self.blocks
        if columns % block:
            raise ValueError(f"rows of {columns} weights, not a multiple of {block}")
        return columns // block * (self.nbytes // self.blocks)

    @staticmethod
    def _at(bits: NDArray[np.intp]) -> tuple[NDArray[np.intp], NDArray[np.uint8]]:
        """The byte that holds each of these bits of a group, and the mask of the bit in it."""
        return bits // 8, np.left_shift(1, bits % 8).astype(np.uint8)


@dataclass(frozen=True, slots=True)
class MatrixInfo:
    """What a patch must know of a weight matrix: its quantization and its ``shape`` (out, in)."""

    quantization: Quantization
    shape: tuple[int, int]

    @property
    def rows(self) -> int:
        """How many rows, or outputs, it has."""
        return self.shape[0]

    @property
    def groups(self) -> int:
        """How many groups a row has."""
        return self.shape[1] // self.quantization.weights


@dataclass(frozen=True, slots=True, eq=False)
class PackedTensor:
    """Rows of a weight matrix as they are stored.

    ``name``          canonical name of the matrix, such as ``model.layers.3.mlp.up_proj``
    ``quantization``  how to read the blocks
    ``blocks``        stored groups: uint8 ``[rows, groups, bytes of a group]``; may be a view of a mapped file

    Raises ValueError when the blocks do not fit the quantization.
    """

    name: str
    quantization: Quantization
    blocks: Blocks

    def __post_init__(self) -> None:
        blocks = self.blocks
        if blocks.dtype != np.uint8 or blocks.ndim != 3 or blocks.shape[2] != self.quantization.nbytes:
            wanted = f"uint8 [rows, groups, {self.quantization.nbytes}]"
            raise ValueError(
                f"{self.name}: {self.quantization} is {wanted}, not {blocks.dtype} {list(blocks.shape)}"
            )

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the weights."""
        return self.blocks.shape[0], self.blocks.shape[1] * self.quantization.weights

    @property
    def info(self) -> MatrixInfo:
        """All but the weights."""
        return MatrixInfo(self.quantization, self.shape)

    def to_dense(self) -> NDArray[np.float32]:
        """The weights as float32 ``[rows, columns]``."""
        return self.quantization.decode(self.blocks)


class Matrices(Protocol):
    """Anything that holds weight matrices by canonical name: a model file or a loaded model."""

    @property
    def matrices(self) -> Mapping[str, MatrixInfo]:
        """All of them, in layer order."""
        ...

    def packed(self, name: str, rows: Sequence[int] | NDArray[np.intp] | None = None) -> PackedTensor:
        """The matrix of that name, or these rows of it in this order; not to be written to.

        Raises UnknownTensorError.
        """
        ...
