"""The listener of jobs that tell their steps."""

from collections.abc import Callable

__all__ = ["StepListener", "ignore_steps"]

StepListener = Callable[[str, int, int], None]
"""Told what is being done, how many are done, and of how many."""


def ignore_steps(what: str, done: int, total: int) -> None:
    """The listener of a job that nobody watches."""
