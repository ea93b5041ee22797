"""Search: find the few flips that fix the targets and keep the controls.

`run_search` drives one strategy over one problem and yields events; it never prints. A strategy proposes flips and
decides which to keep; the problem measures. Needs the `[search]` extra.
"""

from bankai.search.events import (
    Event,
    Finished,
    Joined,
    Pruned,
    Ranked,
    Staffed,
    Started,
    Swapped,
    Trained,
    Tried,
    Validated,
)
from bankai.search.folder import RunFolder
from bankai.search.null import matched_flips, shuffled_answers
from bankai.search.parts import SearchProbes
from bankai.search.problem import Problem
from bankai.search.progress import SearchProgress
from bankai.search.run import STRATEGIES, make_patch, run_search
from bankai.search.settings import ATTRIBUTING, MOST_FLIPS, NEUTRAL_TOKENS, SearchSettings
from bankai.search.space import Space
from bankai.search.state import Best, State

__all__ = [
    "ATTRIBUTING",
    "MOST_FLIPS",
    "NEUTRAL_TOKENS",
    "STRATEGIES",
    "Best",
    "Event",
    "Finished",
    "Joined",
    "Problem",
    "Pruned",
    "Ranked",
    "RunFolder",
    "SearchProbes",
    "SearchProgress",
    "SearchSettings",
    "Space",
    "Staffed",
    "Started",
    "State",
    "Swapped",
    "Trained",
    "Tried",
    "Validated",
    "make_patch",
    "matched_flips",
    "run_search",
    "shuffled_answers",
]
