"""Rows that ask nearly the same: what a search reads must not answer for what it never saw."""

from collections import defaultdict
from collections.abc import Iterator, Sequence

from bankai.errors import MissingExtraError
from bankai.probes.probe import Probe
from bankai.probes.words import normalized

__all__ = ["find_twins"]

ALIKE = 92.0  # of 100, as rapidfuzz counts edits
MOST = 4000  # probes with one answer that are compared, which takes about a second


def find_twins(some: Sequence[Probe], others: Sequence[Probe]) -> Iterator[tuple[Probe, Probe]]:
    """For a probe of `some` the likest of `others` that has the same answer and a prompt that differs in a few letters.

    Prompts that are made after one pattern are alike, too, but seldom have the same answer. Raises MissingExtraError.
    """
    try:
        from rapidfuzz import fuzz, process
    except ImportError as error:
        raise MissingExtraError(
            "this needs rapidfuzz; install it with pip install 'bankai[search]'"
        ) from error
    groups: dict[str, list[Probe]] = defaultdict(list)
    for probe in others:
        groups[_answer(probe)].append(probe)
    for probe in some:
        rivals = groups[_answer(probe)][:MOST]
        found = process.extractOne(
            _letters(probe.asked),
            [_letters(other.asked) for other in rivals],
            scorer=fuzz.ratio,
            score_cutoff=ALIKE,
        )
        if found is not None:
            yield probe, rivals[found[2]]


def _answer(probe: Probe) -> str:
    return normalized(f"{probe.prefix}{probe.answers[0]}") if probe.answers else ""


def _letters(text: str) -> str:
    """Without marks, in one spelling."""
    return " ".join("".join(c if c.isalnum() else " " for c in normalized(text)).split())
