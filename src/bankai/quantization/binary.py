"""One binary tensor: sign bits and group scales of a weight matrix ``[out, in]``, and nothing else.

A weight is ``+d`` where its bit is 1 and ``-d`` where it is 0; the 128 weights of a group share one fp16
scale ``d``. Bits stand least significant first, which is the order of both GGUF's ``Q1_0`` and MLX's 1-bit
words, so the arrays here may be views straight into a mapped model file and a flip changes that file.

Its seam for other formats is what the methods need: a tensor whose rows and groups can be negated.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bankai.errors import RowRangeError, StoreError

__all__ = ["GROUP", "GROUP_BYTES", "ONE_BIT_ONLY", "BinaryTensor", "BinaryTensors"]

GROUP = 128  # weights that share a scale
GROUP_BYTES = GROUP // 8

# Why ternary and other quantized models are refused, for messages.
ONE_BIT_ONLY = "single-bit flips need 1-bit codes; row and group flips by scale sign are planned"

_ROWS_PER_STEP = 4096  # bounds the temporary copies of popcount and digest


@dataclass(frozen=True, slots=True, eq=False)
class BinaryTensor:
    """Sign bits and scales of the weight matrix ``name``.

    ``name``    canonical module path, such as ``model.layers.3.mlp.up_proj``
    ``signs``   uint8   ``[out, in / 128, 16]``, least significant bit first, 1 = ``+d``
    ``scales``  float16 ``[out, in / 128]``, the ``d`` of each group (any sign, zero included)

    Both arrays may be strided views. Raises ValueError when their shapes or types do not fit together.
    """

    name: str
    signs: NDArray[np.uint8]
    scales: NDArray[np.float16]

    def __post_init__(self) -> None:
        if self.signs.dtype != np.uint8 or self.signs.ndim != 3 or self.signs.shape[2] != GROUP_BYTES:
            raise ValueError(
                f"{self.name}: signs must be uint8 [out, groups, 16], not {_describe(self.signs)}"
            )
        if self.scales.dtype != np.float16 or self.scales.shape != self.signs.shape[:2]:
            raise ValueError(
                f"{self.name}: scales must be float16 [out, groups], not {_describe(self.scales)}"
            )

    @classmethod
    def from_dense(cls, name: str, weight: ArrayLike) -> "BinaryTensor":
        """Pack ``weight`` ``[out, in]``, exactly.

        Every group must hold one magnitude that fp16 represents. Scales come out non-negative; the sign of a
        zero is kept as its bit, so ``to_dense`` gives back ``weight`` bit for bit. Raises ValueError for any
        weight that is not ``+d`` or ``-d`` throughout its group.
        """
        dense = np.asarray(weight)
        if dense.ndim != 2 or dense.shape[1] % GROUP or dense.shape[1] == 0:
            raise ValueError(f"{name}: weight must be [out, multiple of {GROUP}], not {_describe(dense)}")
        grouped = dense.reshape(dense.shape[0], -1, GROUP)
        magnitudes = np.abs(grouped)
        with np.errstate(over="ignore"):
            scales = magnitudes[:, :, 0].astype(np.float16)
        if not np.array_equal(magnitudes, np.broadcast_to(scales[:, :, None], magnitudes.shape)):
            raise ValueError(f"{name}: not one fp16 magnitude per group of {GROUP}; binarize it first")
        if not np.isfinite(scales).all():
            raise ValueError(f"{name}: weights must be finite")
        return cls(name, np.packbits(~np.signbit(grouped), axis=2, bitorder="little"), scales)

    @property
    def shape(self) -> tuple[int, int]:
        """``(out, in)`` of the weight matrix."""
        return self.signs.shape[0], self.signs.shape[1] * GROUP

    @property
    def groups(self) -> int:
        """Groups in one row, ``in / 128``."""
        return int(self.signs.shape[1])

    def select(self, rows: Sequence[int] | NDArray[np.intp]) -> "BinaryTensor":
        """Copies of these rows alone, in this order."""
        return BinaryTensor(self.name, self.signs[rows], self.scales[rows])

    def flip(
        self,
        rows: Iterable[int] = (),
        groups: Iterable[tuple[int, int]] = (),
        bits: Iterable[tuple[int, int, int]] = (),
    ) -> None:
        """Invert whole ``rows``, ``groups`` (row, group) and single ``bits`` (row, group, bit), in place.

        Places combine as XOR has it: one named twice is left as it was, a bit in a flipped group turned back.
        Raises RowRangeError for a place outside the tensor and StoreError for read-only bits, before any byte
        changes.
        """
        row_list, group_list, bit_list = list(rows), list(groups), list(bits)
        self._check_all(row_list, group_list, bit_list)
        if not self.signs.flags.writeable:
            raise StoreError(f"{self.name} is read-only; open its model with writable=True to flip in place")
        # Fancy indexing writes each place once, so only places named an odd number of times may reach it.
        odd_rows = _odd(np.array(row_list, dtype=np.int64).reshape(-1, 1))
        self.signs[odd_rows[:, 0]] ^= np.uint8(0xFF)
        odd_groups = _odd(np.array(group_list, dtype=np.int64).reshape(-1, 2))
        self.signs[odd_groups[:, 0], odd_groups[:, 1]] ^= np.uint8(0xFF)
        # Several bits may share a byte; the unbuffered ufunc counts each.
        row_at, group_at, bit_at = np.array(bit_list, dtype=np.int64).reshape(-1, 3).T
        masks = np.left_shift(1, bit_at % 8).astype(np.uint8)
        np.bitwise_xor.at(self.signs, (row_at, group_at, bit_at // 8), masks)

    def to_dense(self) -> NDArray[np.float32]:
        """The weights as float32 ``[out, in]``; exact, since float32 holds every fp16 value."""
        bits = np.unpackbits(self.signs, axis=2, bitorder="little").view(np.bool_)  # [out, groups, 128]
        scales = self.scales.astype(np.float32)[:, :, None]
        return np.where(bits, scales, -scales).reshape(self.shape)

    def popcount(self) -> int:
        """Number of bits that are 1."""
        starts = range(0, len(self.signs), _ROWS_PER_STEP)
        counts = (np.bitwise_count(self.signs[start : start + _ROWS_PER_STEP]) for start in starts)
        return sum(int(count.sum(dtype=np.int64)) for count in counts)

    def digest(self) -> bytes:
        """8 bytes of BLAKE2b over shape (two little-endian u64), sign bits and scales (little-endian fp16).

        The name is left out; copies of one tensor in different file formats agree.
        """
        state = hashlib.blake2b(np.array(self.shape, dtype="<u8").tobytes(), digest_size=8)
        for array in (self.signs, self.scales.astype("<f2", copy=False)):
            for start in range(0, len(array), _ROWS_PER_STEP):
                state.update(array[start : start + _ROWS_PER_STEP].tobytes())
        return state.digest()

    def _check_all(
        self, rows: list[int], groups: list[tuple[int, int]], bits: list[tuple[int, int, int]]
    ) -> None:
        for row in rows:
            self._check(row)
        for row, group in groups:
            self._check(row, group)
        for row, group, bit in bits:
            self._check(row, group, bit)

    def _check(self, row: int, group: int = 0, bit: int = 0) -> None:
        if not 0 <= row < self.shape[0]:
            raise RowRangeError(f"{self.name} has rows 0 to {self.shape[0] - 1}, not {row}; check the model")
        if not 0 <= group < self.groups:
            raise RowRangeError(
                f"{self.name} has groups 0 to {self.groups - 1}, not {group}; check the model"
            )
        if not 0 <= bit < GROUP:
            raise RowRangeError(
                f"{self.name} has bits 0 to {GROUP - 1} in a group, not {bit}; check the patch"
            )


class BinaryTensors(Protocol):
    """Anything that holds binary tensors by canonical name: a model file or a loaded model."""

    def binary_names(self) -> tuple[str, ...]:
        """Canonical names in layer order."""
        ...

    def binary(self, name: str) -> BinaryTensor:
        """The tensor of that name; raises UnknownTensorError."""
        ...


def _odd(places: NDArray[np.int64]) -> NDArray[np.int64]:
    """The distinct rows of ``places`` that occur an odd number of times."""
    distinct, counts = np.unique(places, axis=0, return_counts=True)
    odd: NDArray[np.int64] = distinct[counts % 2 == 1]
    return odd


def _describe(array: NDArray[np.generic]) -> str:
    return f"{array.dtype} {list(array.shape)}"
