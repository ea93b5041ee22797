"""What a search tells while it runs: plain values that a terminal can show and a run file can hold.

`evaluations` is always the work spent so far, in full evaluations (one forward of all targets and controls).
"""

import msgspec

from bankai.patch import Flip

__all__ = ["Event", "Finished", "Pruned", "Ranked", "Started", "Tried", "Validated"]


class Started(msgspec.Struct, frozen=True, tag=True):
    """The baseline is measured; `rows` is how many rows the strategy may flip."""

    targets: int
    solved_targets: int
    controls: int
    validation: int
    solved_validation: int
    rows: int
    seconds_per_evaluation: float


class Ranked(msgspec.Struct, frozen=True, tag=True):
    """An attribution pass ranked every row."""

    evaluations: float
    seconds: float


class Tried(msgspec.Struct, frozen=True, tag=True):
    """One flip was measured exactly; `fitness` and `flips` describe the state after the decision."""

    flip: Flip
    kept: bool
    fitness: float
    flips: int
    evaluations: float
    seconds: float


class Validated(msgspec.Struct, frozen=True, tag=True):
    """The validation split was measured; `best` says that it has never been better."""

    solved: int
    total: int
    best: bool
    evaluations: float


class Pruned(msgspec.Struct, frozen=True, tag=True):
    """A flip was taken out because it no longer earned its place."""

    flip: Flip
    fitness: float
    flips: int
    evaluations: float


class Finished(msgspec.Struct, frozen=True, tag=True):
    """The search is over and the model is as it was; `flips` is what was found."""

    flips: tuple[Flip, ...]
    fitness: float
    evaluations: float
    seconds: float
    reason: str


Event = Started | Ranked | Tried | Validated | Pruned | Finished
