"""Where two patches meet, and what that lets one guess of putting both on.

Contract: reads the places of the flips alone, no model. What it counts is exact; `interference` is an estimate and
called so. Two flips surely act on each other when they are of one row, or of the gate and up row of one neuron, whose
activations are multiplied: the estimate is the share of the smaller patch's rows of which that holds.

What it cannot tell: how much of its effect either patch loses, or whether one undoes what the other does. Every flip
changes what all later layers read, so patches without a common row can interfere all the same, and neighbours in one
layer need not. Only a measurement of both together says that: `bankai compose`, then `bankai eval`.
"""

from collections.abc import Iterable, Sequence, Set
from itertools import combinations
from typing import TYPE_CHECKING

import msgspec

from bankai.errors import LibraryError
from bankai.patch import Flip, Patch
from bankai.tensor_names import parse_tensor_name

if TYPE_CHECKING:
    from bankai.library.library import Library

__all__ = ["Overlap", "Pair", "overlap", "overlaps"]

_PARTNERS = {".mlp.gate_proj": ".mlp.up_proj", ".mlp.up_proj": ".mlp.gate_proj"}

Row = tuple[str, int]


class Overlap(msgspec.Struct, frozen=True, kw_only=True):
    """`same_base`: None when one is unbound. `cancelled`: flips of both, which go when both are put on.

    `shared_rows`: rows that both touch, be it by a group or a bit of them; `shared_neurons`: where one touches the gate
    row and the other the up row. `same_tensor`, `same_layer`: the share of the smaller patch's rows in tensors and in
    layers that the other touches. `interference`: the estimate, from 0 to 1.
    """

    same_base: bool | None
    cancelled: int
    shared_rows: int
    shared_neurons: int
    same_tensor: float
    same_layer: float
    interference: float


class Pair(msgspec.Struct, frozen=True, kw_only=True):
    """Two patches of a library by name, and where they meet."""

    first: str
    second: str
    overlap: Overlap


def overlaps(library: "Library", names: Sequence[str]) -> tuple[Pair, ...]:
    """Every two of the patches of these names, or the only one of them and each other; who meets most comes first.

    Raises LibraryError for no name, an unknown one, or one given twice.
    """
    if not names or len(set(names)) != len(names):
        raise LibraryError("give the names of different patches, or one to compare with all others")
    patches = {name: library.get(name).patch for name in names}
    pairs = list(combinations(names, 2))
    if len(names) == 1:
        others = [entry.name for entry in library.list() if entry.name not in patches]
        patches |= {name: library.get(name).patch for name in others}
        pairs = [(names[0], other) for other in others]
    found = [Pair(first=a, second=b, overlap=overlap(patches[a], patches[b])) for a, b in pairs]
    return tuple(sorted(found, key=lambda pair: _order(pair.overlap)))


def _order(found: Overlap) -> tuple[float, ...]:
    return -found.interference, -found.same_tensor, -found.same_layer


def overlap(first: Patch, second: Patch) -> Overlap:
    """Where they meet; the order does not matter."""
    small, large = sorted(
        (_rows(first.flips), _rows(second.flips)), key=lambda rows: (len(rows), sorted(rows))
    )
    partners = {row for row in small if _partner(row) in large}
    tensors, layers = {tensor for tensor, _ in large}, {_layer(tensor) for tensor, _ in large}
    bases = {patch.binding.fingerprint if patch.binding else None for patch in (first, second)}
    return Overlap(
        same_base=None if None in bases else len(bases) == 1,
        cancelled=len(first.flips & second.flips),
        shared_rows=len(small & large),
        shared_neurons=len({(_layer(tensor), number) for tensor, number in partners}),
        same_tensor=_share(small, (row for row in small if row[0] in tensors)),
        same_layer=_share(small, (row for row in small if _layer(row[0]) in layers)),
        interference=_share(small, partners | small & large),
    )


def _rows(flips: Iterable[Flip]) -> Set[Row]:
    """The rows that the flips touch, of whatever kind they are."""
    return {(flip.tensor, flip.row) for flip in flips}


def _partner(row: Row) -> Row | None:
    """The other row of the same neuron, for a gate or an up row."""
    tensor, number = row
    for ending, other in _PARTNERS.items():
        if tensor.endswith(ending):
            return tensor.removesuffix(ending) + other, number
    return None


def _layer(tensor: str) -> int | str:
    """The number of its layer; the name itself of a tensor outside the layers."""
    layer = parse_tensor_name(tensor).layer
    return tensor if layer is None else layer


def _share(rows: Set[Row], some: Iterable[Row]) -> float:
    return round(len(set(some)) / len(rows), 4) if rows else 0.0
