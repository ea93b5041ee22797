"""What is applied to a model: the sidecar's list, as far as the bits confirm it.

Contract: a listed patch counts as applied when the model's bits, with all listed flips undone, have that
patch's before-digest. A patch that shares places with listed ones is judged on the bits without them.
Changes nothing.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path

from bankai import patch as patches
from bankai.checkpoint.model_file import Checkpoint, open_checkpoint
from bankai.errors import PlaceError, UnboundPatchError
from bankai.patch import Flip, Patch, State
from bankai.patch.binding import digest, fingerprint
from bankai.patch.places import check_places
from bankai.patching.sidecar import Applied, combined, load, sidecar_path

__all__ = ["Ledger", "Status", "bind_patch", "status"]

_MOST_SHARING = 8  # pending patches that share rows: each subset is tried, 256 at most
_NO_RECORD = "no record of applied patches; `bankai status MODEL PATCH` checks one"


@dataclass(frozen=True, slots=True)
class Status:
    """`state` of a patch, or of the model when none is asked about: "base", "applied" or "foreign".

    `patches`: what is applied, as far as the sidecar tells and the bits confirm. `note`: why the sidecar was
    ignored or, when no patch is asked about, that it lists none; else "".
    """

    state: State
    patches: tuple[Applied, ...]
    note: str


@dataclass(frozen=True, slots=True)
class Ledger:
    """The confirmed list of an open model.

    `applied`: what is on. `note`: why the sidecar was ignored, else "". `contradicted`: it lists patches, and the bits
    say otherwise.
    """

    checkpoint: Checkpoint
    applied: tuple[Applied, ...]
    note: str = ""
    contradicted: bool = False

    @property
    def unreadable(self) -> bool:
        """Whether the sidecar is there and cannot be read."""
        return bool(self.note) and not self.contradicted

    @classmethod
    def of(cls, checkpoint: Checkpoint) -> "Ledger":
        """Read the sidecar and confirm it. The bits tell which of the pending patches are on."""
        listed, note = load(sidecar_path(checkpoint.path))
        applied = _borne_out(checkpoint, listed)
        if applied is not None:
            return cls(checkpoint, tuple(replace(entry, pending=False) for entry in applied), note)
        name = sidecar_path(checkpoint.path).name
        return cls(checkpoint, (), f"{name} is ignored: the model's bits contradict it", True)

    def others(self, patch: Patch) -> frozenset[Flip]:
        """The flips of the applied patches other than this one."""
        return combined(entry for entry in self.applied if entry.patch != patch)

    def listed(self, patch: Patch) -> Patch | None:
        """The applied patch with the same flips."""
        return next((entry.patch for entry in self.applied if entry.patch == patch), None)

    def bind(self, patch: Patch) -> Patch:
        """The patch bound to the bits without the applied patches. Raises PlaceError."""
        return patches.bind(patch, self.checkpoint, combined(self.applied))

    def bound(self, patch: Patch) -> Patch:
        """The patch with the binding that it has or is listed under, else bound to the present bits.

        Raises PlaceError.
        """
        return patch if patch.binding else self.listed(patch) or self.bind(patch)

    def state(self, patch: Patch) -> State:
        """The state of a patch, judged without the others. An unbound one is known only when it is listed.

        Raises UnboundPatchError and PlaceError.
        """
        if patch.binding is None:
            check_places(self.checkpoint, patch.flips)
            known = self.listed(patch)
            if known is None:
                raise UnboundPatchError(
                    "the patch does not say which bits it expects; `bankai bind` it to its base"
                )
            patch = known
        return patches.state(self.checkpoint, patch, self.others(patch))


def _borne_out(checkpoint: Checkpoint, listed: Sequence[Applied]) -> list[Applied] | None:
    """The settled lines, and those of the pending ones that the bits have; None when the bits contradict the list."""
    settled = [entry for entry in listed if not entry.pending]
    on = list(settled)
    for group in _sharing_rows([entry for entry in listed if entry.pending]):
        sizes = range(len(group) + 1) if len(group) <= _MOST_SHARING else ()
        subsets = (some for size in sizes for some in combinations(group, size))
        found = next((some for some in subsets if _confirmed(checkpoint, group, [*settled, *some])), None)
        if found is None:
            return None
        on += found
    return [entry for entry in listed if entry in on] if _confirmed(checkpoint, listed, on) else None


def _sharing_rows(entries: Iterable[Applied]) -> list[list[Applied]]:
    """The patches in groups: those that share rows, directly or through others, are in one."""
    groups: list[tuple[set[tuple[str, int]], list[Applied]]] = []
    for entry in entries:
        rows, members = {(flip.tensor, flip.row) for flip in entry.patch.flips}, [entry]
        apart = []
        for group in groups:
            if rows.isdisjoint(group[0]):
                apart.append(group)
            else:
                rows, members = rows | group[0], group[1] + members
        groups = [*apart, (rows, members)]
    return [members for _, members in groups]


def _confirmed(checkpoint: Checkpoint, listed: Sequence[Applied], applied: Sequence[Applied]) -> bool:
    """Whether the places of all that is listed are those of the base once the flips of `applied` are undone."""
    if not listed:
        return True
    identity, flips = fingerprint(checkpoint), combined(applied)
    for entry in listed:
        binding = entry.patch.binding
        if binding is None or binding.fingerprint != identity:
            return False
        try:
            if digest(checkpoint, entry.patch.flips, flips) != binding.before:
                return False
        except PlaceError:
            return False
    return True


def status(source: str | Path, patch: Patch | None = None) -> Status:
    """What is applied to a model, and the state of `patch` on it.

    Without a patch: "applied" when the sidecar lists patches and the bits confirm them, "foreign" when they
    contradict it, else "base", with a note because an unlisted patch may be on. Raises ModelFormatError,
    UnsupportedModelError, and for a patch UnboundPatchError and PlaceError.
    """
    with open_checkpoint(source) as checkpoint:
        ledger = Ledger.of(checkpoint)
        if patch is not None:
            return Status(ledger.state(patch), ledger.applied, ledger.note)
        if ledger.applied:
            return Status("applied", ledger.applied, ledger.note)
        return Status("foreign" if ledger.contradicted else "base", (), ledger.note or _NO_RECORD)


def bind_patch(source: str | Path, patch: Patch) -> Patch:
    """The patch bound to a model file, as it is without the patches applied to it. Raises PlaceError."""
    with open_checkpoint(source) as checkpoint:
        return Ledger.of(checkpoint).bind(patch)
