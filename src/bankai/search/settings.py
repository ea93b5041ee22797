"""What a search is asked to do: plain values that a run folder can hold."""

import msgspec

from bankai.search.space import Space

__all__ = ["SearchSettings"]


class SearchSettings(msgspec.Struct, frozen=True, kw_only=True):
    """`budget` in full evaluations and `minutes` limit the work, whichever ends first; None for no limit.

    `gain`, `loss`, `penalty` and `drift` make the fitness; without neutral text there is no drift.

    See `bankai.search.objective` for the fitness and `bankai.search.space` for the places.
    """

    strategy: str = "guided"
    budget: float | None = 300
    minutes: float | None = None
    seed: int = 0
    gain: str = "mean"
    loss: str = "margin"
    penalty: float = 2.0
    drift: float = 3.0
    space: Space = Space()
