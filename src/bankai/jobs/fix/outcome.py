"""How a fix ended, as plain values: what the command line prints and the report shows."""

import msgspec

from bankai.evaluation.report import Counts
from bankai.jobs.fix.verdict import Verdict

__all__ = ["FixOutcome"]


class FixOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """How a fix ended. `failing`, `passing`, `unknown`: rows that no search read; `general`: general questions.

    `patch` is None when nothing was found; `drift` is on everyday replies that no search read, in nats a token.
    """

    verdict: Verdict
    patch: str | None
    report: str
    model: str
    table: str
    rows: int
    flips: int
    bare_bytes: int
    file_bytes: int
    crossed: bool
    failing: Counts
    passing: Counts
    unknown: Counts
    general: Counts
    drift: float | None
    seconds: float
