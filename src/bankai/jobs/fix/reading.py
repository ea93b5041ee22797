"""The first step of a fix: what the model makes of a table, and which rows every search may read.

With enough known failures some of them are kept for the report. Of a smaller table the patch reads all; two more
searches read one half each, and the other half tells what such a patch does to rows that it never saw.
"""

from collections import Counter
from collections.abc import Iterator, Sequence

import msgspec

from bankai.errors import AuditError
from bankai.evaluation.engine import Engine
from bankai.evaluation.failures import Dropped, assign
from bankai.evaluation.known import KnowledgeReport, count_known
from bankai.jobs.fix.verdict import LEAST_ROWS
from bankai.jobs.rows import Rows, read_rows, with_splits
from bankai.probes import Probe, Split
from bankai.probes.cases import Cases
from bankai.probes.probe import REPORTED
from bankai.probes.twins import find_twins
from bankai.steps import StepListener, ignore_steps

__all__ = ["ENOUGH", "HALVES", "PATCH", "Reading", "read_table_rows"]

PATCH = "patch"
HALVES = "half-1", "half-2"
"""Names of the searches: the one for the patch, and those that tell what it does to unseen rows of a small table."""

ENOUGH = 60
"""Known failing items from which on a part of them is kept unseen."""
FAILED: dict[Split, int] = {
    "target": 60,
    "heldout": 40,
}  # percent of the known failing items, of a large table
HALVED: dict[Split, int] = {"target": 50, "heldout": 50}
PASSED: dict[Split, int] = {"control": 60, "unseen": 40}
HALVED_PASSED: dict[Split, int] = {"control": 50, "unseen": 50}
_OTHER: dict[Split, Split] = {
    **{"target": "heldout", "heldout": "target"},
    **{"control": "unseen", "unseen": "control"},
}
SHOWN = 3  # rows that are alike


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the rows. `searches`: the probes of each search by its name; none when there is nothing to fix."""

    rows: int
    passed: int
    knowledge: KnowledgeReport
    chat: bool
    dropped: tuple[Dropped, ...]
    warnings: tuple[str, ...]
    searches: dict[str, tuple[Probe, ...]]

    @property
    def crossed(self) -> bool:
        return len(self.searches) > 1


def read_table_rows(
    engine: Engine, cases: Cases, *, keep_unknown: bool, seed: int, listen: StepListener = ignore_steps
) -> Reading:
    """Run the model on every row of a table. With `keep_unknown` failures count that the model does not know, too.

    Raises AuditError when no row is sound, and what encoding raises.
    """
    rows = read_rows(engine, cases.probes, seed=seed, listen=listen)
    if not rows.judged:
        first = rows.dropped[0]
        raise AuditError(f"no row can be used; {first.id}, the first of them: {first.message}")
    apart = set() if keep_unknown else rows.unknown_items
    items = {probe.item for probe in rows.failing} - apart
    searches, refused = _searches(engine, rows, apart, len(items), seed) if items else ({}, [])
    if not any(probe.split == "target" for probe in searches.get(PATCH, ())):
        searches = {}
    warnings = [*_warnings(cases, rows, searches), *_twins(searches)]
    return Reading(
        rows=len(cases.probes),
        passed=sum(case.solved for case in rows.judged),
        knowledge=count_known(rows.known, rows.failing),
        chat=any(probe.messages for probe in cases.probes),
        dropped=(*rows.dropped, *refused),
        warnings=tuple(warnings),
        searches={name: tuple(probes) for name, probes in searches.items()},
    )


def _searches(
    engine: Engine, rows: Rows, apart: set[str], items: int, seed: int
) -> tuple[dict[str, list[Probe]], list[Dropped]]:
    """The probes of each search, and the rows that have no place in that of the patch."""
    if items >= ENOUGH:
        splits = assign(rows.judged, failed=FAILED, passed=PASSED, unknown=apart, seed=seed)
        probes, dropped = with_splits(engine, rows, splits)
        return {PATCH: probes}, dropped
    first = assign(rows.judged, failed=HALVED, passed=HALVED_PASSED, unknown=apart, seed=seed)
    second = [None if split is None else _OTHER.get(split, split) for split in first]
    probes, dropped = with_splits(engine, rows, [_read(split) for split in first])
    halves = [with_splits(engine, rows, splits)[0] for splits in (first, second)]
    searches = {PATCH: probes}
    if all({"target", "heldout"} <= {probe.split for probe in half} for half in halves):
        searches |= dict(zip(HALVES, halves, strict=True))
    return searches, dropped


def _read(split: Split | None) -> Split | None:
    """The split that a search reads in place of the one that reports."""
    return _OTHER[split] if split in ("heldout", "unseen") else split


def _warnings(cases: Cases, rows: Rows, searches: dict[str, list[Probe]]) -> Iterator[str]:
    """What is left out, or missing, and the remedy."""
    if cases.ignored:
        yield f"ignored {', '.join(cases.ignored)}: no column of that name is known"
    if rows.dropped:
        kinds = Counter(drop.kind for drop in rows.dropped)
        told = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
        yield f"{len(rows.dropped)} rows cannot be used ({told}); the report names them"
    if not searches:
        return
    unseen = sum(probe.split == "heldout" for probes in searches.values() for probe in probes)
    if unseen < LEAST_ROWS:
        yield (
            f"only {unseen} known failures to measure on: with fewer than {LEAST_ROWS} nothing can be told; give more "
            "rows"
        )
    if not any(probe.split == "control" for probe in searches[PATCH]):
        yield "no row passes: nothing in the table tells what the patch breaks; add rows that the model gets right"


def _twins(searches: dict[str, list[Probe]]) -> Iterator[str]:
    """Rows of a search that nearly repeat one of its report."""
    probes: Sequence[Probe] = searches.get(HALVES[0]) or searches.get(PATCH, [])
    read = [probe for probe in probes if probe.split not in REPORTED]
    reported = [probe for probe in probes if probe.split in ("heldout", "unseen")]
    found = [*find_twins(reported, read)]
    if found:
        told = ", ".join(f"{one.id} and {other.id}" for one, other in found[:SHOWN])
        yield (
            f"rows that nearly repeat a row that the search reads: {len(found)} ({told}); give such rows "
            "the same value in a column item, and they stay together"
        )
