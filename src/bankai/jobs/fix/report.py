"""The report of a fix: one HTML page that needs nothing else, neither the network nor a script."""

from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from shlex import quote
from typing import Any, get_args

from jinja2 import Environment, StrictUndefined

from bankai.evaluation.report import Counts
from bankai.evaluation.statistics import percent
from bankai.io import writing
from bankai.jobs.fix.measuring import Group, Measured, Tried
from bankai.jobs.fix.outcome import FixOutcome
from bankai.jobs.fix.reading import Reading
from bankai.jobs.fix.verdict import RULE

__all__ = ["MARK", "write_report"]

MARK = '<meta name="generator" content="bankai fix">'
SHOWN = 6  # rows of each kind that are shown open
LONGEST = 400  # characters of a text


def write_report(path: Path, outcome: FixOutcome, reading: Reading, measured: Measured) -> None:
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
        patch=quote(outcome.patch or ""),
        bars=_bars(outcome),
        kinds=_kinds(measured.rows),
        shown=SHOWN,
        categories=reading.knowledge.categories,
    )
    with writing(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


def _bars(outcome: FixOutcome) -> list[dict[str, Any]]:
    """Shares as bars: what they are of, so many of so many, percent, and its interval."""
    bars = [
        _fixed("Failing rows that it fixes", outcome.failing, "good"),
        _fixed("Failing rows that the model does not know", outcome.unknown, "plain"),
        _broken("Rows that were right and break", outcome.passing),
        _broken("General questions that were right and break", outcome.general),
        _fixed("General questions that were wrong and come right", outcome.general, "good"),
    ]
    return [bar for bar in bars if bar["whole"]]


def _fixed(what: str, counts: Counts, kind: str) -> dict[str, Any]:
    return _bar(what, counts.fixed, counts.probes - counts.base.solved, counts.fixed_interval, kind)


def _broken(what: str, counts: Counts) -> dict[str, Any]:
    return _bar(what, counts.broke, counts.base.solved, counts.broke_interval, "bad")


def _bar(what: str, part: int, whole: int, interval: tuple[float, float], kind: str) -> dict[str, Any]:
    low, high = (100 * end for end in interval)
    share = percent(part, whole)
    return {
        **{"what": what, "part": part, "whole": whole, "kind": kind},
        **{"share": share, "low": low, "high": high},
    }


def _kinds(rows: Sequence[Tried]) -> list[tuple[str, str, list[Tried]]]:
    """Rows by what became of them: title, what it means, and the rows."""
    groups = get_args(Group)
    kinds = [
        ("Fixed", "wrong before, right with the patch", False, True),
        ("Broken", "right before, wrong with the patch", True, False),
        ("Still wrong", "wrong before and with the patch", False, False),
        ("Still right", "right before and with the patch", True, True),
    ]
    found = []
    for title, meaning, before, after in kinds:
        some = [row for row in rows if (row.was_right, row.is_right) == (before, after)]
        if some:
            found.append((title, meaning, sorted(some, key=lambda row: groups.index(row.group))))
    return found


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[:LONGEST]} ..."


def _number(value: float) -> str:
    return f"{value:.0f}"
