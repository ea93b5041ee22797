"""In which order, and how, a GGUF file keeps what Hugging Face's modules hold.

The only map of rows, columns and values. Of Qwen3 a file keeps everything as it is. Of a hybrid (``qwen35``) the
converter of llama.cpp (conversion/qwen.py, read in November 2026) changes three things, which llama.cpp relies on:

- Value heads. In linear attention several value heads share a key head. Hugging Face keeps them together: those of
  key head 0, then those of key head 1. llama.cpp repeats the key heads as a whole, so a file has the first value head
  of every key head, then the second of every one. This moves the rows of ``in_proj_z``, ``in_proj_b``, ``in_proj_a``
  and of the last part of ``in_proj_qkv``, the channels of ``conv1d``, ``A_log`` and ``dt_bias``, and the *columns* of
  ``out_proj``.
- Values. Norms are kept as 1 + weight, but for the one inside linear attention; ``A_log`` as -exp(A_log).
- Shapes. ``conv1d`` is kept without its middle axis of 1.

Patches name canonical rows and groups, so a patch fits whatever order a file has. Columns move with their head: where a
head is a whole number of groups, groups move and stay whole. Where it is not, there is no group to flip, and the model
is refused.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bankai.architectures.names import NORM, architecture, in_layer
from bankai.errors import ModelFormatError, UnsupportedModelError
from bankai.quantization.binary import GROUP, BinaryTensor

__all__ = [
    "Order",
    "ReorderedTensor",
    "Tensor",
    "canonical_dense",
    "order_of",
    "stored_shape",
    "stored_tensors",
]

Places = NDArray[np.intp]
Tensor = BinaryTensor | NDArray[np.floating[Any]]
"""A tensor of a model file."""

_LINEAR = "linear_attn."
_CONVOLUTION, _DECAY = "linear_attn.conv1d", "linear_attn.A_log"
_CENTERED = (
    "input_layernorm",
    "post_attention_layernorm",
    "self_attn.q_norm",
    "self_attn.k_norm",
)


@dataclass(frozen=True, slots=True, eq=False)
class Order:
    """Where a file keeps row ``r`` and group ``g``: at ``rows[r]`` and ``groups[g]``; None where it is as here."""

    rows: Places | None = None
    groups: Places | None = None

    def __bool__(self) -> bool:
        return self.rows is not None or self.groups is not None

    def row(self, row: int) -> int:
        """Of a canonical row, the one in the file."""
        return row if self.rows is None else int(self.rows[row])

    def group(self, group: int) -> int:
        """Of a canonical group, the one in the file."""
        return group if self.groups is None else int(self.groups[group])

    def stored(self, array: NDArray[Any]) -> NDArray[Any]:
        """A canonical array [rows, groups, ...] as the file has it."""
        return self.stored_groups(self.stored_rows(array))

    def stored_rows(self, array: NDArray[Any]) -> NDArray[Any]:
        """An array [rows, ...] with its rows as the file has them."""
        return array if self.rows is None else array[np.argsort(self.rows)]

    def stored_groups(self, array: NDArray[Any]) -> NDArray[Any]:
        """An array [n, groups, ...], of any rows, with its groups as the file has them."""
        return array if self.groups is None else array[:, np.argsort(self.groups)]

    def canonical(self, array: NDArray[Any], rows: Places | Sequence[int] | None = None) -> NDArray[Any]:
        """An array of the file in canonical order; of the canonical ``rows`` only, where they are given."""
        if rows is not None:
            array = array[rows if self.rows is None else self.rows[rows]]
        elif self.rows is not None:
            array = array[self.rows]
        return array if self.groups is None else array[:, self.groups]


class ReorderedTensor(BinaryTensor):
    """A binary tensor in canonical order over one that a file keeps otherwise.

    ``signs`` and ``scales`` are read-only copies of the whole, made each time; ``select`` copies what it is asked for,
    and ``flip`` changes the bits where they are.
    """

    __slots__ = ("_order", "_stored")
    _order: Order
    _stored: BinaryTensor

    def __init__(self, stored: BinaryTensor, order: Order) -> None:
        for name, value in (("name", stored.name), ("_stored", stored), ("_order", order)):
            object.__setattr__(self, name, value)

    @property
    def signs(self) -> NDArray[np.uint8]:
        return _read_only(self._order.canonical(self._stored.signs))

    @property
    def scales(self) -> NDArray[np.float16]:
        return _read_only(self._order.canonical(self._stored.scales))

    @property
    def shape(self) -> tuple[int, int]:
        return self._stored.shape

    @property
    def groups(self) -> int:
        return self._stored.groups

    def select(self, rows: Sequence[int] | Places) -> BinaryTensor:
        arrays = (self._stored.signs, self._stored.scales)
        return BinaryTensor(self.name, *(self._order.canonical(array, rows) for array in arrays))

    def flip(
        self,
        rows: Iterable[int] = (),
        groups: Iterable[tuple[int, int]] = (),
        bits: Iterable[tuple[int, int, int]] = (),
    ) -> None:
        row_list, group_list, bit_list = list(rows), list(groups), list(bits)
        self._check_all(row_list, group_list, bit_list)
        row_of, group_of = self._order.row, self._order.group
        self._stored.flip(
            [row_of(row) for row in row_list],
            [(row_of(row), group_of(group)) for row, group in group_list],
            [(row_of(row), group_of(group), bit) for row, group, bit in bit_list],
        )

    def popcount(self) -> int:
        return self._stored.popcount()


def order_of(name: str, config: Mapping[str, Any]) -> Order:
    """The order in GGUF of the tensor of that canonical name. Raises UnsupportedModelError for columns that no order of
    whole groups moves.
    """
    path = in_layer(name) or ""
    heads = _value_heads(config) if path.startswith(_LINEAR) else None
    if heads is None:
        return Order()
    keys, width = (
        config["linear_num_key_heads"] * config["linear_key_head_dim"],
        config["linear_value_head_dim"],
    )
    match path.removeprefix(_LINEAR):
        case "in_proj_qkv" | "conv1d":
            return Order(np.concatenate([np.arange(2 * keys), 2 * keys + _spread(heads, width)]))
        case "in_proj_z":
            return Order(_spread(heads, width))
        case "in_proj_b" | "in_proj_a" | "A_log" | "dt_bias":
            return Order(heads)
        case "out_proj":
            if width % GROUP:
                raise UnsupportedModelError(
                    f"{name}: GGUF reorders its columns by heads of {width}, which tears groups of {GROUP} apart; "
                    "only models with value heads of whole groups are supported"
                )
            return Order(groups=_spread(heads, width // GROUP))
    return Order()


def _value_heads(config: Mapping[str, Any]) -> Places | None:
    """Where the file keeps each value head; None where it moves none."""
    keys, values = config["linear_num_key_heads"], config["linear_num_value_heads"]
    heads = np.arange(values, dtype=np.intp).reshape(values // keys, keys).T.reshape(-1)
    return None if (np.diff(heads) == 1).all() else heads


def _spread(heads: Places, width: int) -> Places:
    """Of heads of that width, their rows."""
    return (heads[:, None] * width + np.arange(width)).reshape(-1)


def stored_shape(name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Of a canonical shape, the one in the file."""
    return (shape[0], shape[2]) if in_layer(name) == _CONVOLUTION else shape


