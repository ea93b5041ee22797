"""A model held open to be changed in place, also while another process computes with it.

Contract: a durable change is journaled: after a crash at any moment the bits are those of before or of after. A
volatile one changes the mapped file without journal or sync, in microseconds; a crash inside it may leave some of its
places changed, and the power may go before the disk has it. Either way the touched bits are proven by digest before and
after. No other process can change a model that is held. Whoever reads the file through a shared map computes with the
new bits at once, and must forget what it computed before, such as a KV cache.
"""

from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from bankai import journal
from bankai.checkpoint.model_file import open_checkpoint
from bankai.errors import AlreadyAppliedError, BankaiError, StoreError
from bankai.io import sweep
from bankai.journal import Edit, change, locked
from bankai.patch import Patch
from bankai.patching.change import Change, require_off, require_on
from bankai.patching.changeable import changeable, check_file
from bankai.patching.edits import edits
from bankai.patching.ledger import Ledger
from bankai.patching.sidecar import Applied, save, sidecar_path
from bankai.patching.transition import Transition

__all__ = ["LiveModel", "apply_in_place", "recover", "revert_in_place"]

_REMEMBERED = 64  # prepared swaps, and patches that they put on


class LiveModel:
    """Context manager over a model file or directory. Not safe to share between threads.

    Raises ModelFormatError, UnsupportedModelError, and StoreError for a model that must not be changed or that another
    process is changing.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = changeable(path)
        self._maps: dict[Path, NDArray[np.uint8]] = {}
        self._prepared: dict[tuple[tuple[Patch, ...], tuple[Patch, ...]], tuple[Change, Transition]] = {}
        with ExitStack() as stack:
            stack.enter_context(locked(self.path))
            sweep(sidecar_path(self.path))
            self._checkpoint = stack.enter_context(open_checkpoint(self.path))
            self._ledger = Ledger.of(self._checkpoint)
            if self._ledger.unreadable:
                raise StoreError(f"{self._ledger.note}; move it away, or write a copy with -o")
            self._recorded: tuple[Applied, ...] | None = self._ledger.applied  # None: with pending lines
            self._pending: dict[Patch, Applied] = {}
            self._open = self._known = True  # `_known`: whether the ledger tells of the bits as they are
            self._held = stack.pop_all()

    @property
    def applied(self) -> tuple[Patch, ...]:
        """The patches that are on, as far as is recorded and the bits confirm."""
        if self._open:
            self._look()
        return tuple(entry.patch for entry in self._ledger.applied)

    def apply(self, patch: Patch, *, unbound: bool = False) -> Patch:
        """Put a patch on, durably, and return it, bound. Raises as `bankai.patching.apply_patch` does."""
        self._check_open()
        known = require_off(self._ledger, self._ledger.bound(patch) if unbound else patch)
        self._make(Change(self._ledger, on=(known,)))
        return known

    def revert(self, patch: Patch) -> Patch:
        """Take a patch off, durably, and return it, bound. Raises as `bankai.patching.revert_patch` does."""
        self._check_open()
        known = require_on(self._ledger, patch)
        self._make(Change(self._ledger, off=(known,)))
        return known

    def swap(self, *patches: Patch, volatile: bool = False) -> int:
        """Have exactly these patches on (none: the base), and return how many bytes changed: only those that differ.

        A volatile swap is listed as one that may be on, and recorded for good when the model is closed. It is fast
        (microseconds instead of milliseconds) from the second time on that it leads from the same patches to the same.
        Raises StateError and PlaceError, and StoreError when it is not known what is on.
        """
        self._check_open()
        if volatile:
            plan, transition = self._prepare(patches)
            before = self._ledger
            try:
                self._ledger = replace(before, applied=plan.after)
                transition.make()
            except BaseException:  # an interrupt may come when the bits are changed
                if not transition.made():
                    self._ledger = before
                raise
            return transition.size
        return self._make(self._planned(patches))

    def close(self) -> None:
        """Record what volatile swaps left on, and let go of the model."""
        if not self._open:  # another process may hold it by now
            return
        self._open = False
        self._prepared.clear()
        self._maps.clear()
        with self._held:
            try:
                self._record()
            except StoreError as error:
                names = " + ".join(patch.manifest.name or "an unnamed patch" for patch in self.applied)
                raise StoreError(
                    f"{self.path} has {names or 'no patch'} on, but that could not be recorded: {error}"
                ) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _planned(self, patches: Sequence[Patch]) -> Change:
        """The change from what is on to these patches. Raises as `swap` does."""
        if self._ledger.contradicted:
            raise StoreError(
                f"what is on {self.path} is not known: {self._ledger.note}; delete that list if the model is a fresh "
                "copy, else `bankai revert` what you know to be on, or start from a fresh copy"
            )
        coming, found = [], []
        for patch in dict.fromkeys(patches):
            if self._ledger.listed(patch) is None:
                try:
                    coming.append(require_off(self._ledger, patch))
                except AlreadyAppliedError:
                    found.append(patch)
        return Change(self._ledger, [patch for patch in self.applied if patch not in patches], coming, found)

    def _prepare(self, patches: tuple[Patch, ...]) -> tuple[Change, Transition]:
        """The volatile swap from what is on to these patches; remembered, because it takes far longer to prepare than
        to make.
        """
        key = (self.applied, patches)
        if key in self._prepared:
            return self._prepared[key]
        plan = self._planned(patches)
        places = edits(self._checkpoint, plan.flips)
        for file in {edit.file for edit in places}:
            self._map(file)  # refuses before anything is announced
        self._announce(plan)
        prepared = plan, Transition(places, self._view, lambda: plan.prove(self._checkpoint))
        if not plan.found:  # a patch is found on and unlisted only once
            if len(self._prepared) == _REMEMBERED:
                del self._prepared[next(iter(self._prepared))]
            self._prepared[key] = prepared
        return prepared

    def _view(self, edit: Edit) -> NDArray[np.uint8]:
        """The bytes of an edit in a writable map."""
        return self._map(edit.file)[edit.offset : edit.offset + len(edit.mask)]

    def _map(self, file: Path) -> NDArray[np.uint8]:
        if file not in self._maps:
            check_file(file)
            self._maps[file] = np.memmap(file, np.uint8, "r+").view(np.ndarray)
        return self._maps[file]

    def _make(self, plan: Change) -> int:
        """Make a durable change, and return how many bytes it changes.

        The sidecar tells of the change before the first bit changes, and what the bits are at the end.
        """
        places = edits(self._checkpoint, plan.flips)
        for file in {edit.file for edit in places}:
            check_file(file)
        self._record()  # else a failure from here on would forget what volatile swaps left on
        self._known = False
        try:
            save(sidecar_path(self.path), plan.pending)
            if places:
                change(self.path, places, lambda: plan.prove(self._checkpoint))
            return sum(len(edit.mask) - edit.mask.count(0) for edit in places)
        finally:
            with suppress(BankaiError):  # a pending line that stays is harmless: the bits decide
                self._settle()

    def _announce(self, plan: Change) -> None:
        """List all patches of this session's volatile swaps as pending, for whoever opens the model after a kill."""
        fresh = {entry.patch: entry for entry in plan.pending if entry.pending}
        if fresh.keys() <= self._pending.keys():
            return
        if len(self._pending | fresh) > _REMEMBERED:  # forget those that are off, and swaps that lead to them
            self._forget()
        pending = self._pending | fresh
        stay = (entry for entry in plan.pending if entry.patch not in pending)
        save(sidecar_path(self.path), [*stay, *pending.values()])
        self._pending, self._recorded = pending, None

    def _forget(self) -> None:
        self._prepared.clear()
        self._pending.clear()

    def _settle(self) -> None:
        """Rewrite the sidecar as the bits have it, without pending lines."""
        self._look()
        if not self._ledger.contradicted:  # as it is when undoing has failed: the list is still needed
            save(sidecar_path(self.path), self._ledger.applied)
        self._recorded = self._ledger.applied
        self._forget()

    def _record(self) -> None:
        """Record in the sidecar what volatile swaps left on. Raises StoreError."""
        if self._recorded != self._ledger.applied and not self._ledger.contradicted:
            save(sidecar_path(self.path), self._ledger.applied)
            self._recorded = self._ledger.applied
            self._forget()

    def _look(self) -> None:
        """Read what is on again where a durable change may have been made, undone or interrupted since."""
        if not self._known:
            self._ledger = Ledger.of(self._checkpoint)
            self._known = True

    def _check_open(self) -> None:
        if not self._open:
            raise StoreError(f"{self.path} was closed; open it again with LiveModel")
        self._look()


def apply_in_place(path: str | Path, patch: Patch, *, unbound: bool = False) -> Patch:
    """Put `patch` on a model where it is, and return the patch, bound. Raises as `LiveModel` and its `apply` do."""
    with LiveModel(path) as model:
        return model.apply(patch, unbound=unbound)


def revert_in_place(path: str | Path, patch: Patch) -> Patch:
    """Take `patch` off a model where it is; raises as `LiveModel` and its `revert` do."""
    with LiveModel(path) as model:
        return model.revert(patch)


def recover(path: str | Path) -> bool:
    """Undo a change of a model that was cut short, and return whether there was one.

    Whatever opens a model does so first. Raises ModelFormatError, UnsupportedModelError and StoreError.
    """
    model = changeable(path)
    undone = journal.recover(model)
    open_checkpoint(model).close()  # there is a model, and it is sound
    return undone
