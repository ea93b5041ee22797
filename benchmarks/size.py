"""How much the benches of outcomes do: all of a draw, or a tiny part of it that only shows that they work."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from bankai.jobs.task import Task
from bankai.probes import Probe
from bankai.search.parts import spread
from benchmarks.draw import CONTROLS, TEXTS, drawn

__all__ = ["FULL", "QUICK", "Size"]


@dataclass(frozen=True)
class Size:
    """`budget` in evaluations, `draws` of random flips; `most` probes of any kind are read or judged, None for all."""

    seeds: tuple[int, ...]
    budget: float
    draws: int
    texts: int = TEXTS
    most: int | None = None

    def task(self, seed: int, controls: int = CONTROLS) -> Task:
        """What a search of this seed reads."""
        task = drawn(seed, controls=controls, texts=self.texts)
        if self.most is None:
            return task
        task = task.drawn(self.most, self.most, seed)
        return replace(task, searched=replace(task.searched, validation=self.some(task.searched.validation)))

    def some(self, probes: Sequence[Probe]) -> tuple[Probe, ...]:
        """The first, in equal shares of their categories."""
        return tuple(probes[index] for index in sorted(spread(probes)[: self.most]))


FULL = Size(seeds=(0, 1, 2), budget=500, draws=20)
QUICK = Size(seeds=(0,), budget=16, draws=2, texts=2, most=20)
