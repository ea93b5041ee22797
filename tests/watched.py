"""A real engine whose steps a test can look at, hold up and let fail; it computes what it would compute anyway."""

from collections.abc import Callable, Sequence
from threading import Event
from typing import Any

import numpy as np

from bankai.model.sampling import Logits
from bankai.serving.engine import Generation
from bankai.serving.engines.torch_engine import TorchEngine

__all__ = ["Watched"]


class Watched:
    """A TorchEngine with the switches of a test.

    `may_step`: cleared, a step waits for it. `fails`: raised by "add" or "step" when it says so. `poisons`: texts whose
    logits are no numbers. `log`: ("add" | "remove", prompt) in order. `crowd`: most texts at once so far.
    """

    def __init__(self, model: Any, **options: int) -> None:
        self._engine = TorchEngine(model, **options)
        self.context, self.places = self._engine.context, self._engine.places
        self.vocabulary = self._engine.vocabulary
        self.may_step = Event()
        self.may_step.set()
        self.fails: Callable[[str, Generation | None], bool] = lambda *_: False
        self.poisons: Callable[[Generation], bool] = lambda _: False
        self.log: list[tuple[str, tuple[int, ...]]] = []
        self.inside: set[Generation] = set()
        self.crowd = 0
        self.closed = False

    def add(self, generation: Generation) -> None:
        """See `Engine`."""
        if self.fails("add", generation):
            raise MemoryError("secret of the engine")
        self._engine.add(generation)
        self.inside.add(generation)
        self.crowd = max(self.crowd, len(self.inside))
        self.log.append(("add", generation.prompt))

    def step(self) -> Sequence[tuple[Generation, Logits]]:
        """See `Engine`."""
        if len(self.inside) < self.places and not self.may_step.wait(0.01):
            return []  # held up, but whoever comes meanwhile is still added
        assert self.may_step.wait(20), "a test held up a step for ever"
        if self.fails("step", None):
            raise RuntimeError("secret of the engine")
        found = self._engine.step()
        return [(one, np.full_like(row, np.nan) if self.poisons(one) else row) for one, row in found]

    def remove(self, generation: Generation) -> None:
        """See `Engine`."""
        self.log.append(("remove", generation.prompt))
        if generation in self.inside:
            self.inside.remove(generation)
            self._engine.remove(generation)

    def close(self) -> None:
        """See `Engine`."""
        self.closed = True
        self._engine.close()
