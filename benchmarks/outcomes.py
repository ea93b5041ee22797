"""What patches fixed and broke, by category and put together over the seeds in words."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from bankai.evaluation.report import Comparison
from bankai.evaluation.statistics import percent
from bankai.jobs.judge import Found, plain
from benchmarks.measure import ranged, summary

__all__ = ["broken", "by_category", "fixed", "lost", "over", "table_of", "verdict"]


def by_category(found: Mapping[str, Comparison]) -> dict[str, dict[str, Any]]:
    """Comparisons as plain values, those of their categories among them."""
    return {
        name: plain(one)
        | {"categories": {category: plain(part) for category, part in one.categories.items()}}
        for name, one in found.items()
    }


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
