"""Putting patches on copies of model files and taking them off.

Contract: every check comes before the first change. The new model appears whole or not at all: the change is
made on a temporary copy beside the target, proven by digest, synced and renamed. The source is only read.
"""

import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from bankai.checkpoint.model_file import Checkpoint, open_checkpoint
from bankai.errors import (
    AlreadyAppliedError,
    NotAppliedError,
    StoreError,
    UnboundPatchError,
    WrongBaseError,
)
from bankai.io import writing, writing_directory
from bankai.journal import check_unclaimed
from bankai.patch import Flip, Patch
from bankai.patch.binding import check_places, digest, fingerprint, touched
from bankai.patching.ledger import Ledger
from bankai.patching.sidecar import Applied, combined, save, sidecar_path

__all__ = ["Change", "apply_patch", "checked", "revert_patch"]


class Change:
    """Patches of one model that go off and on together; all are bound and were `checked`.

    `flips` are the places that change: what goes both off and on stays as it is. `after` is the list of what is
    applied then, `pending` the list for as long as the change is being made. `found` are on already, unlisted.
    """

    def __init__(
        self, ledger: Ledger, off: Sequence[Patch] = (), on: Sequence[Patch] = (), found: Sequence[Patch] = ()
    ) -> None:
        self._off, self._on, self.found = tuple(off), tuple(on), tuple(found)
        time = datetime.now(UTC).isoformat(timespec="seconds")
        # An empty patch is not worth a line.
        going = tuple(Applied(patch, time, pending=True) for patch in off if patch)
        coming = tuple(Applied(patch, time, pending=True) for patch in on if patch)
        known = tuple(Applied(patch, time) for patch in found)
        stay = (*(entry for entry in ledger.applied if entry.patch not in off), *known)
        self.flips = combined(going) ^ combined(coming)
        self.pending = (*stay, *going, *coming)
        self.after = (*stay, *(replace(entry, pending=False) for entry in coming))

    def prove(self, model: Checkpoint) -> None:
        """Raises StoreError unless the bits of the model are those of after the change."""
        for patch, expected, others in self._expected():
            if digest(model, patch.flips, others) != expected:
                raise StoreError(
                    "the model has other bits than it should; did something else change it? Try again"
                )

    def make(self, copy: Path) -> None:
        """Flip the places in a model of our own, and prove it."""
        with open_checkpoint(copy, writable=True) as model:
            for name, places in touched(self.flips).items():
                model.binary(name).flip(places.rows, places.groups, places.bits)
            model.flush()
            self.prove(model)

    def _expected(self) -> Iterator[tuple[Patch, bytes, frozenset[Flip]]]:
        """Patch, digest that its places must have in the end, and the flips of the others that are on then."""
        after = combined(self.after)
        for patch in self._on:
            if patch.binding is not None:
                yield patch, patch.binding.after, after ^ patch.flips
        for patch in self._off:
            if patch.binding is not None:
                yield patch, patch.binding.before, after


def apply_patch(source: str | Path, patch: Patch, out: str | Path, *, unbound: bool = False) -> Patch:
    """Write a copy of a model with `patch` on to the new path `out`, and return the patch, bound.

    `unbound` allows a patch that does not say which bits it expects. Raises UnknownTensorError,
    RowRangeError, UnboundPatchError, WrongBaseError, AlreadyAppliedError, StoreError (`out` exists or
    cannot be written) and what opening a model raises; nothing is changed then.
    """
    return _write_new(source, patch, Path(out), True, unbound)


def revert_patch(source: str | Path, patch: Patch, out: str | Path) -> Patch:
    """Write a copy of a model with `patch` off to the new path `out`, and return the patch, bound.

    An unbound patch comes off only when the sidecar lists it: XOR would put on one that is not on. Raises as
    `apply_patch` does, with NotAppliedError in place of AlreadyAppliedError.
    """
    return _write_new(source, patch, Path(out), False)


def checked(ledger: Ledger, patch: Patch, on: bool, unbound: bool = False) -> Patch:
    """The patch, bound, once the model is proven to be in the state that it needs. Raises StateError, PlaceError.

    `unbound`, only for putting on, takes the present bits for those that a patch without a binding expects.
    """
    known = patch if patch.binding else ledger.listed(patch)
    if known is not None:
        _check_state(ledger, known, on)
    elif unbound:
        known = ledger.bind(patch)
    if known is None or known.binding is None:
        check_places(ledger.checkpoint, patch.flips)
        raise UnboundPatchError(_why_unbound(on))
    return known


def _check_state(ledger: Ledger, patch: Patch, on: bool) -> None:
    found = ledger.state(patch)
    if found == "foreign":
        raise WrongBaseError(_why_foreign(ledger, patch))
    if found == "applied" and on:
        raise AlreadyAppliedError("the patch is already applied; `bankai revert` takes it off")
    if found == "base" and not on and patch:
        raise NotAppliedError("the patch is not applied; `bankai apply` puts it on")


def _why_unbound(on: bool) -> str:
    if on:
        return (
            "the patch does not say which bits it expects; `bankai bind` it to its base, "
            "or `bankai apply` it with --unbound"
        )
    return (
        "the patch is unbound and not recorded as applied, so nothing tells whether it is on; "
        "bind it to the base first: bankai bind"
    )


def _why_foreign(ledger: Ledger, patch: Patch) -> str:
    if patch.binding and patch.binding.fingerprint != fingerprint(ledger.checkpoint):
        return "the patch was made for another model; use that one, or `bankai bind` the patch to this one"
    rows = {(flip.tensor, flip.row) for flip in patch.flips}
    sharing = [
        entry.name or "an unnamed patch"
        for entry in ledger.applied
        if any((flip.tensor, flip.row) in rows for flip in entry.patch.flips)
    ]
    if sharing:
        listed = ", ".join(sharing)
        return (
            f"these are not the bits of the patch's base, with or without {listed}; `bankai bind` it to them"
        )
    return (
        "the bits that the patch touches were changed by something else; start from a fresh copy of the model"
    )


def _write_new(source: str | Path, patch: Patch, out: Path, on: bool, unbound: bool = False) -> Patch:
    if os.path.lexists(out):
        raise StoreError(f"{out} exists; give a new name, or change a model where it is with --in-place")
    check_unclaimed(out)
    with open_checkpoint(source) as checkpoint:
        path, ledger = checkpoint.path, Ledger.of(checkpoint)
        known = checked(ledger, patch, on, unbound)
        change = Change(ledger, on=(known,)) if on else Change(ledger, off=(known,))
    if path.is_dir():
        with writing_directory(out) as copy:
            shutil.copytree(path, copy, dirs_exist_ok=True)
            change.make(copy)
            save(sidecar_path(copy), change.after)
    else:
        _write_new_file(path, change, out)
    return known


def _write_new_file(path: Path, change: Change, out: Path) -> None:
    """The sidecar comes before the model: it means nothing without one, and a model without it forgets."""
    try:
        with writing(out) as copy:
            shutil.copyfile(path, copy)
            change.make(copy)
            save(sidecar_path(out), change.after)
    except BaseException:
        if not out.exists():
            sidecar_path(out).unlink(missing_ok=True)
        raise
