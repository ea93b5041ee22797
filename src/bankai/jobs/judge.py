"""What flips do to probes that no search reads, as plain values."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from bankai.evaluation.batches import prepare
from bankai.evaluation.report import Comparison, Counts, compare
from bankai.evaluation.scoring import score
from bankai.jobs.workbench import Workbench
from bankai.model import patched
from bankai.patch import Flip, Patch
from bankai.probes import Probe

__all__ = ["Found", "Judge", "plain"]

Found = Mapping[str, Any]
"""Counts of one comparison: see `plain`."""


class Judge:
    """Probes by the name of their set, encoded once and measured once on the base."""

    def __init__(self, bench: Workbench, sets: Mapping[str, Sequence[Probe]]) -> None:
        self.bench, self.sets = bench, dict(sets)
        self._prepared = {name: prepare(bench.tokenizer, probes) for name, probes in sets.items()}
        self._base = {name: score(bench.model, prepared) for name, prepared in self._prepared.items()}

    def __call__(self, flips: Iterable[Flip], *names: str) -> dict[str, dict[str, Any]]:
        """What the flips fix and break in the named sets, all when none is named; see `plain`. The base must be on."""
        return {name: plain(found) for name, found in self.compare(flips, *names).items()}

    def compare(self, flips: Iterable[Flip], *names: str) -> dict[str, Comparison]:
        """The same with intervals and by category."""
        found = {}
        with patched(self.bench.model, Patch(frozenset(flips)), unbound=True):
            for name in names or self.sets:
                changed = score(self.bench.model, self._prepared[name])
                found[name] = compare(self._base[name], changed, self.sets[name])
        return found


def plain(counts: Counts) -> dict[str, Any]:
    """Plain values; `failing` and `solved` are those of the base, `p` is McNemar's."""
    return {
        "failing": counts.probes - counts.base.solved,
        "solved": counts.base.solved,
        "fixed": counts.fixed,
        "broke": counts.broke,
        "p": counts.p_value,
    }
