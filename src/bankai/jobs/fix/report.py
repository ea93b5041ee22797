"""The report of a fix: one HTML page that needs nothing else, neither the network nor a script."""

from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined

from bankai.evaluation.report import Counts
from bankai.evaluation.statistics import percent
from bankai.io import writing
from bankai.jobs.fix.measuring import Measured, Tried
from bankai.jobs.fix.reading import Reading
from bankai.jobs.fix.verdict import RULE

__all__ = ["MARK", "write_report"]

MARK = '<meta name="generator" content="bankai fix">'
SHOWN = 6  # rows of each kind that are shown open
LONGEST = 400  # characters of a text


def write_report(path: Path, outcome: Any, reading: Reading, measured: Measured, patch: str) -> None:
    """Write the page. Raises StoreError when it cannot be written."""
    environment = Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined
    )
    environment.filters |= {"cut": _cut, "number": _number}
    source = resources.files("bankai.jobs.fix").joinpath("report.html.j2").read_text("utf-8")
    page = environment.from_string(source).render(
        mark=MARK,
        outcome=outcome,
        reading=reading,
        rule=RULE,
        patch=patch,
        bars=_bars(outcome),
        kinds=_kinds(measured.rows),
        shown=SHOWN,
        categories=reading.knowledge.categories,
    )
    with writing(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


def _bars(outcome: Any) -> list[dict[str, Any]]:
    """Shares as bars: what they are of, so many of so many, percent, and its interval."""
    failing, passing, general, unknown = outcome.failing, outcome.passing, outcome.general, outcome.unknown
    wanted = [
        ("Failing rows that it fixes", failing.fixed, failing.probes, failing.fixed_interval, "good"),
        (
            "Failing rows that the model does not know",
            unknown.fixed,
            unknown.probes,
            unknown.fixed_interval,
            "plain",
        ),
        ("Rows that were right and break", passing.broke, passing.base.solved, passing.broke_interval, "bad"),
        (
            *("General questions that were right and break", general.broke),
            *(general.base.solved, general.broke_interval, "bad"),
        ),
        (
            "General questions that were wrong and come right",
            general.fixed,
            _failed(general),
            general.fixed_interval,
            "good",
        ),
    ]
    return [
        {
            "what": what,
            "part": part,
            "whole": whole,
            "share": percent(part, whole),
            "low": 100 * interval[0],
            "high": 100 * interval[1],
            "kind": kind,
        }
        for what, part, whole, interval, kind in wanted
        if whole
    ]


def _failed(counts: Counts) -> int:
    return counts.probes - counts.base.solved


def _kinds(rows: Sequence[Tried]) -> list[tuple[str, str, list[Tried]]]:
    """Rows by what became of them: title, what it means, and the rows."""
    of = {"failing": "failing row", "passing": "passing row", "unknown": "row that the model does not know"}
    kinds = [
        ("Fixed", "wrong before, right with the patch", False, True),
        ("Broken", "right before, wrong with the patch", True, False),
        ("Still wrong", "wrong before and with the patch", False, False),
        ("Still right", "right before and with the patch", True, True),
    ]
    order = list(of)
    found = []
    for title, meaning, before, after in kinds:
        some = [row for row in rows if (row.was_right, row.is_right) == (before, after)]
        if some:
            found.append((title, meaning, sorted(some, key=lambda row: order.index(row.group))))
    return found


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[:LONGEST]} ..."


def _number(value: float) -> str:
    return f"{value:.0f}"
