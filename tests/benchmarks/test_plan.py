"""The pretended search: its units are those of a real one, and time passes as the workers allow."""

import pytest
from benchmarks.cost import Machine, Model, Work
from benchmarks.forecast import contents
from benchmarks.plan import ALONE, ANSWERS, MEASURE, VALIDATE, Job, Link, Plan, Stage, simulate
from benchmarks.scale import encoded

from bankai.evaluation.batches import prepare_encoded
from bankai.patch import Flip
from bankai.search.crew import StreamName

MACHINE = Machine("", flops=1e9)
NAME = StreamName(0, False, 0)
NOW = Link(float("inf"), 0.0, 0.0)


@pytest.fixture(scope="module")
def plan():
    return Plan(Model.of("tiny"), contents(2, 24, 12, 4), prepare_encoded(encoded(6, 30, 4)))


def jobs(count, *, wants=None, flops=1e9, returned=0.0):
    return tuple(Job(MEASURE, wants, Work(flops), returned) for _ in range(count))


def test_one_process_takes_the_sum(plan):
    spent = simulate(plan, [Stage("", jobs(3)), plan.rank()], MACHINE)
    streams = sum(MACHINE.seconds(plan.model.refreshing(batch.ids.numel())) for _, batch in plan.streams())
    units = sum(MACHINE.seconds(job.work) for job in plan.rank().jobs)
    assert spent.seconds == pytest.approx(3 + streams + units)
    assert spent.streams == pytest.approx(streams) and spent.copies == 0
    assert spent.waiting.total() == pytest.approx(0)


def test_workers_share_units_and_wait_for_the_last(plan):
    spent = simulate(plan, [Stage("a", jobs(4)), Stage("b", jobs(3))], MACHINE, 2, NOW)
    assert spent.seconds == pytest.approx(2 + 2)
    assert dict(spent.waiting) == pytest.approx({"a": 0, "b": 1})


def test_a_second_worker_makes_its_own_copy_of_a_stream(plan):
    refresh = MACHINE.seconds(plan.model.refreshing(plan.parts[0].batches(False)[0].ids.numel()))
    spent = simulate(plan, [Stage("", jobs(8, wants=NAME))], MACHINE, 2, NOW)
    assert (spent.streams, spent.copies) == (pytest.approx(refresh), pytest.approx(refresh))
    assert spent.seconds == pytest.approx(4 + refresh)
    again = simulate(plan, [Stage("", jobs(8, wants=NAME))] * 2, MACHINE, 2, NOW)
    assert again.copies == pytest.approx(refresh)  # still current
    stale = [Stage("", jobs(8, wants=NAME)), Stage("", jobs(8, wants=NAME), moved=True)]
    assert simulate(plan, stale, MACHINE, 2, NOW).copies == pytest.approx(2 * refresh)


def test_results_come_over_the_link_one_after_the_other(plan):
    link = Link(bandwidth=100.0, latency=0.25, unit=0.5)
    spent = simulate(plan, [Stage("", jobs(1, returned=200.0))], MACHINE, 1, link)
    assert spent.seconds == pytest.approx(0.25 + 1 + 0.25 + 0.5 + 2)
    assert spent.decided == pytest.approx(2.5)
    crowd = simulate(plan, [Stage("", jobs(4, returned=200.0))], MACHINE, 4, link)
    assert crowd.seconds == pytest.approx(0.25 + 1 + 0.25 + 4 * 2.5)


def test_candidates_are_cut_as_a_search_cuts_them(plan):
    wanted = [
        frozenset([Flip(f"model.layers.{layer}.mlp.up_proj", row)]) for row in range(6) for layer in (0, 1)
    ]
    stage = plan.measure(wanted, [1])
    assert len(stage.jobs) == len(plan.parts[1].cut(wanted))
    assert stage.evaluations == pytest.approx(12 * plan.parts[1].probes / 40)
    everything = plan.measure(wanted)
    assert everything.evaluations == pytest.approx(12)
    layers = [job.work.layers for job in everything.jobs]
    assert sorted(set(layers)) == [0, 1]


def test_halving_and_the_budget(plan):
    halves = [stage.evaluations for stage in plan.halve(32)]
    assert halves == pytest.approx([32 * 0.25, 16 * 0.25, 8 * 0.5])
    spent = simulate(plan, plan.search(100), MACHINE)
    assert 80 < spent.evaluations < 150  # what refining costs is not cut to the budget
    assert spent.units[ANSWERS] % sum(len(part.batches(False)) for part in plan.parts) == 0
    assert spent.units[VALIDATE] > 0


def test_smaller_units_of_attribution_do_the_same_work_and_their_streams(plan):
    small = Plan(plan.model, plan.parts, plan.validation, split=60)
    assert len(small.rank().jobs) > len(plan.rank().jobs)
    assert all(job.wants is None for job in small.rank().jobs)
    whole, pieces = (simulate(one, [one.rank()], MACHINE, 1, ALONE).busy for one in (plan, small))
    assert pieces == pytest.approx(whole, rel=0.05)
