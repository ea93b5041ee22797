"""Keys and values of texts of different lengths, a row each: rows join at the end, and the last one fills a gap.

A row is zero behind its text, so that one whose numbers were no numbers leaves nothing to the next.
"""

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["Memory", "Shape", "attend_after", "attend_each"]

_FIRST = 64  # tokens that there is room for at first


class Shape(NamedTuple):
    """What is remembered of a token: key and value of every layer."""

    layers: int
    heads: int
    width: int

    def bytes(self, like: Tensor) -> int:
        """Of one token."""
        return 2 * self.layers * self.heads * self.width * like.element_size()

    def room(self, length: int, like: Tensor) -> Tensor:
        """For one text: [layers, 2, heads, length, width]."""
        return like.new_zeros(self.layers, 2, self.heads, length, self.width)


class Memory:
    """Of at most `places` texts of `most` tokens; `lengths` are theirs. Each has as much room as the longest needs."""

    def __init__(self, shape: Shape, places: int, most: int, like: Tensor) -> None:
        self._shape, self._places, self._most, self._like = shape, places, most, like
        self.clear()

    def clear(self) -> None:
        """Forget everything and give the room back."""
        self.lengths: list[int] = []
        self._kept = self._room(0)

    def _room(self, length: int) -> Tensor:
        """[layers, 2, places, heads, length, width]."""
        layers, heads, width = self._shape
        return self._like.new_zeros(layers, 2, self._places, heads, length, width)

    def reserve(self, lengths: Iterable[int]) -> None:
        """Room for one more token of every row, and for rows of these lengths."""
        room = self._kept.shape[-2]
        needed = max([*(length + 1 for length in self.lengths), *lengths], default=0)
        if needed > room:
            rows, grown = len(self.lengths), self._room(min(max(needed, 2 * room, _FIRST), self._most))
            grown[:, :, :rows, :, :room] = self._kept[:, :, :rows]
            self._kept = grown

    def layer(self, index: int) -> tuple[Tensor, Tensor]:
        """Keys and values: two [rows, heads, room, width], to read and to write."""
        keys, values = self._kept[index, :, : len(self.lengths)]
        return keys, values

    def advance(self) -> None:
        """One more token of every row is there."""
        self.lengths = [length + 1 for length in self.lengths]

    def append(self, text: Tensor) -> None:
        """One more row, for which there is room: [layers, 2, heads, length, width]."""
        self._kept[:, :, len(self.lengths), :, : text.shape[-2]] = text
        self.lengths.append(text.shape[-2])

    def drop(self, row: int) -> None:
        """Forget a row; the last one takes its place. With the only one the room is given back."""
        last = len(self.lengths) - 1
        if last == 0:
            self.clear()
            return
        # One more than is known: a step that failed may have left it.
        used = 1 + max(self.lengths[row], self.lengths[last])
        self._kept[:, :, row, :, :used] = self._kept[:, :, last, :, :used]
        self._kept[:, :, last, :, :used] = 0
        self.lengths[row] = self.lengths[last]
        self.lengths.pop()


def attend_each(query: Tensor, keys: Tensor, values: Tensor, mask: Tensor) -> Tensor:
    """One token of each text, [texts, heads, width] to the same; keys and values [texts, key heads, length, width].

    `mask` is added to the scores: [texts, 1, 1, length]. Queries that share a key stand where those of a sequence
    would, so that no key is repeated.
    """
    texts, heads, width = query.shape
    shared = query.view(texts, keys.shape[1], heads // keys.shape[1], width)
    return functional.scaled_dot_product_attention(shared, keys, values, mask).reshape(query.shape)


def attend_after(query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """The last tokens of one text: [tokens, heads, width] to the same; keys and values [key heads, length, width]."""
    before = keys.shape[1] - len(query)
    mask = None
    if before:
        mask = torch.ones(len(query), keys.shape[1], dtype=torch.bool, device=query.device).tril(before)
    result = functional.scaled_dot_product_attention(
        query.transpose(0, 1)[None], keys[None], values[None], mask, is_causal=not before, enable_gqa=True
    )
    return result[0].transpose(0, 1)
