"""What ties a patch to a model: fingerprint, digests of the touched bits, and the state they show.

Contract: reads sign bits and scales through canonical names only, so a GGUF file, an MLX directory and a loaded model
of the same bits agree; changes nothing. Digests are BLAKE2b of 8 bytes over the byte strings that `docs/format.md`
defines ("Binding").
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from bankai.errors import RowRangeError, UnboundPatchError, UnknownTensorError
from bankai.patch.patch import Binding, Flip, Patch

if TYPE_CHECKING:
    from bankai.quantization.binary import BinaryTensor, BinaryTensors

__all__ = ["State", "Touched", "bind", "check_places", "digest", "fingerprint", "state", "touched"]

State = Literal["base", "applied", "foreign"]

_SAMPLE_ROWS = 8
_SAMPLE_GROUPS = 8
_REMEDY = "use the model that the patch was made for"


@dataclass(frozen=True, slots=True)
class Touched:
    """The flips of one tensor: rows, groups (row, group) and single bits (row, group, bit). Sorted."""

    rows: tuple[int, ...] = ()
    groups: tuple[tuple[int, int], ...] = ()
    bits: tuple[tuple[int, int, int], ...] = ()

    @property
    def numbers(self) -> tuple[list[int], list[int]]:
        """The rows and the groups that the flips name, of whatever kind."""
        rows = [*self.rows, *(row for row, _ in self.groups), *(row for row, _, _ in self.bits)]
        return rows, [*(group for _, group in self.groups), *(group for _, group, _ in self.bits)]

    def masks(self, groups: int) -> tuple[NDArray[np.intp], NDArray[np.uint8]]:
        """Numbers of the rows that are touched [n], sorted, and what XOR does to their signs [n, groups, 16].

        What lies in a flipped row or group is turned back; all may cancel. `groups` are those of a row.
        """
        rows = np.unique(np.array(self.numbers[0], np.intp))
        at = {int(row): index for index, row in enumerate(rows)}
        masks = np.zeros((len(rows), groups, 16), np.uint8)
        for row in self.rows:
            masks[at[row]] ^= 0xFF
        for row, group in self.groups:
            masks[at[row], group] ^= 0xFF
        for row, group, bit in self.bits:
            masks[at[row], group, bit // 8] ^= 1 << bit % 8
        return rows, masks

    @property
    def single(self) -> list[tuple[int, int]]:
        """The groups outside the flipped rows that are flipped or have a flipped bit. Sorted."""
        whole = set(self.rows)
        groups = {*self.groups, *((row, group) for row, group, _ in self.bits)}
        return sorted(place for place in groups if place[0] not in whole)


def touched(flips: Iterable[Flip]) -> dict[str, Touched]:
    """Flips by tensor, in the order of the names."""
    rows: dict[str, list[int]] = defaultdict(list)
    groups: dict[str, list[tuple[int, int]]] = defaultdict(list)
    bits: dict[str, list[tuple[int, int, int]]] = defaultdict(list)
    for flip in flips:
        if flip.group is None:
            rows[flip.tensor].append(flip.row)
        elif flip.bit is None:
            groups[flip.tensor].append((flip.row, flip.group))
        else:
            bits[flip.tensor].append((flip.row, flip.group, flip.bit))
    return {
        name: Touched(tuple(sorted(rows[name])), tuple(sorted(groups[name])), tuple(sorted(bits[name])))
        for name in sorted({*rows, *groups, *bits})
    }


def fingerprint(model: "BinaryTensors") -> bytes:
    """8 bytes over what no patch changes: names, shapes, and up to 64 scales of each tensor."""
    hasher = hashlib.blake2b(b"bankai fingerprint 1\0", digest_size=8)
    for name in sorted(model.binary_names()):
        tensor = model.binary(name)
        out, columns = tensor.shape
        hasher.update(name.encode() + b"\0" + np.array([out, columns], "<u8").tobytes())
        rows = [index * out // _SAMPLE_ROWS for index in range(_SAMPLE_ROWS)]
        hasher.update(tensor.select(rows).scales[:, :_SAMPLE_GROUPS].astype("<f2").tobytes())
    return hasher.digest()


def check_places(model: "BinaryTensors", flips: Iterable[Flip]) -> None:
    """Raise UnknownTensorError or RowRangeError unless every flip names a place of the model."""
    names = set(model.binary_names())
    for name, places in touched(flips).items():
        if name not in names:
            raise UnknownTensorError(f"the model has no binary tensor {name}; {_REMEDY}")
        tensor = model.binary(name)
        rows, groups = places.numbers
        if (row := max(rows)) >= tensor.shape[0]:
            raise RowRangeError(f"{name} has {tensor.shape[0]} rows, the patch flips row {row}; {_REMEDY}")
        if (group := max(groups, default=0)) >= tensor.groups:
            raise RowRangeError(
                f"{name} has {tensor.groups} groups, the patch flips group {group}; {_REMEDY}"
            )


def digest(model: "BinaryTensors", flips: Iterable[Flip], flipped: Iterable[Flip] = ()) -> bytes:
    """8 bytes over the sign bits and scales of the places of `flips`, as if `flipped` were flipped as well.

    A single bit covers the whole group that it stands in. What stands inside a flipped row or group adds
    nothing to what is covered. Raises UnknownTensorError and RowRangeError.
    """
    flips = frozenset(flips)
    check_places(model, flips)
    overlay = touched(flipped)
    hasher = hashlib.blake2b(b"bankai bits 1\0", digest_size=8)
    for name, places in touched(flips).items():
        tensor, rows, single = model.binary(name), list(places.rows), places.single
        hasher.update(name.encode() + b"\0" + np.array([len(rows), len(single)], "<u8").tobytes())
        _update_rows(hasher, tensor, rows, overlay.get(name, Touched()))
        _update_groups(hasher, tensor, single, overlay.get(name, Touched()))
    return hasher.digest()


def _update_rows(hasher: hashlib.blake2b, tensor: "BinaryTensor", rows: list[int], over: Touched) -> None:
    """Row numbers, then their signs [n, in/128, 16], then their scales [n, in/128]."""
    now = tensor.select(rows)
    signs: NDArray[np.uint8] = now.signs
    index = {row: at for at, row in enumerate(rows)}
    for row in over.rows:
        if row in index:
            signs[index[row]] ^= 0xFF
    for row, group in over.groups:
        if row in index:
            signs[index[row], group] ^= 0xFF
    for row, group, bit in over.bits:
        if row in index:
            signs[index[row], group, bit // 8] ^= 1 << bit % 8
    _update(hasher, np.array(rows, "<u8"), signs, now.scales)


def _update_groups(
    hasher: hashlib.blake2b, tensor: "BinaryTensor", places: list[tuple[int, int]], over: Touched
) -> None:
    """(row, group) numbers, then their signs [n, 16], then their scales [n]."""
    pairs = np.array(places, "<u8").reshape(-1, 2)
    rows, groups = pairs[:, 0].astype(np.intp), pairs[:, 1].astype(np.intp)
    now, at_group = tensor.select(rows), (np.arange(len(rows)), groups)
    signs: NDArray[np.uint8] = now.signs[at_group]  # a copy
    flipped_rows, flipped_groups = set(over.rows), set(over.groups)
    for at, (row, group) in enumerate(places):
        if (row in flipped_rows) != ((row, group) in flipped_groups):
            signs[at] ^= 0xFF
    index = {place: at for at, place in enumerate(places)}
    for row, group, bit in over.bits:
        if (row, group) in index:
            signs[index[row, group], bit // 8] ^= 1 << bit % 8
    _update(hasher, pairs, signs, now.scales[at_group])


def _update(
    hasher: hashlib.blake2b, places: NDArray[np.uint64], signs: NDArray[np.uint8], scales: NDArray[np.float16]
) -> None:
    hasher.update(places.tobytes())
    hasher.update(signs.tobytes())
    hasher.update(scales.astype("<f2").tobytes())


def bind(patch: Patch, model: "BinaryTensors", flipped: Iterable[Flip] = ()) -> Patch:
    """The patch bound to the model's bits as its before-state, with `flipped` flipped. Changes nothing.

    Raises UnknownTensorError or RowRangeError when the model lacks a place.
    """
    base = frozenset(flipped)
    before, after = digest(model, patch.flips, base), digest(model, patch.flips, base ^ patch.flips)
    return replace(patch, binding=Binding(fingerprint(model), before, after))


def state(model: "BinaryTensors", patch: Patch, flipped: Iterable[Flip] = ()) -> State:
    """Whether a bound patch is off ("base"), on ("applied") or neither ("foreign"), with `flipped` flipped.

    An empty patch is "base" on its model. Raises UnboundPatchError for an unbound patch, UnknownTensorError
    or RowRangeError when the fingerprint is right and yet the model lacks a place.
    """
    binding = patch.binding
    if binding is None:
        raise UnboundPatchError("the patch does not say which bits it expects; use `bankai bind` on the base")
    if binding.fingerprint != fingerprint(model):
        return "foreign"
    now = digest(model, patch.flips, flipped)
    states: Mapping[bytes, State] = {binding.after: "applied", binding.before: "base"}
    return states.get(now, "foreign")
