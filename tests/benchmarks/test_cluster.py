"""The bench of the cluster: units are counted and weighed on the way, and the verdict follows the bar."""

import pytest
from benchmarks import cluster as bench
from benchmarks.draw import small

from bankai.jobs.workbench import Workbench
from bankai.search import SearchSettings

ONE = {"units": 2, "seconds": 0.5, "sent": 3000, "returned": 500}


def found(seconds):
    return {"seconds": seconds, "evaluations": 100.0, "driver_seconds": 1.0, "flips": [], "fitness": 1.0}


def report(*, two, same=True):
    rounds = [{"one process": found(9.0), "1 workers": found(10.0), "2 workers": found(two)}]
    sizes = {"budget": 100, "targets": 60, "controls": 120, "texts": 30, "cores": 3}
    return sizes | {"rounds": rounds, "same": same, "wire": {"Read": ONE}}


def test_what_goes_over_the_wire_is_counted():
    task = small(0, targets=6, controls=6)
    wire = bench._wire(Workbench("nano"), task, SearchSettings(budget=12))
    assert set(wire) == {"ReadPlainly", "Score", "Answers", "Read"}  # without texts, nothing of them
    assert all(one["units"] > 0 and one["seconds"] > 0 for one in wire.values())
    assert wire["Answers"]["returned"] > 4 * 4 * wire["Answers"]["units"]  # four sums of float32
    assert wire["Read"]["sent"] / wire["Read"]["units"] < 2000  # names, not tensors


def test_the_verdict_follows_the_bar():
    assert "1.70 times as fast as one, which meets the bar of 1.7" in bench.table(report(two=10 / 1.7001))
    text = bench.table(report(two=6.0))
    assert "1.67 times as fast as one, which misses the bar of 1.7" in text
    assert "| 1 worker | 10.00 | 1.00 | 0.90 | 1.0 |" in text
    assert "| some candidates on one batch | 2 | 250.0 | 1.5 | 0.2 |" in text


def test_another_end_is_told():
    assert "They did NOT end alike." in bench.table(report(two=5.0, same=False))


@pytest.mark.engines
def test_workers_find_what_one_process_finds():
    result = bench.run(quick=True)
    assert result["same"]
    assert list(result["rounds"][0]) == ["one process", "1 workers", "2 workers"]
    assert all(one["evaluations"] > 0 for one in result["rounds"][0].values())
