"""The bench of the time to a fitness: it stops where it should and leaves the model as it was."""

import pytest
from benchmarks import reach
from benchmarks.draw import small

from bankai.jobs.workbench import Workbench
from bankai.model import ModelMatrices
from bankai.search import SearchSettings


@pytest.fixture(scope="module")
def bench():
    return Workbench("nano")


def bits(bench):
    tensors = ModelMatrices(bench.model)
    return {name: tensors.packed(name).blocks.tobytes() for name in tensors.matrices}


def test_a_search_stops_where_it_reaches_the_fitness(bench):
    task, settings, before = small(0, targets=5, controls=8), SearchSettings(budget=80), bits(bench)
    end = reach.reached(bench, task, settings)
    assert end.flips > 0 and end.seconds > 0
    first = reach.reached(bench, task, settings, 0.01)
    assert 0.01 <= first.fitness <= end.fitness
    assert first.evaluations < end.evaluations
    assert reach.reached(bench, task, settings, end.fitness + 1) is None
    assert bits(bench) == before


def test_the_report_adds_up():
    result = reach.run(quick=True)
    assert (result["budget"], result["targets"], result["controls"]) == (8, 5, 8)
    (one,) = result["seeds"]
    assert one["guided"]["fitness"] >= one["greedy"]["fitness"]
    assert one["greedy"]["evaluations"] <= 8
    assert one["ratio"] == one["greedy"]["seconds"] / one["guided"]["seconds"]["median"]
    assert f"| guided | {one['guided']['fitness']:.3f} |" in reach.table(result)


def test_never_reaching_it_misses_the_bar():
    greedy = {"fitness": 1.0, "flips": 3, "evaluations": 300.0, "seconds": 60.0}
    seeds = [{"seed": 0, "greedy": greedy, "guided": None, "ratio": None}]
    text = reach.table({"budget": 300, "targets": 60, "controls": 120, "seeds": seeds})
    assert "Guided never reached it on 1 of 1 seeds: the bar is missed." in text


@pytest.mark.parametrize(
    ("ratios", "text"),
    [
        ([9.0, 9.9, 30.0], "9.9, misses the bar of 10 and misses the aim of 20."),
        ([9.0, 12.0, 30.0], "12.0, meets the bar of 10 and misses the aim of 20."),
        ([25.0], "25.0, meets the bar of 10 and reaches the aim of 20."),
    ],
)
def test_the_verdict_follows_the_median(ratios, text):
    assert reach._verdict(ratios).endswith(text)
