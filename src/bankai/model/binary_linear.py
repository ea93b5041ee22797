"""1-bit linear and embedding layers over packed sign bits.

A layer computes with ``w = ±d`` and stores only the bits and the group scales; the expanded weight lives for one matrix
product, in the forward and again in the backward. Bits change in place with :meth:`PackedWeight.flip`.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator
from functools import lru_cache
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from bankai.errors import RowRangeError
from bankai.quantization.binary import GROUP, GROUP_BYTES, BinaryTensor

__all__ = ["BinaryEmbedding", "BinaryLinear", "PackedWeight", "Versions", "expand"]

Place = TypeVar("Place", bound=Hashable)


class Versions(Protocol):
    """What corrects the outputs of a layer for parts of a batch."""

    def change(self, x: Tensor, y: Tensor) -> Tensor:
        """Outputs [..., out] of the inputs [..., in], corrected."""
        ...


_CPU_BLOCK = 1 << 21
"""Weights expanded at a time: few enough to stay in the cache and in pages that the allocator has at hand."""
_BLOCK = 1 << 24
"""The same on other devices, where a block must be worth its launches."""


@lru_cache
def _sign_table(device: torch.device, dtype: torch.dtype) -> Tensor:
    """The eight ±1 that each byte value stands for, lowest bit first: [256, 8]."""
    bits = (torch.arange(256, device=device)[:, None] >> torch.arange(8, device=device)) & 1
    return (2 * bits - 1).to(dtype)


def expand(signs: Tensor, scales: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """Weights of packed rows.

    Uint8 [..., groups, 16] and float16 [..., groups] to ``dtype`` [..., groups * 128].

    Exact in float32 and float16; in bfloat16 the scale is rounded once.
    """
    table = _sign_table(signs.device, dtype)
    weights = table.index_select(0, signs.reshape(-1).int()).view(*scales.shape, GROUP)
    return weights.mul_(scales.to(dtype)[..., None]).flatten(-2)


def _rows_per_block(scales: Tensor) -> int:
    limit = _CPU_BLOCK if scales.device.type == "cpu" else _BLOCK
    return max(1, limit // (scales.shape[1] * GROUP))


def _blocks(signs: Tensor, scales: Tensor, dtype: torch.dtype) -> Iterator[tuple[slice, Tensor]]:
    """Rows and their weights [rows, in], block by block; each block is written over the one before."""
    (out, groups), rows = scales.shape, _rows_per_block(scales)
    table = _sign_table(signs.device, dtype)
    memory = table.new_empty(rows * groups * GROUP_BYTES, 8)
    for start in range(0, out, rows):
        part = slice(start, start + rows)
        codes = signs[part].reshape(-1).int()
        weights = torch.index_select(table, 0, codes, out=memory[: len(codes)]).view(-1, groups, GROUP)
        yield part, weights.mul_(scales[part].to(dtype)[..., None]).flatten(-2)


class _PackedProduct(torch.autograd.Function):
    """``x @ W.T`` that keeps the packed bits for the backward, not ``W``; no gradient for the weights."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, signs: Tensor, scales: Tensor) -> Tensor:
        ctx.save_for_backward(signs, scales)
        if len(signs) <= _rows_per_block(scales):
            return functional.linear(x, expand(signs, scales, x.dtype))
        y = x.new_empty(*x.shape[:-1], len(signs))
        for rows, weights in _blocks(signs, scales, x.dtype):
            y[..., rows] = functional.linear(x, weights)
        return y

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        signs, scales = ctx.saved_tensors
        upstream = grads[0]
        if len(signs) <= _rows_per_block(scales):
            return upstream @ expand(signs, scales, upstream.dtype), None, None
        width = scales.shape[1] * GROUP
        wide = torch.promote_types(upstream.dtype, torch.float32)  # many sums in bfloat16 would drift
        total = upstream.new_zeros(*upstream.shape[:-1], width, dtype=wide)
        for rows, weights in _blocks(signs, scales, upstream.dtype):
            total += upstream[..., rows] @ weights
        return total.to(upstream.dtype), None, None


