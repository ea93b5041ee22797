"""What ties a patch to a model: fingerprint, digests of the touched bits, and the state they show.

Contract: reads sign bits and scales through canonical names only, so a GGUF file, an MLX directory and a
loaded model of the same bits agree; changes nothing. Digests are BLAKE2b of 8 bytes over the byte strings
that `docs/format.md` defines ("Binding"). Knows neither files nor formats.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from bankai.errors import RowRangeError, UnboundPatchError, UnknownTensorError
from bankai.patch.patch import Binding, Flip, Patch

if TYPE_CHECKING:
    from bankai.binary import BinaryTensor, BinaryTensors

__all__ = ["State", "Touched", "bind", "check_places", "digest", "fingerprint", "state", "touched"]

State = Literal["base", "applied", "foreign"]

_SAMPLE_ROWS = 8
_SAMPLE_GROUPS = 8
_REMEDY = "use the model that the patch was made for"


@dataclass(frozen=True, slots=True)
class Touched:
    """The flips of one tensor: whole rows, and (row, group) pairs. Sorted."""

    rows: tuple[int, ...]
    groups: tuple[tuple[int, int], ...]


def touched(flips: Iterable[Flip]) -> dict[str, Touched]:
    """Flips by tensor, in the order of the names."""
    rows: dict[str, list[int]] = {}
    groups: dict[str, list[tuple[int, int]]] = {}
    for flip in flips:
        if flip.group is None:
            rows.setdefault(flip.tensor, []).append(flip.row)
        else:
            groups.setdefault(flip.tensor, []).append((flip.row, flip.group))
    return {
        name: Touched(tuple(sorted(rows.get(name, ()))), tuple(sorted(groups.get(name, ()))))
        for name in sorted(rows.keys() | groups.keys())
    }


def fingerprint(model: "BinaryTensors") -> bytes:
    """8 bytes over what no patch changes: names, shapes, and up to 64 scales of each tensor."""
    hasher = hashlib.blake2b(b"bankai fingerprint 1\0", digest_size=8)
    for name in sorted(model.binary_names()):
        tensor = model.binary(name)
        out, columns = tensor.shape
        hasher.update(name.encode() + b"\0" + np.array([out, columns], "<u8").tobytes())
        rows = [index * out // _SAMPLE_ROWS for index in range(_SAMPLE_ROWS)]
        hasher.update(tensor.scales[rows, :_SAMPLE_GROUPS].astype("<f2").tobytes())
    return hasher.digest()


def check_places(model: "BinaryTensors", flips: Iterable[Flip]) -> None:
    """Raise UnknownTensorError or RowRangeError unless every flip names a place of the model."""
    names = set(model.binary_names())
    for name, places in touched(flips).items():
        if name not in names:
            raise UnknownTensorError(f"the model has no binary tensor {name}; {_REMEDY}")
        tensor = model.binary(name)
        row = max((*places.rows, *(row for row, _ in places.groups)))
        if row >= tensor.shape[0]:
            raise RowRangeError(f"{name} has {tensor.shape[0]} rows, the patch flips row {row}; {_REMEDY}")
        group = max((group for _, group in places.groups), default=0)
        if group >= tensor.groups:
            raise RowRangeError(
                f"{name} has {tensor.groups} groups, the patch flips group {group}; {_REMEDY}"
            )


def digest(model: "BinaryTensors", flips: Iterable[Flip], flipped: Iterable[Flip] = ()) -> bytes:
    """8 bytes over the sign bits and scales of the places of `flips`, as if `flipped` were flipped as well.

    A group flip inside a flipped row adds nothing to what is covered. Raises UnknownTensorError and
    RowRangeError.
    """
    flips = frozenset(flips)
    check_places(model, flips)
    overlay = touched(flipped)
    hasher = hashlib.blake2b(b"bankai bits 1\0", digest_size=8)
    for name, places in touched(flips).items():
        whole = set(places.rows)
        single = [(row, group) for row, group in places.groups if row not in whole]
        tensor = model.binary(name)
        hasher.update(name.encode() + b"\0" + np.array([len(whole), len(single)], "<u8").tobytes())
        _update_rows(hasher, tensor, list(places.rows), overlay.get(name))
        _update_groups(hasher, tensor, single, overlay.get(name))
    return hasher.digest()


def _update_rows(
    hasher: hashlib.blake2b, tensor: "BinaryTensor", rows: list[int], over: Touched | None
) -> None:
    """Row numbers, then their signs [n, in/128, 16], then their scales [n, in/128]."""
    signs: NDArray[np.uint8] = tensor.signs[rows]  # a copy
    if over:
        index = {row: at for at, row in enumerate(rows)}
        for row in over.rows:
            if row in index:
                signs[index[row]] ^= 0xFF
        for row, group in over.groups:
            if row in index:
                signs[index[row], group] ^= 0xFF
    _update(hasher, np.array(rows, "<u8"), signs, tensor.scales[rows])


def _update_groups(
    hasher: hashlib.blake2b, tensor: "BinaryTensor", places: list[tuple[int, int]], over: Touched | None
) -> None:
    """(row, group) numbers, then their signs [n, 16], then their scales [n]."""
    pairs = np.array(places, "<u8").reshape(-1, 2)
    rows, groups = pairs[:, 0].astype(np.intp), pairs[:, 1].astype(np.intp)
    signs: NDArray[np.uint8] = tensor.signs[rows, groups]  # a copy
    if over:
        flipped_rows, flipped_groups = set(over.rows), set(over.groups)
        for at, (row, group) in enumerate(places):
            if (row in flipped_rows) != ((row, group) in flipped_groups):
                signs[at] ^= 0xFF
    _update(hasher, pairs, signs, tensor.scales[rows, groups])


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
