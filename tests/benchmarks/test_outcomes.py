"""Shares, verdicts and tables of hand-made counts, and counts of flips on a real model."""

import pytest
from benchmarks.outcomes import broken, by_category, fixed, lost, over, table_of, verdict

from bankai.evaluation.statistics import percent
from bankai.jobs.judge import Judge
from bankai.jobs.workbench import Workbench
from bankai.patch import Flip
from bankai.probes import load_probe_set

COUNTS = {"failing": 40, "solved": 200, "fixed": 30, "broke": 5, "p": 0.01}


def test_fixed_is_of_the_failing_and_broken_of_the_solved():
    assert (fixed(COUNTS), broken(COUNTS)) == (75.0, 2.5)
    assert lost(COUNTS) == -12.5
    assert percent(0, 0) == 0


def test_several_seeds_are_told_by_median_and_range():
    assert over([3.0, 1.0, 2.0]) == "2.0 (1.0 to 3.0)"
    assert over([2.0, 2.0], 0) == "2"


@pytest.mark.parametrize(
    ("value", "bar", "most", "end"),
    [
        (80.0, 75.0, False, "80.0 %, bar at least 75 %: met by 5.0."),
        (75.0, 75.0, False, "75.0 %, bar at least 75 %: met by 0.0."),
        (70.5, 75.0, False, "70.5 %, bar at least 75 %: **missed** by 4.5."),
        (1.5, 2.0, True, "1.5 %, bar at most 2 %: met by 0.5."),
        (3.25, 2.0, True, "3.2 %, bar at most 2 %: **missed** by 1.2."),
    ],
)
def test_a_verdict_tells_whether_and_by_how_much(value, bar, most, end):
    assert verdict("Held-out", value, bar, most=most) == f"Held-out: {end}"


def test_a_table_is_markdown():
    assert table_of(("a", "b"), [["x", "1"]]) == "| a | b |\n| --- | ---: |\n| x | 1 |"


@pytest.fixture(scope="module")
def judge():
    bench = Workbench("nano")
    return Judge(bench, {"unseen": load_probe_set("elicitable").split("unseen")[:12]})


def test_no_flips_change_nothing(judge):
    found = judge([])["unseen"]
    assert (found["fixed"], found["broke"], found["p"]) == (0, 0, 1.0)
    assert found["failing"] + found["solved"] == 12


def test_flips_are_counted_and_taken_off(judge):
    flips = [Flip("model.layers.0.mlp.down_proj", row) for row in range(100)]
    found = by_category(judge.compare(flips, "unseen"))["unseen"]
    assert found["broke"] > 0
    assert found["fixed"] == sum(one["fixed"] for one in found["categories"].values())
    assert judge([])["unseen"]["broke"] == 0
