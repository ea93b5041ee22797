"""Progress of a job that tells its steps, on stderr: a live bar in a terminal, else a line now and then."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from bankai.cli.output import note

__all__ = ["step_progress"]

SECONDS_BETWEEN_LINES = 10.0


@contextmanager
def step_progress() -> Iterator[Callable[[str, int, int], None]]:
    """The listener of a job: told what is being done, how many are done, and of how many."""
    from time import monotonic

    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress, TaskID

    console, last, tasks = Console(stderr=True), monotonic(), dict[str, TaskID]()

    def line(what: str, done: int, total: int) -> None:
        nonlocal last
        if monotonic() - last >= SECONDS_BETWEEN_LINES:
            last = monotonic()
            note(f"{what}: {done} of {total}")

    def bar(what: str, done: int, total: int) -> None:
        if what not in tasks:
            tasks[what] = progress.add_task(what, total=total)
        progress.update(tasks[what], completed=done)

    if not console.is_terminal:
        yield line
        return
    with Progress(*Progress.get_default_columns(), MofNCompleteColumn(), console=console) as progress:
        yield bar
