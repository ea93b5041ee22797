"""What ties a patch to a model: fingerprint, digests of the touched blocks, and the state they show.

Contract: reads stored blocks through canonical names only, so a GGUF file, an MLX directory and a loaded model of the
same weights agree; changes nothing. Digests are BLAKE2b of 8 bytes over the byte strings that `docs/format.md` defines
("Binding"). There are two definitions: the first is that of models all of whose matrices are true 1-bit, the second
that of all others.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from bankai.errors import AlreadyAppliedError, UnboundPatchError, WrongBaseError
from bankai.patch.patch import Binding, Flip, Patch
from bankai.patch.places import Places, check_places, places_by_tensor
from bankai.quantization.base import Blocks, Matrices, MatrixInfo, PackedTensor
from bankai.quantization.one_bit import Q1_0, scales_of, signs_of

__all__ = [
    "State",
    "bind",
    "check_addition",
    "check_not_on",
    "content_digest",
    "digest",
    "fingerprint",
    "state",
]

State = Literal["base", "applied", "foreign"]

_SAMPLE_ROWS = 8
_SAMPLE_GROUPS = 8


@dataclass(frozen=True, slots=True)
class _Definition:
    """Which bytes are hashed: behind the name of a tensor, of its blocks, and of the part of a sample that no flip
    changes.
    """

    version: Literal[1, 2]
    head: Callable[[MatrixInfo], bytes]
    content: Callable[[Blocks], bytes]
    sample: Callable[[PackedTensor], bytes]


_ONE_BIT = _Definition(
    1,
    head=lambda matrix: b"",
    content=lambda blocks: signs_of(blocks).tobytes() + scales_of(blocks).tobytes(),
    sample=lambda tensor: scales_of(tensor.blocks).tobytes(),
)
_ANY = _Definition(
    2,
    head=lambda matrix: matrix.quantization.name.encode() + b"\0",
    content=lambda blocks: blocks.tobytes(),
    sample=lambda tensor: (tensor.blocks & ~tensor.quantization.mask).tobytes(),
)


def _definition(model: Matrices) -> _Definition:
    """The definition by which patches of this model are bound."""
    one_bit = all(matrix.quantization is Q1_0 for matrix in model.matrices.values())
    return _ONE_BIT if one_bit else _ANY


def fingerprint(model: Matrices) -> bytes:
    """8 bytes over what no patch changes: names, shapes, quantizations, and a sample of what flips leave alone."""
    definition = _definition(model)
    hasher = hashlib.blake2b(b"bankai fingerprint %d\0" % definition.version, digest_size=8)
    for name, matrix in sorted(model.matrices.items()):
        hasher.update(
            name.encode() + b"\0" + definition.head(matrix) + np.array(matrix.shape, "<u8").tobytes()
        )
        tensor = model.packed(name, [index * matrix.rows // _SAMPLE_ROWS for index in range(_SAMPLE_ROWS)])
        hasher.update(definition.sample(replace(tensor, blocks=tensor.blocks[:, :_SAMPLE_GROUPS])))
    return hasher.digest()


def digest(model: Matrices, flips: Iterable[Flip], flipped: Iterable[Flip] = ()) -> bytes:
    """8 bytes over the blocks of the places of `flips`, as if `flipped` were flipped as well.

    A single weight covers the whole group that it is in. What lies inside a flipped row or group adds nothing to
    what is covered. Raises UnknownTensorError and RowRangeError.
    """
    flips = frozenset(flips)
    check_places(model, flips)
    overlay, definition = places_by_tensor(flipped), _definition(model)
    hasher = hashlib.blake2b(b"bankai bits %d\0" % definition.version, digest_size=8)
    for name, places in places_by_tensor(flips).items():
        rows, groups = list(places.rows), places.single_groups
        head = definition.head(model.matrices[name]) + np.array([len(rows), len(groups)], "<u8").tobytes()
        hasher.update(name.encode() + b"\0" + head)
        touched = places.touched_rows
        blocks, at = _as_if(model, name, touched, overlay), {row: index for index, row in enumerate(touched)}
        hasher.update(np.array(rows, "<u8").tobytes())
        hasher.update(definition.content(blocks[[at[row] for row in rows]]))
        hasher.update(np.array(groups, "<u8").tobytes())
        hasher.update(
            definition.content(blocks[[at[row] for row, _ in groups], [group for _, group in groups]])
        )
    return hasher.digest()


def _as_if(model: Matrices, name: str, rows: Sequence[int], overlay: Mapping[str, Places]) -> Blocks:
    """The blocks of these rows, sorted, under further flips."""
    blocks = model.packed(name, rows).blocks
    over = overlay.get(name, Places()).within(set(rows))
    changed, masks = over.masks(model.matrices[name])
    if len(changed):
        blocks = blocks.copy()
        blocks[np.searchsorted(rows, changed)] ^= masks
    return blocks


def content_digest(model: Matrices) -> bytes:
    """16 bytes over every name and block of the model: they differ between any two states of it."""
    hasher = hashlib.blake2b(digest_size=16)
    for name in model.matrices:
        hasher.update(name.encode() + b"\0")
        hasher.update(model.packed(name).blocks.tobytes())
    return hasher.digest()


def bind(patch: Patch, model: Matrices, flipped: Iterable[Flip] = ()) -> Patch:
    """The patch bound to the model's blocks as its before-state, with `flipped` flipped. Changes nothing.

    Raises UnknownTensorError or RowRangeError when the model lacks a place.
    """
    base = frozenset(flipped)
    before, after = digest(model, patch.flips, base), digest(model, patch.flips, base ^ patch.flips)
    version = _definition(model).version
    return replace(patch, binding=Binding(fingerprint(model), before, after, version))


def state(model: Matrices, patch: Patch, flipped: Iterable[Flip] = ()) -> State:
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


def check_addition(model: Matrices, patch: Patch, active: Sequence[Patch]) -> None:
    """Check that the patch may go on a model in memory, on top of the `active` patches, which are on.

    The model's bits decide, with the flips of the others undone. Raises WrongBaseError, AlreadyAppliedError,
    UnboundPatchError, UnknownTensorError and RowRangeError.
    """
    check_not_on(patch, active)
    if patch.binding is None:
        raise UnboundPatchError(
            "the patch does not say which bits it expects; bind it to its base (bankai bind), "
            "or pass unbound=True (--unbound)"
        )
    others: frozenset[Flip] = frozenset()
    for other in active:
        others ^= other.flips
    found = state(model, patch, others)
    if found == "applied":
        raise AlreadyAppliedError("the model file has this patch already; drop --patch, or load the base")
    if found == "foreign":
        raise WrongBaseError("the bits are not those the patch was made on; load the base model of the patch")


def check_not_on(patch: Patch, active: Sequence[Patch]) -> None:
    """Raises AlreadyAppliedError when the same flips are among those of the `active` patches."""
    if patch in active and patch.flips:
        raise AlreadyAppliedError("the patch is on already; applying it twice would take it off")
