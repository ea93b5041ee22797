"""How far a search is, from the events that it has told so far."""

import time
from dataclasses import dataclass, field

from bankai.search.events import (
    Event,
    Finished,
    Joined,
    Pruned,
    Staffed,
    Started,
    Swapped,
    Trained,
    Tried,
    Validated,
)
from bankai.search.settings import SearchSettings

__all__ = ["SearchProgress"]


@dataclass
class SearchProgress:
    """What one search has told so far; feed it every event. As text: one line of where it stands."""

    label: str
    settings: SearchSettings
    flips: int = 0
    fitness: float = 0.0
    evaluations: float = 0.0
    solved: int = 0
    validation: int = 0
    earlier: float = 0.0  # evaluations before this process
    staff: Staffed | None = None
    began: float = field(default_factory=time.monotonic)

    def take(self, event: Event) -> None:
        """Remember what the event changes."""
        if isinstance(event, Staffed):
            self.staff = event
            return
        if isinstance(event, Started):
            self.began, self.earlier, self.validation = time.monotonic(), self.evaluations, event.validation
            if not self.evaluations:  # else the run goes on from what it told before
                self.solved = event.solved_validation
            return
        self.evaluations = event.evaluations
        if isinstance(event, Validated):
            self.solved = event.solved
        elif isinstance(event, Trained | Tried | Joined | Pruned | Swapped):
            self.flips, self.fitness = event.flips, event.fitness
        elif isinstance(event, Finished):
            self.flips, self.fitness = len(event.flips), event.fitness

    @property
    def share(self) -> float:
        """Of the budget that is spent, 0 to 1; a search may end long before."""
        work, seconds = self.settings.budget, 60 * (self.settings.minutes or 0)
        spent = self.evaluations / work if work else 0.0
        return min(1.0, max(spent, (time.monotonic() - self.began) / seconds if seconds else 0.0))

    @property
    def seconds_left(self) -> float | None:
        """At the present pace until the budget is spent; None before there is one."""
        done = self.evaluations - self.earlier
        if not self.share or done <= 0:
            return None
        # Of what this process has done: a run that goes on has spent a part of its budget before.
        return (time.monotonic() - self.began) * (self.evaluations / done) * (1 - self.share) / self.share

    @property
    def pace(self) -> float:
        """Evaluations per second of this process and its workers."""
        return (self.evaluations - self.earlier) / max(1e-9, time.monotonic() - self.began)

    def __str__(self) -> str:
        left = "" if self.seconds_left is None else f", at most {self.seconds_left:.0f} s left"
        work = f"/{self.settings.budget:g}" if self.settings.budget else ""
        validation = f", validation {self.solved}/{self.validation}" if self.validation else ""
        return (
            f"{self.flips} flip{'' if self.flips == 1 else 's'}, fitness {self.fitness:.3f}{validation}, "
            f"{self.evaluations:.0f}{work} evaluations{left}{self._of_workers()}"
        )

    def _of_workers(self) -> str:
        if self.staff is None:
            return ""
        workers = self.staff.workers
        lost = f" ({self.staff.lost} lost)" if self.staff.lost else ""
        return f", {workers} worker{'' if workers == 1 else 's'}{lost}, {self.pace:.1f} evaluations/s"