class PackedWeight(nn.Module):
    """Sign bits [out, groups, 16] uint8 and scales [out, groups] float16 of one weight matrix [out, in].

    Embedding and head of a tied model share one instance. ``dense`` is the expanded copy, absent until
    :meth:`densify`. ``model.to(dtype)`` changes what the layer computes in, never the stored scales.
    """

    signs: Tensor
    scales: Tensor
    dense: Tensor | None
    like: Tensor

    def __init__(self, signs: Tensor, scales: Tensor, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        if (
            signs.shape != (*scales.shape, GROUP_BYTES)
            or signs.dtype != torch.uint8
            or scales.dtype != torch.float16
        ):
            raise ValueError("expected signs uint8 [out, groups, 16] and scales float16 [out, groups]")
        self.register_buffer("signs", signs)
        self.register_buffer("scales", scales)
        self.register_buffer("dense", None, persistent=False)
        self.register_buffer("like", torch.empty(0, dtype=dtype, device=signs.device), persistent=False)

    @classmethod
    def from_tensor(cls, tensor: BinaryTensor, dtype: torch.dtype = torch.float32) -> "PackedWeight":
        """Copy a binary tensor, typically a view of a file, into memory of our own."""
        arrays = (tensor.signs, tensor.scales)
        signs, scales = (torch.from_numpy(np.array(array, order="C")) for array in arrays)
        return cls(signs, scales, dtype)

    @property
    def shape(self) -> tuple[int, int]:
        """(out, in)."""
        rows, groups = self.scales.shape
        return rows, groups * GROUP

    @property
    def dtype(self) -> torch.dtype:
        """What an embedding returns and a dense copy holds."""
        return self.like.dtype

    def expand(self, dtype: torch.dtype | None = None) -> Tensor:
        """The whole weight [out, in]: the dense copy where there is one, else freshly expanded."""
        dtype = dtype or self.dtype
        return expand(self.signs, self.scales, dtype) if self.dense is None else self.dense.to(dtype)

    def rows(self, ids: Tensor) -> Tensor:
        """Weights of chosen rows, int [...] to [..., in], without expanding the others."""
        if self.dense is not None:
            return functional.embedding(ids, self.dense)
        return expand(self.signs[ids], self.scales[ids], self.dtype)

    def columns(self, ids: Tensor) -> Tensor:
        """Weights of chosen columns, int [columns] to [out, columns], without expanding the others."""
        if self.dense is not None:
            return self.dense[:, ids]
        group, place = ids // GROUP, ids % GROUP
        bits = (self.signs[:, group, place // 8] >> (place % 8).to(torch.uint8)) & 1
        return (2 * bits.to(self.dtype) - 1) * self.scales[:, group].to(self.dtype)

    def product(self, x: Tensor) -> Tensor:
        """``x @ W.T`` in the dtype of ``x``: [..., in] to [..., out]."""
        if self.dense is not None:
            return functional.linear(x, self.dense.to(x.dtype))
        return _PackedProduct.apply(x, self.signs, self.scales)

    def densify(self) -> None:
        """Keep the expanded weight: 32 times the memory of the bits in float32, no unpacking per call."""
        self.dense = expand(self.signs, self.scales, self.dtype)

    @torch.no_grad()
    def flip(
        self,
        rows: Iterable[int] = (),
        groups: Iterable[tuple[int, int]] = (),
        bits: Iterable[tuple[int, int, int]] = (),
    ) -> None:
        """Invert whole rows, groups (row, group) and single bits (row, group, bit) in place.

        Places combine as XOR has it: one named twice stays as it was, a bit in a flipped group is turned back.
        Every place is checked before the first bit changes; raises RowRangeError.
        """
        row_list, group_list, bit_list = _odd(rows), _odd(groups), _odd(bits)
        self._check(row_list, group_list, bit_list)
        if row_list:
            at = torch.tensor(row_list, device=self.signs.device)
            self.signs[at] = ~self.signs[at]
            if self.dense is not None:
                self.dense[at] = -self.dense[at]
        if group_list:
            row, group = torch.tensor(group_list, device=self.signs.device).unbind(1)
            self.signs[row, group] = ~self.signs[row, group]
            if self.dense is not None:
                dense = self.dense.view(*self.scales.shape, GROUP)
                dense[row, group] = -dense[row, group]
        if bit_list:
            self._flip_bits(bit_list)

    def _flip_bits(self, places: list[tuple[int, int, int]]) -> None:
        masks: dict[tuple[int, int, int], int] = defaultdict(int)  # of a byte: indexing writes it only once
        for row_at, group_at, bit_at in places:
            masks[row_at, group_at, bit_at // 8] ^= 1 << bit_at % 8
        device = self.signs.device
        row, group, byte = torch.tensor(list(masks), device=device).unbind(1)
        self.signs[row, group, byte] ^= torch.tensor(list(masks.values()), dtype=torch.uint8, device=device)
        if self.dense is not None:
            row, group, bit = torch.tensor(places, device=device).unbind(1)
            dense = self.dense.view(*self.scales.shape, GROUP)
            dense[row, group, bit] = -dense[row, group, bit]

    def _check(
        self, rows: list[int], groups: list[tuple[int, int]], bits: list[tuple[int, int, int]]
    ) -> None:
        row_count, group_count = self.scales.shape
        for row in [*rows, *(row for row, _ in groups), *(row for row, _, _ in bits)]:
            if not 0 <= row < row_count:
                raise RowRangeError(
                    f"row {row} is outside 0..{row_count - 1}; was the patch made for this model?"
                )
        for group in [*(group for _, group in groups), *(group for _, group, _ in bits)]:
            if not 0 <= group < group_count:
                raise RowRangeError(
                    f"group {group} is outside 0..{group_count - 1}; was the patch made for this model?"
                )
        for _, _, bit in bits:
            if not 0 <= bit < GROUP:
                raise RowRangeError(f"bit {bit} is outside 0..{GROUP - 1}; a group has no more bits")

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "PackedWeight":
        scales = self.scales
        super()._apply(fn, recurse)
        if self.scales.dtype != scales.dtype:
            self.scales = scales.to(self.scales.device)
        return self


def _odd(places: Iterable[Place]) -> list[Place]:
    """Places named an odd number of times: the ones a toggle changes."""
    return [place for place, count in Counter(places).items() if count % 2]


class _BinaryLayer(nn.Module):
    """What linear and embedding have in common: one packed weight and its operations."""

    def __init__(self, packed: PackedWeight) -> None:
        super().__init__()
        self.packed = packed

    @property
    def signs(self) -> Tensor:
        """uint8 [out, groups, 16]."""
        return self.packed.signs

    @property
    def scales(self) -> Tensor:
        """float16 [out, groups]."""
        return self.packed.scales

    @property
    def weight(self) -> Tensor:
        """The expanded weight [out, in], to look at; change it with :meth:`flip`."""
        return self.packed.expand()

    def densify(self) -> None:
        """See :meth:`PackedWeight.densify`."""
        self.packed.densify()

    def flip(
        self,
        rows: Iterable[int] = (),
        groups: Iterable[tuple[int, int]] = (),
        bits: Iterable[tuple[int, int, int]] = (),
    ) -> None:
        """See :meth:`PackedWeight.flip`."""
        self.packed.flip(rows, groups, bits)

    def extra_repr(self) -> str:
        return "{} x {}, 1 bit, group {}".format(*self.packed.shape, GROUP)


class BinaryLinear(_BinaryLayer):
    """``y = x @ W.T`` with a packed 1-bit weight and no bias.

    Flipping a row negates that output exactly, bit for bit: rounding is symmetric in sign. `versions`, set by
    :func:`bankai.model.overlay.overlaid`, corrects the outputs where parts of a batch have their own flips.
    """

    versions: "Versions | None" = None

    @property
    def in_features(self) -> int:
        return self.packed.shape[1]

    @property
    def out_features(self) -> int:
        return self.packed.shape[0]

    def forward(self, x: Tensor) -> Tensor:
        """[..., in] to [..., out]."""
        y = self.packed.product(x)
        return y if self.versions is None else self.versions.change(x, y)


class BinaryEmbedding(_BinaryLayer):
    """Rows of a packed 1-bit table; only the rows looked up are unpacked."""

    @property
    def num_embeddings(self) -> int:
        return self.packed.shape[0]

    @property
    def embedding_dim(self) -> int:
        return self.packed.shape[1]

    def forward(self, ids: Tensor) -> Tensor:
        """int [...] to [..., in]."""
        return self.packed.rows(ids)
