"""The places that flips name in a model: checked, numbered, and turned into masks.

`Places.masks` is the only way from places to the bits that change; whatever puts flips on a file, on a loaded model or
on digests uses it.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bankai.errors import RowRangeError, UnknownTensorError
from bankai.patch.patch import Flip, Kind
from bankai.quantization.base import Blocks, Matrices, MatrixInfo

__all__ = ["Places", "check_places", "flip_of", "number_of", "places_by_tensor", "places_in_row"]

_REMEDY = "use the model that the patch was made for"


@dataclass(frozen=True, slots=True)
class Places:
    """The flips of one tensor: rows, groups (row, group) and single weights (row, group, weight). Sorted."""

    rows: tuple[int, ...] = ()
    groups: tuple[tuple[int, int], ...] = ()
    weights: tuple[tuple[int, int, int], ...] = ()

    @property
    def touched_rows(self) -> list[int]:
        """The rows that the flips name, of whatever kind. Sorted."""
        return sorted({*self.rows, *(row for row, _ in self.groups), *(row for row, _, _ in self.weights)})

    @property
    def single_groups(self) -> list[tuple[int, int]]:
        """The groups outside the flipped rows that are flipped or have a flipped weight. Sorted."""
        whole = set(self.rows)
        groups = {*self.groups, *((row, group) for row, group, _ in self.weights)}
        return sorted(place for place in groups if place[0] not in whole)

    def within(self, rows: Collection[int]) -> "Places":
        """The flips that are in these rows."""
        return Places(
            tuple(row for row in self.rows if row in rows),
            tuple(place for place in self.groups if place[0] in rows),
            tuple(place for place in self.weights if place[0] in rows),
        )

    def masks(self, matrix: MatrixInfo) -> tuple[NDArray[np.intp], Blocks]:
        """The sorted numbers of the touched rows ``[n]``, and their masks, uint8 ``[n, groups, bytes of a group]``.

        What lies in a flipped row or group is turned back, so a mask may be all zeros. The places must be those of the
        matrix.
        """
        rows, kind = np.array(self.touched_rows, np.intp), matrix.quantization
        masks = np.zeros((len(rows), matrix.groups, kind.nbytes), np.uint8)
        masks[np.searchsorted(rows, self.rows)] = kind.mask
        at, group = np.array(self.groups, np.intp).reshape(-1, 2).T
        masks[np.searchsorted(rows, at), group] ^= kind.mask
        at, group, weight = np.array(self.weights, np.intp).reshape(-1, 3).T
        byte, bit = kind.weight_masks(weight)
        # Several weights may share a byte: `at` applies each of them.
        np.bitwise_xor.at(masks, (np.searchsorted(rows, at), group, byte), bit)
        return rows, masks


def places_by_tensor(flips: Iterable[Flip]) -> dict[str, Places]:
    """The flips of each tensor, by its name; the names are sorted."""
    rows: dict[str, list[int]] = defaultdict(list)
    groups: dict[str, list[tuple[int, int]]] = defaultdict(list)
    weights: dict[str, list[tuple[int, int, int]]] = defaultdict(list)
    for flip in flips:
        if flip.group is None:
            rows[flip.tensor].append(flip.row)
        elif flip.bit is None:
            groups[flip.tensor].append((flip.row, flip.group))
        else:
            weights[flip.tensor].append((flip.row, flip.group, flip.bit))
    return {
        name: Places(tuple(sorted(rows[name])), tuple(sorted(groups[name])), tuple(sorted(weights[name])))
        for name in sorted({*rows, *groups, *weights})
    }


def check_places(model: Matrices, flips: Iterable[Flip]) -> None:
    """Raise UnknownTensorError or RowRangeError unless every flip names a place of the model."""
    matrices = model.matrices
    for name, places in places_by_tensor(flips).items():
        if name not in matrices:
            raise UnknownTensorError(f"the model has no weight matrix {name}; {_REMEDY}")
        matrix, pairs = matrices[name], [*places.groups, *(place[:2] for place in places.weights)]
        _check(name, "row", max(places.touched_rows), matrix.rows)
        _check(name, "group", max((group for _, group in pairs), default=0), matrix.groups)
        kind = matrix.quantization
        if places.weights and not kind.own_signs:
            raise RowRangeError(
                f"{name} is {kind}, in which no weight has a sign of its own; flip rows or groups of it"
            )
        _check(name, "weight", max((weight for *_, weight in places.weights), default=0), kind.weights)


def _check(name: str, what: str, number: int, count: int) -> None:
    if number >= count:
        raise RowRangeError(f"{name} has {count} {what}s, the patch flips {what} {number}; {_REMEDY}")


def places_in_row(matrix: MatrixInfo, kind: Kind) -> int:
    """How many places of a kind a row has. Raises RowRangeError where single weights have no sign of their own."""
    if kind == "bit" and not matrix.quantization.own_signs:
        raise RowRangeError(
            f"in {matrix.quantization} no weight has a sign of its own; flip rows or groups instead of single weights"
        )
    return {"row": 1, "group": matrix.groups, "bit": matrix.shape[1]}[kind]


def number_of(flip: Flip, matrix: MatrixInfo) -> int:
    """The number of a flip's place among those of its kind in its row."""
    return (flip.group or 0) * (1 if flip.bit is None else matrix.quantization.weights) + (flip.bit or 0)


def flip_of(tensor: str, row: int, kind: Kind, number: int, matrix: MatrixInfo) -> Flip:
    """The flip of that kind whose place has that number in a row: the inverse of `number_of`."""
    if kind == "row":
        return Flip(tensor, row)
    if kind == "group":
        return Flip(tensor, row, number)
    return Flip(tensor, row, *divmod(number, matrix.quantization.weights))
