"""The runs of a folder: what each search was asked, how far it is, and what came of it.

A run is what `bankai search` leaves beside its patch; it may be under way in another process, and anybody may have
written it. Changes nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bankai.errors import PatchFormatError, StudioError
from bankai.evaluation.report import Counts
from bankai.jobs.search import Asked
from bankai.patch import Patch, read_patch
from bankai.search import RunFolder, SearchProgress, Validated

__all__ = ["Run", "Step", "list_runs", "read_run"]

SUFFIX = ".run"
MOST_PROBES = 1_000_000  # of a split that a patch tells of: more is no count


@dataclass(frozen=True)
class Step:
    """Where a search stood after so many evaluations; `solved` of the validation probes, None before they were read."""

    evaluations: float
    fitness: float
    flips: int
    solved: int | None


@dataclass(frozen=True)
class Run:
    """One search. `reason` is why it ended, empty while it has not; `patch` is its file once there is one.

    `results` are what its patch fixed and broke of probes that the search did not read, as the patch tells it.
    """

    name: str
    targets: int
    controls: int
    validation: int
    budget: float | None
    steps: tuple[Step, ...]
    reason: str
    patch: Path | None
    results: Mapping[str, Counts]

    @property
    def last(self) -> Step:
        return self.steps[-1]


def list_runs(folder: Path) -> tuple[str, ...]:
    """Names of the runs in a folder, the latest first."""
    found = [path for path in folder.glob(f"*{SUFFIX}") if RunFolder.is_one(path)]
    found.sort(key=lambda path: (-path.stat().st_mtime, path.name))
    return tuple(path.name.removesuffix(SUFFIX) for path in found)


def read_run(folder: Path, name: str) -> Run:
    """Raises StudioError for a name that is none of the folder's, StoreError for a damaged run."""
    if name not in list_runs(folder):
        raise StudioError(f"there is no run {name!r:.80} here; choose one of the list")
    _, asked, state, events = RunFolder.open(folder / f"{name}{SUFFIX}", Asked)
    progress, steps = SearchProgress(name, asked.settings), [Step(0.0, 0.0, 0, None)]
    for event in events:
        progress.take(event)
        solved = event.solved if isinstance(event, Validated) else steps[-1].solved
        steps.append(Step(progress.evaluations, progress.fitness, progress.flips, solved))
    patch = _patch(Path(asked.output))
    return Run(
        name=name,
        targets=len(asked.searched.targets),
        controls=len(asked.searched.controls),
        validation=len(asked.searched.validation),
        budget=asked.settings.budget,
        steps=tuple(steps),
        reason=state.reason,
        patch=Path(asked.output) if patch else None,
        results={} if patch is None else _results(patch),
    )


def _patch(path: Path) -> Patch | None:
    try:
        return read_patch(path)
    except PatchFormatError:
        return None


def _results(patch: Patch) -> dict[str, Counts]:
    """What the manifest tells of probes that the search did not read; nothing of what is no count."""
    found = {}
    for name in ("heldout", "unknown", "control"):
        try:
            found[name] = _counts(patch.manifest.results[name])
        except (KeyError, TypeError, ValueError):
            continue
    return found


def _counts(told: Any) -> Counts:
    """The counts that five numbers stand for. Raises KeyError, TypeError or ValueError when they are none."""
    probes, base, patched, fixed, broke = (
        told[name] for name in ("probes", "base", "patched", "fixed", "broke")
    )
    kinds = (fixed, broke, base - broke, probes - base - fixed)
    if probes > MOST_PROBES or min(kinds) < 0 or base + fixed - broke != patched:
        raise ValueError("no counts of one comparison")
    pairs = ((False, True), (True, False), (True, True), (False, False))
    flags = [pair for pair, count in zip(pairs, kinds, strict=True) for _ in range(count)]
    return Counts.of([before for before, _ in flags], [after for _, after in flags])
