"""What a search tells while it runs: plain values that a terminal can show and a run folder holds.

`evaluations` is always the work spent so far, in full evaluations (one forward of all targets and controls), and
`seconds` the time. `fitness` and `flips` describe the state after what the event tells.
"""

import msgspec

from bankai.patch import Flip

__all__ = [
    "Changed",
    "Event",
    "Finished",
    "Joined",
    "Pruned",
    "Ranked",
    "Staffed",
    "Started",
    "Swapped",
    "Trained",
    "Tried",
    "Validated",
]


class Started(msgspec.Struct, frozen=True, tag=True):
    """The baseline is measured; `places` is how many the strategy may flip."""

    targets: int
    solved_targets: int
    controls: int
    texts: int
    validation: int
    solved_validation: int
    places: int
    seconds_per_evaluation: float


class Staffed(msgspec.Struct, frozen=True, tag=True):
    """How many workers of a cluster compute now, and how many were lost; `kinds` of machines among them and here.

    For whoever watches: no part of a run, since nothing depends on it.
    """

    workers: int
    lost: int
    kinds: tuple[str, ...]


class Ranked(msgspec.Struct, frozen=True, tag=True):
    """An attribution pass ranked every place."""

    evaluations: float
    seconds: float


class Trained(msgspec.Struct, frozen=True, tag=True):
    """Amounts of all rows were trained for some steps, `steps` in all.

    `fitness` is the mean over those steps, each of some probes at amounts between 0 and 1; `flips` how many rows are
    more than half flipped, and `sure` more than nine tenths.
    """

    steps: int
    fitness: float
    flips: int
    sure: int
    evaluations: float
    seconds: float


class Tried(msgspec.Struct, frozen=True, tag=True):
    """One flip was measured alone, and kept or not."""

    flip: Flip
    kept: bool
    fitness: float
    flips: int
    evaluations: float
    seconds: float


class Changed(msgspec.Struct, frozen=True, tag=True):
    """Flips were made or taken back."""

    change: tuple[Flip, ...]
    fitness: float
    flips: int
    evaluations: float
    seconds: float


class Joined(Changed, frozen=True, tag=True):
    """The best of many measured candidates were made together."""


class Validated(msgspec.Struct, frozen=True, tag=True):
    """The validation split was measured; `best` says that it has never been better."""

    solved: int
    total: int
    best: bool
    evaluations: float


class Pruned(Changed, frozen=True, tag=True):
    """Flips were taken out because they no longer earn their place."""


class Swapped(Changed, frozen=True, tag=True):
    """A flip was taken out for another."""


class Finished(msgspec.Struct, frozen=True, tag=True):
    """The search is over and the model is as it was; `flips` is what was found."""

    flips: tuple[Flip, ...]
    fitness: float
    evaluations: float
    seconds: float
    reason: str


Event = Started | Staffed | Ranked | Trained | Tried | Joined | Validated | Pruned | Swapped | Finished
