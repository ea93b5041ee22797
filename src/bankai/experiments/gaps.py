"""The gap of a probe: score of the right answer less that of the distractor.

The published gap compared single tokens; whole answers stand in their place here (`token_gap` has the published one).
"""

from collections.abc import Iterable, Sequence
from statistics import fmean

import msgspec

from bankai.experiments.context import Context
from bankai.model import patched
from bankai.patch import Flip, Patch
from bankai.probes import Probe
from bankai.search.parts import spread

__all__ = ["Gaps", "impact", "paired", "with_distractor"]


class Gaps:
    """Gaps of some probes, and what flips do to them. The base must be on when this is made."""

    def __init__(self, context: Context, probes: Sequence[Probe]) -> None:
        self.context, self.pairs = context, paired(probes)
        self.base = self()

    def __call__(self) -> list[float]:
        """Under the bits as they are."""
        scores, half = [found.score for found in self.context.score(self.pairs)], len(self.pairs) // 2
        return [right - wrong for right, wrong in zip(scores[:half], scores[half:], strict=True)]

    def impact(self, flips: Iterable[Flip]) -> float:
        """The published impact of flips: mean absolute change of the gaps, in nats."""
        with patched(self.context.bench.model, Patch(frozenset(flips)), unbound=True):
            return impact(self.base, self())


def paired(probes: Sequence[Probe]) -> list[Probe]:
    """The probes, then the same with the distractor as their only answer."""
    wrong = [
        msgspec.structs.replace(probe, id=f"{probe.id}/wrong", answers=(probe.distractor,), distractor=None)
        for probe in probes
        if probe.distractor
    ]
    return [*probes, *wrong]


def with_distractor(context: Context, kind: str, count: int, seed: int) -> list[Probe]:
    """Random probes of any split that have a distractor, in equal shares of their categories."""
    found = [probe for probe in context.load(kind) if probe.distractor]
    return [found[index] for index in spread(found, seed)[:count]]


def impact(base: Sequence[float], now: Sequence[float]) -> float:
    """Mean absolute change."""
    return fmean(abs(after - before) for before, after in zip(base, now, strict=True))
