"""How long a guided search takes on so many workers, by the cost model.

Its units are those into which `bankai.search` cuts it, and the queue of `bankai.cluster` says who takes which; only the
computing is pretended.
"""

import heapq
import math
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

from bankai.cluster.queue import Homes, Queue
from bankai.cluster.staff import AHEAD
from bankai.evaluation.batches import Batch, Prepared
from bankai.patch import Flip
from bankai.search.crew import StreamName
from bankai.search.guided import CLIMB_SHARE, SWAPS, candidates
from bankai.search.parts import Contents
from bankai.search.problem import ATTRIBUTION_COST
from benchmarks.cost import Machine, Model, Work

__all__ = [
    "ALONE",
    "ANSWERS",
    "BASELINE",
    "DRAWS",
    "MEASURE",
    "TEXTS",
    "VALIDATE",
    "Job",
    "Link",
    "Plan",
    "Spent",
    "Stage",
    "simulate",
]

BASELINE, ANSWERS, TEXTS, DRAWS, MEASURE, VALIDATE = (
    "the baseline",
    "attribution of answers",
    "attribution of neutral texts",
    "drawing tokens",
    "exact measurements",
    "validation",
)
KEPT = 5  # flips of a round: 43 after 8 rounds (heldout)
SUMS = 4  # that attribution returns for every place: gain, loss of targets and of controls, targets helped
FLOAT = 4  # bytes
Candidate = frozenset[Flip]


@dataclass(frozen=True)
class Job:
    """A unit: its kind, the cached stream that it wants, its work without that stream, and bytes returned."""

    kind: str
    wants: StreamName | None
    work: Work
    returned: float


@dataclass(frozen=True)
class Stage:
    """Units that may be done in any order, all of them before the next stage; `moved`: on new flips."""

    name: str
    jobs: tuple[Job, ...]
    evaluations: float = 0.0
    moved: bool = False


@dataclass(frozen=True)
class Link:
    """Between the process that decides and the workers. It takes one unit after the other."""

    bandwidth: float  # bytes per second
    latency: float  # seconds
    unit: float  # seconds of the process for each unit