def canonical_dense(name: str, stored: NDArray[np.float32], config: Mapping[str, Any]) -> NDArray[np.float32]:
    """A dense tensor from what the file keeps. Raises ModelFormatError for a value that none could come from."""
    if not architecture(config["model_type"]).hybrid:
        return stored
    array = order_of(name, config).canonical(stored)
    path = in_layer(name)
    if path == _CONVOLUTION:
        return array[:, None]
    if path == _DECAY:
        if not (array < 0).all():
            raise ModelFormatError(f"{name}: a decay is not below 0; the model is damaged, get it again")
        return np.log(-array.astype(np.float64)).astype(np.float32)
    return array - np.float32(1) if path in _CENTERED or name == NORM else array


def stored_tensors(tensors: Mapping[str, Tensor], config: Mapping[str, Any]) -> dict[str, Tensor]:
    """Canonical tensors as a GGUF file keeps them, by its names."""
    names = architecture(config["model_type"])
    return {names.to_gguf(name): _stored(name, tensor, config) for name, tensor in tensors.items()}


def _stored(name: str, tensor: Tensor, config: Mapping[str, Any]) -> Tensor:
    order, path = order_of(name, config), in_layer(name)
    if isinstance(tensor, BinaryTensor):
        return (
            BinaryTensor(name, order.stored(tensor.signs), order.stored(tensor.scales)) if order else tensor
        )
    if not architecture(config["model_type"]).hybrid:
        return tensor
    array = order.stored_rows(tensor)
    if path == _CONVOLUTION:
        return array[:, 0]
    if path == _DECAY:
        return -np.exp(array.astype(np.float64)).astype(array.dtype)
    return array + array.dtype.type(1) if path in _CENTERED or name == NORM else array


def _read_only(array: NDArray[Any]) -> NDArray[Any]:
    array.flags.writeable = False
    return array
