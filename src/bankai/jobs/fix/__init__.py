"""From a table of failures to a patch, with a report that says honestly whether it helps.

In order: read the table and run the model on it (`reading`), search, measure what was written without and with the
patch (`measuring`), judge (`verdict`), tell (`report`). `fix` does it all, in a folder from which it can go on
(`folder`).
"""

from bankai.jobs.fix.fix import Fix, FixAsked
from bankai.jobs.fix.measuring import Measured, Tried
from bankai.jobs.fix.outcome import FixOutcome
from bankai.jobs.fix.reading import Reading
from bankai.jobs.fix.verdict import RULE, Verdict, judge_patch

__all__ = [
    "RULE",
    "Fix",
    "FixAsked",
    "FixOutcome",
    "Measured",
    "Reading",
    "Tried",
    "Verdict",
    "judge_patch",
]
