"""Search: find the few flips that fix the targets and keep the controls.

`run_search` drives one strategy over one problem and yields events; it never prints. A strategy proposes flips and
decides which to keep; the problem measures. Needs the `[search]` extra.
"""

from bankai.search.events import Event, Finished, Pruned, Ranked, Started, Tried, Validated
from bankai.search.problem import Problem, SearchProbes
from bankai.search.run import STRATEGIES, SearchSettings, make_patch, run_search

__all__ = [
    "STRATEGIES",
    "Event",
    "Finished",
    "Problem",
    "Pruned",
    "Ranked",
    "SearchProbes",
    "SearchSettings",
    "Started",
    "Tried",
    "Validated",
    "make_patch",
    "run_search",
]
