"""Who computes for a search. The work comes in units that can be done anywhere and in any order.

How work is cut into units follows from the problem alone, never from who does it: a unit is always computed in the same
shapes, so its result has the same bits in one process and in many. A crew does units; a replica is a crew of one, a
model in this process.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from bankai.evaluation.batches import Batch, Prepared
from bankai.evaluation.scoring import score_batch, score_batches
from bankai.model import flip
from bankai.model.decoder import Decoder
from bankai.patch import Flip
from bankai.search.batched import first_layer
from bankai.search.draws import Draws
from bankai.search.objective import Readings
from bankai.search.parts import Contents, Part, Slice
from bankai.search.streams import Stream

__all__ = [
    "Crew",
    "Hire",
    "Read",
    "ReadPlainly",
    "Replica",
    "Score",
    "StreamName",
    "Take",
    "Unit",
    "alone",
    "read",
    "score",
]

Candidate = frozenset[Flip]
NOTHING: Candidate = frozenset()
Take = Callable[[Any], None]
"""Takes what a unit gives."""


class StreamName(NamedTuple):
    """A stream among all parts: of which part, of texts or of answers, and of which batch."""

    part: int
    texts: bool
    batch: int

    def tokens(self, parts: Sequence[Contents]) -> int:
        """Of its batch, padding included."""
        return parts[self.part].batches(self.texts)[self.batch].tokens


class Unit(Protocol):
    """A piece of work; `wants` is the cached stream that it begins with, if it begins with one."""

    @property
    def wants(self) -> StreamName | None: ...

    def tokens(self, parts: Sequence[Contents]) -> int:
        """About how many it computes: the longest are best begun first."""

    def do(self, replica: "Replica", give: Take) -> None:
        """Compute on a replica and give what was found, once or several times, all of it on the CPU."""


class Crew(Protocol):
    """Whoever does units. `parts` are what is read."""

    @property
    def parts(self) -> Sequence[Contents]: ...

    def follow(self, flips: Candidate) -> None:
        """Make these the current flips."""

    def run(self, units: Iterable[Unit], take: Take) -> None:
        """Do units on the current flips; `take` gets what they give in the order of the units."""


Hire = Callable[[Decoder, Sequence[Slice]], Crew]
"""Makes the crew of a problem: from its model, and what the parts are to hold."""


class Replica:
    """A model with its parts, which follows flips and does units one after the other."""

    def __init__(self, decoder: Decoder, parts: Sequence[Part]) -> None:
        self.decoder, self.parts = decoder, parts
        self.flips = NOTHING
        self.draws = Draws(
            [(len(batch.rows), decoder.vocabulary) for part in parts for batch in part.batches(texts=True)]
        )

    def follow(self, flips: Candidate) -> None:
        """Flip the bits in which these differ from the current flips."""
        change = flips ^ self.flips
        flip(self.decoder.model, change)
        self.flips = flips
        for part in self.parts:
            part.outdate(first_layer(change, self.decoder.layers))

    def run(self, units: Iterable[Unit], take: Take) -> None:
        """See :class:`Crew`."""
        for unit in units:
            unit.do(self, take)

    def stream(self, name: StreamName) -> Stream:
        """The cached stream of that name under the current flips."""
        return self.parts[name.part].stream(name.texts, name.batch)


def alone(decoder: Decoder, slices: Sequence[Slice]) -> Replica:
    """The crew of one process."""
    return Replica(decoder, [Part(decoder, *some) for some in slices])


@dataclass(frozen=True)
class Read:
    """Candidates of one piece, on top of the current flips."""

    wants: StreamName
    candidates: tuple[Candidate, ...]

    def tokens(self, parts: Sequence[Contents]) -> int:
        """See :class:`Unit`."""
        return len(self.candidates) * self.wants.tokens(parts)

    def do(self, replica: Replica, give: Take) -> None:
        """Gives what `Contents.readings` wants of the piece."""
        part, texts, index = self.wants
        give(replica.parts[part].measure(texts, index, self.candidates))


@dataclass(frozen=True)
class ReadPlainly:
    """The current flips in one stream, which is not cached."""

    stream: StreamName
    wants: None = None

    def tokens(self, parts: Sequence[Contents]) -> int:
        """See :class:`Unit`."""
        return self.stream.tokens(parts)

    def do(self, replica: Replica, give: Take) -> None:
        """Gives what `Contents.readings` wants of the piece."""
        part, texts, index = self.stream
        give(replica.parts[part].measure_plainly(texts, index))


@dataclass(frozen=True)
class Score:
    """Answers that are in no part, by a full forward of the current flips."""

    batch: Batch
    wants: None = None

    def tokens(self, parts: Sequence[Contents]) -> int:
        """See :class:`Unit`."""
        return self.batch.tokens

    @torch.no_grad()
    def do(self, replica: Replica, give: Take) -> None:
        """Gives what `score_batches` wants of the batch."""
        log_probs, margins = score_batch(replica.decoder.model, self.batch)
        give((log_probs.cpu(), margins.cpu()))


def read(
    crew: Crew, numbers: Iterable[int], candidates: Sequence[Candidate], *, plainly: bool = False
) -> list[Readings]:
    """Readings [candidates, ...] of each of these parts; `plainly` of the current flips, with nothing cached."""
    numbers = list(numbers)
    pieces = [(number, crew.parts[number].cut(candidates)) for number in numbers]
    units: list[Unit] = []
    for number, cut in pieces:
        for piece in cut:
            name = StreamName(number, piece.texts, piece.stream)
            some = tuple(candidates[at] for at in piece.candidates)
            units.append(ReadPlainly(name) if plainly else Read(name, some))
    found: list[Any] = []
    crew.run(units, found.append)
    ready = iter(found)
    return [
        crew.parts[number].readings(len(candidates), cut, [next(ready) for _ in cut])
        for number, cut in pieces
    ]


def score(crew: Crew, prepared: Prepared) -> tuple[Tensor, Tensor]:
    """Score and margin of probes that are in no part, under the current flips: two [probes]."""
    found: list[tuple[Tensor, Tensor]] = []
    crew.run([Score(batch) for batch in prepared.batches], found.append)
    return score_batches(prepared, found)
