"""Null controls: what a patch, or a search, does when what should make it work is left to chance.

`matched_flips` draws the null of "these places matter": as many flips of the same kinds in the same tensors.
`shuffled_answers` draws the null of "the right answers matter": targets for a search that nobody wants solved.
"""

from collections.abc import Iterable, Sequence
from random import Random

import msgspec

from bankai.errors import PlaceError
from bankai.patch import Flip, Kind, check_places
from bankai.patch.places import flip_of, number_of, places_in_row
from bankai.probes import Probe
from bankai.quantization import Matrices

__all__ = ["matched_flips", "shuffled_answers"]


def matched_flips(flips: Iterable[Flip], tensors: Matrices, rng: Random) -> frozenset[Flip]:
    """Random places, as many in each tensor and of each kind (rows, groups, bits), none of them among `flips`.

    Raises UnknownTensorError and RowRangeError, and PlaceError when the flips leave too few other places.
    """
    check_places(tensors, flips)
    matrices, chosen = tensors.matrices, dict[tuple[str, Kind], set[int]]()
    # Sorted, because a set's own order would change from process to process, and the draw with it.
    for flip in sorted(flips):
        info = matrices[flip.tensor]
        number = flip.row * places_in_row(info, flip.kind) + number_of(flip, info)
        chosen.setdefault((flip.tensor, flip.kind), set()).add(number)
    drawn: set[Flip] = set()
    for (tensor, kind), numbers in chosen.items():
        info = matrices[tensor]
        in_row = places_in_row(info, kind)
        others = _others(numbers, info.rows * in_row, f"{kind}s of {tensor}", rng)
        drawn.update(flip_of(tensor, number // in_row, kind, number % in_row, info) for number in others)
    return frozenset(drawn)


def _others(numbers: set[int], size: int, what: str, rng: Random) -> list[int]:
    """As many other numbers below `size`, all alike likely."""
    count = len(numbers)
    if size < 2 * count:
        raise PlaceError(
            f"{count} of the {size} {what} are flipped, which leaves too few to match; give a smaller patch"
        )
    # Of twice as many, at least half are others.
    return [number for number in rng.sample(range(size), 2 * count) if number not in numbers][:count]


def shuffled_answers(probes: Sequence[Probe], rng: Random) -> tuple[Probe, ...]:
    """The probes with the answers of others of their category; all else is kept but the distractor, which goes.

    Each gets answers of which it accepts none, spaces around them aside, unless more than half of its category share
    answers: then some keep right ones. A search on the result is the null of one on `probes`: the same prompts, the
    same answers as often in every category, but nothing that the model could know.
    """
    answers = [probe.answers for probe in probes]
    by_category: dict[str, list[int]] = {}
    for index, probe in enumerate(probes):
        by_category.setdefault(probe.category, []).append(index)
    for members in by_category.values():
        classes = _classes(probes, members, rng)
        # Whoever shares an answer stands together, so a turn by the largest class leads out of every class it can.
        ring, turn = [index for one in classes for index in one], max(map(len, classes))
        for at, index in enumerate(ring):
            answers[index] = probes[ring[(at + turn) % len(ring)]].answers
    return tuple(
        msgspec.structs.replace(probe, answers=given, distractor=None)
        for probe, given in zip(probes, answers, strict=True)
    )


def _classes(probes: Sequence[Probe], members: Sequence[int], rng: Random) -> list[list[int]]:
    """Members in random order, those that share an accepted answer, directly or through others, in one class."""
    classes: list[tuple[set[str], list[int]]] = []
    for index in rng.sample(members, len(members)):
        accepted, together = {answer.strip() for answer in probes[index].answers}, [index]
        apart = []
        for texts, others in classes:
            if texts & accepted:
                accepted, together = accepted | texts, together + others
            else:
                apart.append((texts, others))
        classes = [*apart, (accepted, together)]
    rng.shuffle(classes)
    return [together for _, together in classes]
