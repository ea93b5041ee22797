"""Weight matrices in memory, with two ways to compute: packed 1-bit codes, or dense floats.

Both have one interface: rows and columns of the weights, products with them, and the stored blocks, which digests are
taken of. Bits change in place with `xor`, by the masks of `bankai.patch.places`.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from bankai.quantization import Blocks, MatrixInfo, PackedTensor
from bankai.quantization.one_bit import Q1_0, one_bit_blocks, scales_of, signs_of

__all__ = ["DenseMatrix", "PackedMatrix", "Rows", "WeightMatrix", "expand", "make_matrix", "matrix_bytes"]

Rows = NDArray[np.intp] | Sequence[int]

_CPU_PART = 1 << 21
"""Weights that are expanded at a time: few enough to stay in the cache and in pages that the allocator has at hand."""
_PART = 1 << 24
"""The same on other devices, where a part must be worth its kernel launches."""


class WeightMatrix(nn.Module, ABC):
    """A weight matrix [out, in] of a model. Embedding and head of a tied model share one.

    ``model.to(dtype)`` changes what is computed in, never the stored weights.
    """

    info: MatrixInfo

    @property
    def shape(self) -> tuple[int, int]:
        """(out, in)."""
        return self.info.shape

    @property
    def group(self) -> int:
        """How many weights a group has."""
        return self.info.quantization.weights

    @property
    @abstractmethod
    def dtype(self) -> torch.dtype:
        """The type of the numbers that rows and columns come in."""

    @property
    @abstractmethod
    def device(self) -> torch.device: ...

    @abstractmethod
    def expand(self, dtype: torch.dtype | None = None) -> Tensor:
        """The whole weight [out, in]; by default in `dtype`."""

    @abstractmethod
    def rows(self, ids: Tensor) -> Tensor:
        """Weights of chosen rows, int [...] to [..., in]."""

    @abstractmethod
    def columns(self, ids: Tensor) -> Tensor:
        """Weights of chosen columns, int [columns] to [out, columns]."""

    @abstractmethod
    def product(self, x: Tensor) -> Tensor:
        """``x @ W.T`` in the dtype of ``x``: [..., in] to [..., out]."""

    @abstractmethod
    def blocks(self, rows: Rows | None = None) -> Blocks:
        """The stored blocks of all rows, or of these: uint8 [rows, groups, bytes]; not to be written to."""

    @abstractmethod
    def xor(self, rows: NDArray[np.intp], masks: Blocks) -> None:
        """XOR masks [n, groups, bytes] into the blocks of these rows [n], each named once."""

    @abstractmethod
    def replace(self, blocks: Blocks) -> None:
        """Put other blocks in the place of all: uint8 [rows, groups, bytes]."""

    def magnitudes(self) -> Tensor:
        """Mean |weight| of each row: float32 [out]."""
        return self.expand(torch.float32).abs().unflatten(1, (-1, self.group)).mean(2).mean(1)


def make_matrix(tensor: PackedTensor, dtype: torch.dtype, *, dense: bool = False) -> WeightMatrix:
    """A copy of the matrix to compute with: packed where there is a product for packed codes, unless `dense`."""
    if tensor.quantization is Q1_0 and not dense:
        return PackedMatrix(tensor, dtype)
    return DenseMatrix(tensor, dtype)


def matrix_bytes(info: MatrixInfo, item: int, *, dense: bool = False) -> int:
    """Bytes of memory that a matrix of `make_matrix` takes, with numbers of `item` bytes."""
    stored = info.rows * info.groups * info.quantization.nbytes
    if info.quantization is Q1_0 and not dense:
        return stored
    floats = item * info.shape[0] * info.shape[1]
    return stored if info.quantization.plain and stored == floats else stored + floats


_STORED_AS = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"}
"""The quantization whose blocks are numbers of a type of torch."""


class DenseMatrix(WeightMatrix):
    """Weights as floats [out, in] in one tensor, whatever they are stored as.

    The blocks are kept beside them in the memory of the CPU, except where the floats themselves are those stored.
    """

    dense: Tensor
    _blocks: Blocks | None

    def __init__(self, tensor: PackedTensor, dtype: torch.dtype) -> None:
        super().__init__()
        self.info = tensor.info
        self.register_buffer("dense", torch.tensor(tensor.to_dense()).to(dtype))
        self._blocks = None if self._as_stored else np.array(tensor.blocks)

    @property
    def dtype(self) -> torch.dtype:
        return self.dense.dtype

    @property
    def device(self) -> torch.device:
        return self.dense.device

    def expand(self, dtype: torch.dtype | None = None) -> Tensor:
        return self.dense.to(dtype or self.dtype)

    def rows(self, ids: Tensor) -> Tensor:
        return functional.embedding(ids, self.dense)

    def columns(self, ids: Tensor) -> Tensor:
        return self.dense[:, ids]

    def product(self, x: Tensor) -> Tensor:
        return functional.linear(x, self.dense.to(x.dtype))

    def blocks(self, rows: Rows | None = None) -> Blocks:
        if self._blocks is not None:
            return self._blocks if rows is None else self._blocks[np.asarray(rows, np.intp)]
        weights = (
            self.dense
            if rows is None
            else self.dense[torch.as_tensor(np.asarray(rows, np.intp)).to(self.device)]
        )
        numbers = weights.detach().cpu().contiguous().view(torch.uint8).numpy()
        return numbers.reshape(len(numbers), self.info.groups, -1)

    @torch.no_grad()
    def xor(self, rows: NDArray[np.intp], masks: Blocks) -> None:
        negated = torch.from_numpy(self.info.quantization.negated(masks)).to(self.device)
        at = torch.from_numpy(rows).to(self.device)
        self.dense[at] = torch.where(negated, -self.dense[at], self.dense[at])
        if self._blocks is not None:
            self._blocks[rows] ^= masks

    @torch.no_grad()
    def replace(self, blocks: Blocks) -> None:
        tensor = PackedTensor("replaced", self.info.quantization, blocks)
        self.dense.copy_(torch.from_numpy(np.array(tensor.to_dense())))
        self._blocks = None if self._blocks is None else np.array(blocks)

    @property
    def _as_stored(self) -> bool:
        """Whether the floats in memory are those of the file, bit for bit."""
        return _STORED_AS.get(self.dtype) == self.info.quantization.name

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "DenseMatrix":
        """Moves or converts the floats; keeps the blocks where the new floats are no longer those stored."""
        blocks = self.blocks()
        super()._apply(fn, recurse)
        if self._blocks is None and not self._as_stored:
            self._blocks = np.array(blocks)
        return self


@lru_cache
def _sign_table(device: torch.device, dtype: torch.dtype) -> Tensor:
    """The eight ±1 that each byte value stands for, lowest bit first: [256, 8]."""
    bits = (torch.arange(256, device=device)[:, None] >> torch.arange(8, device=device)) & 1
    return (2 * bits - 1).to(dtype)


def expand(signs: Tensor, scales: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """Weights of packed 1-bit rows: uint8 [..., groups, 16] and float16 [..., groups] to ``dtype`` [..., groups * 128].

    Exact in float32 and float16; in bfloat16 the scale is rounded once.
    """
    table = _sign_table(signs.device, dtype)
    weights = table.index_select(0, signs.reshape(-1).int()).view(*scales.shape, Q1_0.weights)
    return weights.mul_(scales.to(dtype)[..., None]).flatten(-2)


def _rows_per_part(scales: Tensor) -> int:
    """How many rows of a matrix with scales [out, groups] are expanded at a time."""
    limit = _CPU_PART if scales.device.type == "cpu" else _PART
    return max(1, limit // (scales.shape[1] * Q1_0.weights))


def _expanded(signs: Tensor, scales: Tensor, dtype: torch.dtype) -> Iterator[tuple[slice, Tensor]]:
    """Some rows at a time, and their weights [rows, in]; each part is written over the one before."""
    (out, groups), rows = scales.shape, _rows_per_part(scales)
    table = _sign_table(signs.device, dtype)
    memory = table.new_empty(rows * groups * signs.shape[2], 8)
    for start in range(0, out, rows):
        part = slice(start, start + rows)
        codes = signs[part].reshape(-1).int()
        weights = torch.index_select(table, 0, codes, out=memory[: len(codes)]).view(-1, groups, Q1_0.weights)
        yield part, weights.mul_(scales[part].to(dtype)[..., None]).flatten(-2)


class _PackedProduct(torch.autograd.Function):
    """``x @ W.T`` that keeps the packed bits for the backward, not ``W``; no gradient for the weights."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, signs: Tensor, scales: Tensor) -> Tensor:
        ctx.save_for_backward(signs, scales)
        if len(signs) <= _rows_per_part(scales):
            return functional.linear(x, expand(signs, scales, x.dtype))
        y = x.new_empty(*x.shape[:-1], len(signs))
        for rows, weights in _expanded(signs, scales, x.dtype):
            y[..., rows] = functional.linear(x, weights)
        return y

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        signs, scales = ctx.saved_tensors
        upstream = grads[0]
        if len(signs) <= _rows_per_part(scales):
            return upstream @ expand(signs, scales, upstream.dtype), None, None
        width = scales.shape[1] * Q1_0.weights
        wide = torch.promote_types(upstream.dtype, torch.float32)  # many sums in bfloat16 would drift
        total = upstream.new_zeros(*upstream.shape[:-1], width, dtype=wide)
        for rows, weights in _expanded(signs, scales, upstream.dtype):
            total += upstream[..., rows] @ weights
        return total.to(upstream.dtype), None, None


