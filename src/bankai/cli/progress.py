"""Progress of a search on stderr: a live line in a terminal, else a line now and then.

Shows accepted flips, fitness, validation solved, evaluations spent of the budget and the time left; of a cluster also
the workers and their pace.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from bankai.cli.output import counted, note
from bankai.search import (
    Event,
    Finished,
    Joined,
    SearchProgress,
    SearchSettings,
    Staffed,
    Started,
)

__all__ = ["Display", "search_progress"]

SECONDS_BETWEEN_LINES = 10.0


class _Lines:
    """Rare plain lines, for logs."""

    def __init__(self) -> None:
        self.last = time.monotonic()
        self.trouble: tuple[int, int] = 0, 1  # workers lost, kinds of machines

    def show(self, search: SearchProgress, event: Event) -> None:
        if isinstance(event, Started):
            note(f"{search.label}: {_started(event)}")
        elif isinstance(event, Finished):
            note(f"{search.label}: {_finished(event)}")
        elif isinstance(event, Staffed):
            if (event.lost, len(event.kinds)) != self.trouble:
                note(f"{search.label}: {_staffed(event)}")
            self.trouble = event.lost, len(event.kinds)
        elif isinstance(event, Joined):
            return  # its validation follows
        elif time.monotonic() - self.last >= SECONDS_BETWEEN_LINES:
            note(f"{search.label}: {search}")
            self.last = time.monotonic()


class _Live:
    """One bar per search."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        self.tasks: dict[str, TaskID] = {}

    def show(self, search: SearchProgress, event: Event) -> None:
        if search.label not in self.tasks:  # a run that goes on tells its old events first
            self.tasks[search.label] = self.progress.add_task(search.label, total=1.0, state="")
        state = _finished(event) if isinstance(event, Finished) else str(search)
        done = 1.0 if isinstance(event, Finished) else search.share
        self.progress.update(self.tasks[search.label], completed=done, state=state)


def _started(event: Started) -> str:
    """The baseline in words."""
    return (
        f"{event.solved_targets} of {event.targets} targets solved, {event.controls} controls, "
        f"{event.places} places, {event.seconds_per_evaluation:.2f} s an evaluation"
    )


def _staffed(event: Staffed) -> str:
    """Who computes, in words."""
    mixed = f"; the last digits may depend on who computes: {', '.join(event.kinds)}"
    return f"{counted(event.workers, 'worker')}, {event.lost} lost{mixed if len(event.kinds) > 1 else ''}"


def _finished(event: Finished) -> str:
    """The outcome in words."""
    return (
        f"{counted(len(event.flips), 'flip')}, fitness {event.fitness:.3f}, {event.evaluations:.0f} evaluations, "
        f"{event.seconds:.0f} s: {event.reason}"
    )


class Display:
    """Shows searches by their label; `show` is the listener that `bankai.jobs` wants.

    The warnings come before the first search, not before a refusal.
    """

    def __init__(self, output: _Lines | _Live, warnings: Sequence[str] = ()) -> None:
        self.output = output
        self.warnings = warnings
        self.searches: dict[str, SearchProgress] = {}

    def show(self, label: str, settings: SearchSettings, event: Event) -> None:
        """Take one event of the search called `label`."""
        if not self.searches:
            for warning in self.warnings:
                note(f"warning: {warning}")
        search = self.searches.setdefault(label, SearchProgress(label, settings))
        search.take(event)
        self.output.show(search, event)


@contextmanager
def search_progress(warnings: Sequence[str] = ()) -> Iterator[Display]:
    """Progress of the searches inside the block, after the warnings."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield Display(_Lines(), warnings)
        return
    columns = TextColumn("{task.description}"), BarColumn(20), TextColumn("{task.fields[state]}")
    with Progress(*columns, console=console) as progress:
        yield Display(_Live(progress), warnings)
