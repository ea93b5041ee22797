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
from bankai.journal import check_unclaimed, xor_files
from bankai.patch import Flip, Patch, State, check_places
from bankai.patch.binding import digest, fingerprint
from bankai.patching.edits import edits, moved
from bankai.patching.ledger import Ledger
from bankai.patching.sidecar import Applied, combined, save, sidecar_path

__all__ = ["Change", "apply_patch", "require_off", "require_on", "revert_patch"]


class Change:
    """Patches of one model that are taken off and put on together. All are bound, and proven to be on or off.

    ``off``, ``on``  the patches to take off and to put on
    ``found``        patches that are on already and that the list lacks
    ``flips``        the places that change: one that goes both off and on stays as it is
    ``after``        the list of what is applied after the change
    ``pending``      the list while the change is being made
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
        """Raises StoreError unless the model has the bits that it should have after the change."""
        for patch, expected, others in self._expected():
            if digest(model, patch.flips, others) != expected:
                raise StoreError(
                    "the model has other bits than it should; did something else change it? Try again"
                )

    def _expected(self) -> Iterator[tuple[Patch, bytes, frozenset[Flip]]]:
        """Each patch, the digest that its places must have after the change, and the flips of the others on then."""
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
    _check_new(Path(out))
    with open_checkpoint(source) as checkpoint:
        ledger = Ledger.of(checkpoint)
        known = require_off(ledger, ledger.bound(patch) if unbound else patch)
        _write_copy(checkpoint, Change(ledger, on=(known,)), Path(out))
    return known


def revert_patch(source: str | Path, patch: Patch, out: str | Path) -> Patch:
    """Write a copy of a model with `patch` off to the new path `out`, and return the patch, bound.

    An unbound patch comes off only when the sidecar lists it: XOR would put on one that is not on. Raises as
    `apply_patch` does, with NotAppliedError in place of AlreadyAppliedError.
    """
    _check_new(Path(out))
    with open_checkpoint(source) as checkpoint:
        ledger = Ledger.of(checkpoint)
        known = require_on(ledger, patch)
        _write_copy(checkpoint, Change(ledger, off=(known,)), Path(out))
    return known


def require_off(ledger: Ledger, patch: Patch) -> Patch:
    """The patch, bound, once the model is proven not to have it. Raises StateError and PlaceError."""
    known = _known(
        ledger,
        patch,
        "the patch does not say which bits it expects; `bankai bind` it to its base, "
        "or `bankai apply` it with --unbound",
    )
    if _state(ledger, known) == "applied":
        raise AlreadyAppliedError("the patch is already applied; `bankai revert` takes it off")
    return known


def require_on(ledger: Ledger, patch: Patch) -> Patch:
    """The patch, bound, once the model is proven to have it. Raises StateError and PlaceError."""
    known = _known(
        ledger,
        patch,
        "the patch is unbound and not recorded as applied, so nothing tells whether it is on; "
        "bind it to the base first: bankai bind",
    )
    if _state(ledger, known) == "base" and patch:
        raise NotAppliedError("the patch is not applied; `bankai apply` puts it on")
    return known


def _known(ledger: Ledger, patch: Patch, unbound: str) -> Patch:
    """The patch with its own binding, or the one under which it is listed.

    Raises UnboundPatchError with the message `unbound` where it has neither, and PlaceError.
    """
    known = patch if patch.binding else ledger.listed(patch)
    if known is None:
        check_places(ledger.checkpoint, patch.flips)
        raise UnboundPatchError(unbound)
    return known


def _state(ledger: Ledger, patch: Patch) -> State:
    """The state of a bound patch. Raises WrongBaseError when the model has neither state."""
    found = ledger.state(patch)
    if found == "foreign":
        raise WrongBaseError(_why_foreign(ledger, patch))
    return found


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


def _check_new(out: Path) -> None:
    """Raises StoreError unless a model can be written to `out`."""
    if os.path.lexists(out):
        raise StoreError(f"{out} exists; give a new name, or change a model where it is with --in-place")
    check_unclaimed(out)


def _write_copy(source: Checkpoint, change: Change, out: Path) -> None:
    """Write the changed copy, its sidecar first: one without a model does no harm, a model without one forgets."""
    if source.path.is_dir():
        with writing_directory(out) as copy:
            shutil.copytree(source.path, copy, dirs_exist_ok=True)
            _make(source, change, copy)
            save(sidecar_path(copy), change.after)
        return
    try:
        with writing(out) as copy:
            shutil.copyfile(source.path, copy)
            _make(source, change, copy)
            save(sidecar_path(out), change.after)
    except BaseException:
        if not out.exists():
            sidecar_path(out).unlink(missing_ok=True)
        raise


def _make(source: Checkpoint, change: Change, copy: Path) -> None:
    """Flip the places in a copy that nobody else has, and prove it."""
    xor_files(moved(edits(source, change.flips), source.path, copy))
    with open_checkpoint(copy) as model:
        change.prove(model)