class Plan:
    """The stages of a guided search on these parts, its candidates spread evenly over the layers.

    `split`: attribution in units of so many tokens, each of which computes its own stream; None as it is, a unit for
    each cached stream.
    """

    def __init__(
        self, model: Model, parts: Sequence[Contents], validation: Prepared, *, split: int | None = None
    ) -> None:
        self.model, self.parts, self.validation, self.split = model, parts, validation, split
        self.reads = sum(part.probes for part in parts)

    def streams(self) -> Iterator[tuple[StreamName, Batch]]:
        """Every batch of every part."""
        for number, part in enumerate(self.parts):
            for texts in (False, True):
                for index, batch in enumerate(part.batches(texts)):
                    yield StreamName(number, texts, index), batch

    def tokens(self) -> int:
        """Of one evaluation, padding included."""
        return sum(batch.tokens for _, batch in self.streams())

    def baseline(self) -> Stage:
        """Everything once, nothing cached."""
        return Stage(BASELINE, tuple(self._plainly(BASELINE, batch) for _, batch in self.streams()))

    def rank(self) -> Stage:
        """Attribution."""
        return Stage(
            "attribution",
            tuple(job for one in self.streams() for job in self._ranked(*one)),
            ATTRIBUTION_COST,
        )

    def _ranked(self, name: StreamName, batch: Batch) -> Iterator[Job]:
        kind, sums = (TEXTS, 1) if name.texts else (ANSWERS, SUMS)
        tokens = batch.padded(batch.answers())  # each answer is followed as a sequence of its own
        read, returned = len(batch.rows), sums * self.model.rows * FLOAT
        if self.split is None:
            yield Job(kind, name, self.model.attributing(tokens, read, texts=name.texts), returned)
            return
        pieces = math.ceil(tokens / self.split)
        tokens, read = math.ceil(tokens / pieces), math.ceil(read / pieces)
        work = self.model.refreshing(tokens) + self.model.attributing(tokens, read, texts=name.texts)
        yield from [Job(kind, None, work, returned)] * pieces

    def measure(
        self, wanted: Sequence[Candidate], parts: Sequence[int] | None = None, *, moved: bool = False
    ) -> Stage:
        """Candidates exactly, in some parts or in all."""
        jobs: list[Job] = []
        numbers = range(len(self.parts)) if parts is None else parts
        for number in numbers:
            part = self.parts[number]
            for piece in part.cut(wanted):
                name = StreamName(number, piece.texts, piece.stream)
                batch = part.batches(piece.texts)[piece.stream]
                count, read = len(piece.candidates), len(batch.rows)
                layer = self._first(wanted[piece.candidates[0]])
                work = self.model.measuring(batch.tokens, read, layer, count, texts=piece.texts)
                jobs.append(Job(MEASURE, name, work, (1 if piece.texts else 2) * count * read * FLOAT))
        share = sum(self.parts[number].probes for number in numbers) / self.reads
        return Stage(MEASURE, tuple(jobs), len(wanted) * share, moved)

    def validate(self) -> Stage:
        """Validation probes, which are in no part."""
        jobs = tuple(self._plainly(VALIDATE, batch) for batch in self.validation.batches)
        return Stage(VALIDATE, jobs, self.validation.probes / self.reads)

    def climb(self, count: int) -> list[Stage]:
        """One round: attribution, halving, joining, the new state, validation."""
        joined = self.halve(count)
        unions = list(accumulate(self.shuffled(count // 4), frozenset.union))[1:]
        return [
            self.rank(),
            *joined,
            self.measure(unions),
            self.measure([frozenset()], moved=True),
            self.validate(),
        ]

    def halve(self, count: int) -> list[Stage]:
        """After each part the weaker half has left."""
        stages = []
        for number in range(len(self.parts)):
            stages.append(self.measure(self.spread(count), [number]))
            count = (count + 1) // 2
        return stages

    def refine(self, flips: int) -> list[Stage]:
        """Take out what can be spared, then swap the weakest."""
        singles = self.measure(self.spread(flips))
        unions = list(accumulate(self.shuffled(flips - 1), frozenset.union))
        moved = [self.measure([frozenset()], moved=True), self.validate()]
        return [singles, self.measure(unions), *moved, singles, self.rank(), *self.halve(SWAPS**2), *moved]

    def search(self, budget: float) -> list[Stage]:
        """Rounds as far as they are allowed, and one refinement of their flips."""
        count, stages, spent = candidates(budget), [self.baseline()], 0.0
        climb = self.climb(count)
        cost = sum(stage.evaluations for stage in climb)
        rounds = 0
        while spent + cost <= CLIMB_SHARE * budget:
            stages, spent, rounds = [*stages, *climb], spent + cost, rounds + 1
        return [*stages, *self.refine(KEPT * rounds)]

    def spread(self, count: int) -> list[Candidate]:
        """One row each, evenly over the layers."""
        layers = len(self.model.layers)
        names = [f"model.layers.{at * layers // count}.mlp.up_proj" for at in range(count)]
        return [frozenset([Flip(name, row)]) for row, name in enumerate(names)]

    def shuffled(self, count: int) -> list[Candidate]:
        """The same in any order, as the best of them come."""
        return random.Random(0).sample(self.spread(count), count)

    def _first(self, candidate: Candidate) -> int:
        """The layer that it begins with; one behind the last for none."""
        return min((int(flip.tensor.split(".")[2]) for flip in candidate), default=len(self.model.layers))

    def _plainly(self, kind: str, batch: Batch) -> Job:
        work = self.model.plainly(batch.tokens, len(batch.rows))
        return Job(kind, None, work, 2 * len(batch.rows) * FLOAT)


@dataclass
class Spent:
    """Seconds until the end, and those of all workers together.

    `kinds`: computing, by kind of unit; `streams`: cached streams of new states, where they were first made; `copies`:
    the same on further workers; `waiting`: for the last units of a stage, by stage. `decided` are the seconds of the
    process that deals out units and takes what they give.
    """

    workers: int
    seconds: float = 0.0
    evaluations: float = 0.0
    kinds: Counter[str] = field(default_factory=Counter)
    units: Counter[str] = field(default_factory=Counter)
    streams: float = 0.0
    copies: float = 0.0
    waiting: Counter[str] = field(default_factory=Counter)
    decided: float = 0.0

    @property
    def busy(self) -> float:
        """All that workers computed."""
        return sum(self.kinds.values()) + self.streams + self.copies


class _Crew:
    """Workers that pretend: when each is free again, how many units it holds, which streams it has up to date."""

    def __init__(self, plan: Plan, workers: int, machine: Machine, link: Link, spent: Spent) -> None:
        self.machine, self.link, self.spent = machine, link, spent
        self.refresh = {
            name: machine.seconds(plan.model.refreshing(batch.tokens)) for name, batch in plan.streams()
        }
        self.homes = Homes()
        self.free, self.holds = [0.0] * workers, [0] * workers
        self.current: list[set[StreamName]] = [set() for _ in range(workers)]
        self.made: set[StreamName] = set()  # by anybody
        for who in range(workers):
            self.homes.add(who)

    def outdate(self) -> None:
        """The flips have changed."""
        self.homes.outdate()
        self.made.clear()
        for streams in self.current:
            streams.clear()

    def run(self, jobs: Sequence[Job], now: float) -> float:
        """When the last result is there."""
        queue, under_way = (
            Queue(jobs, [job.work.flops for job in jobs], self.homes),
            list[tuple[float, int, int]](),
        )
        self._hand_out(queue, jobs, under_way, now)
        while under_way:
            done, who, index = heapq.heappop(under_way)
            taking = self.link.unit + jobs[index].returned / self.link.bandwidth
            now = max(now, done + self.link.latency) + taking
            self.spent.decided += taking
            self.holds[who] -= 1
            self._hand_out(queue, jobs, under_way, now)
        return now

    def _hand_out(
        self, queue: Queue, jobs: Sequence[Job], under_way: list[tuple[float, int, int]], now: float
    ) -> None:
        """As `bankai.cluster.staff` does."""
        for count in range(AHEAD):
            for who, holds in enumerate(self.holds):
                if holds > count or not len(queue) or (count and len(queue) < len(self.holds)):
                    continue
                index = queue.take(who)
                if index is not None:
                    self.holds[who] += 1
                    start = max(self.free[who], now + self.link.latency)
                    self.free[who] = start + self._takes(who, jobs[index])
                    heapq.heappush(under_way, (self.free[who], who, index))

    def _takes(self, who: int, job: Job) -> float:
        """Seconds of a worker for a unit, with bringing its stream up to date."""
        spent, takes = self.spent, self.machine.seconds(job.work)
        drawing = job.work.drawn / self.machine.draw
        spent.kinds.update({job.kind: takes - drawing, DRAWS: drawing})
        spent.units[job.kind] += 1
        if job.wants is None or job.wants in self.current[who]:
            return takes
        refresh = self.refresh[job.wants]
        if job.wants in self.made:
            spent.copies += refresh
        else:
            spent.streams += refresh
        self.made.add(job.wants)
        self.current[who].add(job.wants)
        return takes + refresh


ALONE = Link(bandwidth=float("inf"), latency=0.0, unit=0.0)


def simulate(
    plan: Plan, stages: Sequence[Stage], machine: Machine, workers: int = 1, link: Link = ALONE
) -> Spent:
    """Stages one after the other; without a link in one process."""
    spent = Spent(workers)
    crew = _Crew(plan, workers, machine, link, spent)
    for stage in stages:
        if stage.moved:
            crew.outdate()
        began, busy = spent.seconds, spent.busy
        spent.seconds = crew.run(stage.jobs, began)
        spent.waiting[stage.name] += workers * (spent.seconds - began) - (spent.busy - busy)
        spent.evaluations += stage.evaluations
    return spent