class PackedMatrix(WeightMatrix):
    """1-bit weights ``±d``, of which only sign bits and group scales are kept.

    ``signs`` uint8 [out, groups, 16], ``scales`` float16 [out, groups]. The expanded weight lives for one matrix
    product, in the forward and again in the backward.
    """

    signs: Tensor
    scales: Tensor
    like: Tensor  # empty, of the dtype that is computed in

    def __init__(self, tensor: PackedTensor, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.info = tensor.info
        self.register_buffer("signs", torch.from_numpy(np.array(signs_of(tensor.blocks))))
        self.register_buffer("scales", torch.from_numpy(np.array(scales_of(tensor.blocks))))
        self.register_buffer("like", torch.empty(0, dtype=dtype), persistent=False)

    @property
    def dtype(self) -> torch.dtype:
        return self.like.dtype

    @property
    def device(self) -> torch.device:
        return self.signs.device

    def expand(self, dtype: torch.dtype | None = None) -> Tensor:
        return expand(self.signs, self.scales, dtype or self.dtype)

    def rows(self, ids: Tensor) -> Tensor:
        return expand(self.signs[ids], self.scales[ids], self.dtype)

    def columns(self, ids: Tensor) -> Tensor:
        group, place = ids // self.group, ids % self.group
        bits = (self.signs[:, group, place // 8] >> (place % 8).to(torch.uint8)) & 1
        return (2 * bits.to(self.dtype) - 1) * self.scales[:, group].to(self.dtype)

    def product(self, x: Tensor) -> Tensor:
        return _PackedProduct.apply(x, self.signs, self.scales)

    def blocks(self, rows: Rows | None = None) -> Blocks:
        signs, scales = self.signs, self.scales
        if rows is not None:
            at = torch.as_tensor(np.asarray(rows, np.intp)).to(self.device)
            signs, scales = signs[at], scales[at]
        return one_bit_blocks(scales.cpu().numpy(), signs.cpu().numpy())

    @torch.no_grad()
    def xor(self, rows: NDArray[np.intp], masks: Blocks) -> None:
        at = torch.from_numpy(rows).to(self.device)
        self.signs[at] ^= torch.from_numpy(np.array(signs_of(masks))).to(self.device)

    @torch.no_grad()
    def replace(self, blocks: Blocks) -> None:
        self.signs.copy_(torch.from_numpy(np.array(signs_of(blocks))))
        self.scales.copy_(torch.from_numpy(np.array(scales_of(blocks))))

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "PackedMatrix":
        """Moves the tensors; another type is for what is computed in, and the scales keep theirs."""
        scales = self.scales
        super()._apply(fn, recurse)
        if self.scales.dtype != scales.dtype:
            self.scales = scales.to(self.scales.device)
        return self
