"""Crews of several replicas that do units in any order, against one process: the same bits."""

import random
from collections.abc import Iterable
from dataclasses import replace

import pytest
import torch
from wide import CONTROLS, TARGETS, TEXTS, make_probe

from bankai.model import load
from bankai.model.decoder import Decoder
from bankai.search import Problem, SearchProbes, SearchSettings, Space, run_search
from bankai.search.crew import Replica, Take, Unit, alone
from bankai.search.objective import Readings

VALIDATION = (make_probe("the question is", "a"), make_probe("what is", "the", "ok"))
PROBES = SearchProbes(TARGETS, CONTROLS, VALIDATION, TEXTS)
EVERYWHERE = Space(projections=("gate_proj", "up_proj", "down_proj", "q_proj", "o_proj"))


class Shuffled:
    """A crew that gives each unit to one of its replicas by chance, and does them in any order.

    They follow the flips only when they have something to do, so each has seen other states.
    """

    def __init__(self, replicas: list[Replica]) -> None:
        self.replicas, self.parts = replicas, replicas[0].parts
        self.rng, self.done = random.Random(0), [0] * len(replicas)

    def follow(self, flips: frozenset) -> None:
        self.flips = flips

    def run(self, units: Iterable[Unit], take: Take) -> None:
        units, given = list(units), {}
        for index in self.rng.sample(range(len(units)), len(units)):
            at = self.rng.randrange(len(self.replicas))
            self.replicas[at].follow(self.flips)
            given[index] = []
            self.replicas[at].run([units[index]], given[index].append)
            self.done[at] += 1
        for index in range(len(units)):
            for one in given[index]:
                take(one)


@pytest.fixture(scope="module")
def models(wide_gguf):
    return [load(wide_gguf, dense=True) for _ in range(3)]


@pytest.fixture
def several(models):
    """What hires two replicas of models of their own; and the crews that were hired."""
    hired = []

    def hire(_, slices) -> Shuffled:
        hired.append(Shuffled([alone(Decoder(model), slices) for model, _ in models[1:]]))
        hired[-1].follow(frozenset())
        return hired[-1]

    yield hire, hired
    for crew in hired:  # the problem leaves only its own model as it was
        for replica in crew.replicas:
            replica.follow(frozenset())


def identical(one: Readings, other: Readings) -> bool:
    return all(
        torch.equal(getattr(one, field), getattr(other, field)) for field in Readings.__dataclass_fields__
    )


@pytest.mark.parametrize(
    "settings",
    [
        SearchSettings(budget=70, space=EVERYWHERE, seed=1),
        SearchSettings(budget=40, gain="boundary", loss="margin", space=Space(granularity="group")),
        SearchSettings(budget=15, strategy="greedy"),
        SearchSettings(budget=15, strategy="random"),
    ],
    ids=["guided", "groups", "greedy", "random"],
)
def test_a_search_ends_with_the_same_bits(models, several, settings) -> None:
    hire, hired = several
    probes = replace(PROBES, validation=())  # which would refuse what happens to help
    *_, one = run_search(*models[0], probes, settings)
    *_, other = run_search(*models[0], probes, settings, hire=hire)
    assert one.flips and (one.flips, one.fitness, one.evaluations, one.reason) == (
        other.flips,
        other.fitness,
        other.evaluations,
        other.reason,
    )
    assert min(hired[0].done) > 10


@pytest.mark.parametrize("granularity", ["row", "group", "bit"])
def test_ranks_and_readings_are_the_same_bits(models, several, granularity) -> None:
    settings = SearchSettings(space=Space(projections=("up_proj", "v_proj"), granularity=granularity))
    model, tokenizer = models[0]
    with (
        Problem(model, tokenizer, PROBES, settings) as one,
        Problem(model, tokenizer, PROBES, settings, several[0]) as other,
    ):
        flips = [place.flip for place in one.rank(3)]
        for problem in (one, other):
            problem.move_to(flips)
        assert one.flips and identical(one.current, other.current) and one.fitness == other.fitness
        top = 2000
        ranked = one.rank(top)
        assert ranked == other.rank(top)  # every estimate with all its digits
        some = [frozenset([place.flip]) for place in ranked[::200]]
        assert one.measure(some) == other.measure(some)
        assert one.halve(some) == other.halve(some)
        assert one.validated() == other.validated()


def test_a_replica_that_comes_late_needs_no_history(models) -> None:
    model, tokenizer = models[0]
    with Problem(model, tokenizer, PROBES, SearchSettings()) as problem:
        flips = [place.flip for place in problem.rank(6)]
        slices = [(part.encoded, [], []) for part in problem.parts]
        late = alone(Decoder(models[1][0]), slices)
        early = alone(Decoder(models[2][0]), slices)
        candidate = [frozenset(flips[4:])]
        for some in (flips[:3], flips[1:4], flips[:4]):
            early.follow(frozenset(some))
            found = early.parts[2].read(candidate)
        late.follow(frozenset(flips[:4]))
        assert identical(found, late.parts[2].read(candidate))
        late.follow(frozenset())
        early.follow(frozenset())
