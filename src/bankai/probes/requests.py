"""Everyday requests to a chat model: its own replies to them are the neutral text that a patch should not change.

The list was written by hand, one request a line, one kind after another. None asks for a single word or number. Within
a kind two forms of request often take turns, so the halves take lines in the order of ABBA.
"""

from importlib import resources
from typing import NamedTuple

__all__ = ["Requests", "load_requests"]


class Requests(NamedTuple):
    """Disjoint halves of every kind: a search may read the replies to `search`, those to `report` only reports read."""

    search: tuple[str, ...]
    report: tuple[str, ...]


def load_requests() -> Requests:
    """The built-in English requests, of every four lines the outer two for the search and the inner two for reports."""
    lines = (resources.files("bankai.probes") / "requests-en.txt").read_text("utf-8").splitlines()
    return Requests(
        tuple(line for number, line in enumerate(lines) if number % 4 in (0, 3)),
        tuple(line for number, line in enumerate(lines) if number % 4 in (1, 2)),
    )
