"""Where a search stands between two rounds: all that a strategy remembers.

A state is plain data that a run folder holds; a search that goes on from it ends as if it had never stopped.
"""

import random
from typing import Annotated, Any, Literal

import msgspec

from bankai.patch import Flip

__all__ = ["Best", "State", "Training"]

LOWEST = -1e300  # JSON has no infinity


class Best(msgspec.Struct, frozen=True):
    """The best flips so far: by solved validation probes, then by their mean score."""

    flips: tuple[Flip, ...] = ()
    fitness: float = 0.0
    solved: int = 0
    score: float = LOWEST

    @property
    def key(self) -> tuple[int, float]:
        return self.solved, self.score


class Training(msgspec.Struct):
    """Where relaxed search stands: steps made, and numbers of all rows as little-endian float32.

    `amounts` from 0 to 1, the mean `slope` of the fitness, the fitness that the `drift` of a whole flip costs; `scale`
    is what a row of the first step promised.
    """

    steps: Annotated[int, msgspec.Meta(ge=0)] = 0
    amounts: bytes = b""
    slope: bytes = b""
    drift: bytes = b""
    scale: float = 0.0


class State(msgspec.Struct):
    """Flips that are on, work done, the best so far and the phase of the strategy.

    `rounds` are over. `reason` ends the search; `why` is the reason in waiting while the result is refined.
    """

    flips: tuple[Flip, ...] = ()
    evaluations: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    seconds: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    noise: float = 0.0
    best: Best = msgspec.field(default_factory=Best)
    phase: Literal["climb", "prune", "swap"] = "climb"
    stale: int = 0
    rounds: int = 0
    training: Training | None = None
    drawn: Any = None  # state of `random.Random.getstate`, for strategies that draw
    why: str = ""
    reason: str = ""

    def rng(self, seed: int) -> random.Random:
        """The generator where it was left, or a new one of the seed."""
        rng = random.Random(seed)
        if self.drawn is not None:
            version, internal, gauss = self.drawn
            rng.setstate((version, tuple(internal), gauss))
        return rng
