"""What flips do to probes that no search reads, as plain values, and how the seeds are put together in words.

Does not know: searches, draws, results of other benches.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from bankai.evaluation.report import Counts, compare
from bankai.evaluation.scoring import prepare, score
from bankai.jobs.workbench import Workbench
from bankai.model import patched
from bankai.patch import Flip, Patch
from bankai.probes import Probe
from benchmarks.measure import ranged, summary

__all__ = ["Judge", "broken", "fixed", "lost", "over", "percent", "table_of", "verdict"]

Found = Mapping[str, Any]
"""Counts of one comparison: see `_plain`."""


class Judge:
    """Probes by the name of their set, encoded once and measured once on the base."""

    def __init__(self, bench: Workbench, sets: Mapping[str, Sequence[Probe]]) -> None:
        self.bench, self.sets = bench, dict(sets)
        self.prepared = {name: prepare(bench.tokenizer, probes) for name, probes in sets.items()}
        self.base = {name: score(bench.model, prepared) for name, prepared in self.prepared.items()}

    def __call__(self, flips: Iterable[Flip], *names: str) -> dict[str, dict[str, Any]]:
        """What the flips fix and break in the named sets, all when none is named. The base must be on."""
        found = {}
        with patched(self.bench.model, Patch(frozenset(flips)), unbound=True):
            for name in names or self.sets:
                changed = score(self.bench.model, self.prepared[name])
                comparison = compare(self.base[name], changed, self.sets[name])
                categories = {category: _plain(one) for category, one in comparison.categories.items()}
                found[name] = _plain(comparison) | {"categories": categories}
        return found


def _plain(counts: Counts) -> dict[str, Any]:
    """`failing` and `solved` are those of the base."""
    return {
        "failing": counts.probes - counts.base.solved,
        "solved": counts.base.solved,
        "fixed": counts.fixed,
        "broke": counts.broke,
        "p": counts.p_value,
    }


def percent(part: float, whole: float) -> float:
    """0 of nothing."""
    return 100 * part / whole if whole else 0.0


def fixed(found: Found) -> float:
    """Percent of the failing."""
    return percent(found["fixed"], found["failing"])


def broken(found: Found) -> float:
    """Percent of the solved."""
    return percent(found["broke"], found["solved"])


def lost(found: Found) -> float:
    """Broken less fixed, in percent of the solved; negative for a net gain."""
    return percent(found["broke"] - found["fixed"], found["solved"])


def over(values: Sequence[float], digits: int = 1) -> str:
    """Median and range as text."""
    return ranged(summary(values), digits)


def verdict(what: str, value: float, bar: float, *, most: bool, unit: str = " %") -> str:
    """One sentence: whether a bar is met, and by how much; `most` when small is good."""
    met = value <= bar if most else value >= bar
    return (
        f"{what}: {value:.1f}{unit}, bar at {'most' if most else 'least'} {bar:g}{unit}: "
        f"{'met' if met else '**missed**'} by {abs(value - bar):.1f}."
    )


def table_of(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Markdown; numbers to the right."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
