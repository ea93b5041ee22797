"""What a search is asked to do: plain values that a run folder can hold."""

from typing import Annotated, Literal

import msgspec

from bankai.errors import PlaceError
from bankai.search.space import Space

__all__ = ["ATTRIBUTING", "MOST_FLIPS", "NEUTRAL_TOKENS", "SearchSettings"]

NEUTRAL_TOKENS = 1500
"""Of neutral text in a round: enough to tell candidates apart, as the next round reads others."""

ATTRIBUTING = ("guided", "relaxed")
"""Strategies that send a gradient back through the model."""

MOST_FLIPS = 120
"""Rows of which a patch of a common model has about 240 bytes."""

Weight = Annotated[float, msgspec.Meta(ge=0, le=1e6)]


class SearchSettings(msgspec.Struct, frozen=True, kw_only=True):
    """`budget` in full evaluations and `minutes` limit the work, whichever ends first; None for no limit.

    `neutral`: about how many tokens of neutral text a round of a guided search draws to read; None for all.

    `flips`: the most that a relaxed search puts on.

    `gain`, `loss`, `penalty` and `drift` make the fitness; without neutral text there is no drift.

    See `bankai.search.objective` for the fitness and `bankai.search.space` for the places. Raises PlaceError for a
    space that the strategy cannot keep to.
    """

    strategy: Literal["guided", "relaxed", "greedy", "random"] = "guided"
    budget: float | None = 500
    minutes: float | None = None
    seed: int = 0
    gain: Literal["mean", "worst", "boundary"] = "mean"
    loss: Literal["score", "margin"] = "score"
    penalty: Weight = 4.0
    drift: Weight = 3.0
    flips: Annotated[int, msgspec.Meta(ge=1)] = MOST_FLIPS
    neutral: Annotated[int, msgspec.Meta(ge=1)] | None = None
    space: Space = Space()

    def __post_init__(self) -> None:
        if self.strategy == "relaxed" and self.space.granularity == "bit":
            raise PlaceError(
                "relaxed search flips rows or groups; choose one of these, or the guided strategy"
            )
        if self.strategy == "greedy" and self.space != Space():
            raise PlaceError(
                "greedy draws rows of gate and up in every layer; leave out where and what to flip"
            )
