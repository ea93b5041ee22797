"""How much work a search may still do, in evaluations, in seconds, or both."""

import math
import time
from dataclasses import dataclass, field

__all__ = ["Budget"]


@dataclass
class Budget:
    """Limits of the whole search; `earlier` are the seconds that it ran before it was resumed."""

    evaluations: float = math.inf
    seconds: float = math.inf
    earlier: float = 0.0
    began: float = field(default_factory=time.monotonic)

    @property
    def elapsed(self) -> float:
        """Seconds of the whole search so far."""
        return self.earlier + time.monotonic() - self.began

    @property
    def limit(self) -> float | None:
        """The limit in evaluations; None when only time is limited."""
        return None if math.isinf(self.evaluations) else self.evaluations

    def allows(self, spent: float, cost: float, share: float = 1.0) -> bool:
        """Whether `cost` evaluations on top of those spent stay within this share of the budget."""
        pace = self.elapsed / spent if spent else 0.0
        return spent + cost <= self.evaluations * share and self.elapsed + cost * pace <= self.seconds * share

    def share(self, spent: float, cost: float) -> float:
        """Of the budget that is spent after `cost` more evaluations, of work or of time, whichever is more."""
        pace = self.elapsed / spent if spent else 0.0
        return max((spent + cost) / self.evaluations, (self.elapsed + cost * pace) / self.seconds)
