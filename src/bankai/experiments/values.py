"""What an experiment is, and what it shows: plain values.

A result is a mapping of plain JSON values; claims, tables and plots are made from it alone, so that a report can be
written again from what is on disk.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bankai.experiments.context import Context

__all__ = ["Claim", "Experiment", "Interval", "Plot", "Result", "Series", "Table"]

Result = Mapping[str, Any]
Interval = tuple[float, float]


@dataclass(frozen=True)
class Claim:
    """A published figure beside ours.

    The claim holds where `value` lies above `above` and below `below`, None for no bound; see
    :func:`bankai.experiments.verdicts.verdict`. `p` is the p-value of a headline, to be corrected with all others.
    """

    what: str
    published: str
    ours: str
    value: float
    interval: Interval
    above: float | None = None
    below: float | None = None
    p: float | None = None


@dataclass(frozen=True)
class Series:
    """A line or a row of bars; `low` and `high` are ends of intervals, empty for none."""

    name: str
    x: Sequence[float | str]
    y: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()


@dataclass(frozen=True)
class Plot:
    """Lines, or bars when x are words, then the same for every series."""

    title: str
    x: str
    y: str
    series: Sequence[Series]
    log_x: bool = False
    log_y: bool = False


@dataclass(frozen=True)
class Table:
    """Cells as text; the first column is of words."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""


@dataclass(frozen=True)
class Experiment:
    """`run` measures; the others tell what a result says."""

    run: Callable[["Context"], dict[str, Any]]
    claims: Callable[[Result], Sequence[Claim]]
    tables: Callable[[Result], Sequence[Table]]
    plots: Callable[[Result], Sequence[Plot]] = field(default=lambda result: ())
