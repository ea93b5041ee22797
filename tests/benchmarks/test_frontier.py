"""The path of a search from its events, points and figure of a tiny setting, and words on hand-made points."""

import copy
import json
from dataclasses import replace

import pytest
from benchmarks import frontier
from benchmarks.size import QUICK

from bankai.jobs.workbench import Workbench
from bankai.patch import Flip
from bankai.search import Finished, Joined, Pruned, SearchSettings, Swapped, Validated, run_search

A, B, C, D = (Flip("model.layers.0.mlp.up_proj", row) for row in range(4))


@pytest.fixture(scope="module")
def result():
    return frontier.run(quick=True)


def joined(*change):
    return Joined(change, 1.0, 0, 1.0, 1.0)


def test_refinement_starts_from_the_best_flips():
    events = [
        joined(A, B),
        Validated(1, 2, True, 1.0),
        joined(C),
        Validated(1, 2, False, 1.0),
        Pruned((A,), 1.0, 1, 1.0, 1.0),
        Swapped((B, D), 1.0, 1, 1.0, 1.0),
        Finished((D,), 1.0, 1.0, 1.0, "done"),
    ]
    found = [(step.event, step.flips) for step in frontier.steps(events)]
    assert found == [
        ("Joined", {A, B}),
        ("Joined", {A, B, C}),
        ("Pruned", {B}),
        ("Swapped", {D}),
        ("Finished", {D}),
    ]


def test_a_second_join_may_take_a_flip_out():
    events = [joined(A, B), joined(B, C)]
    assert [step.flips for step in frontier.steps(events)] == [{A, B}, {A, C}]


def test_the_path_of_a_real_search_has_as_many_flips_as_its_events_say_and_ends_at_its_result(monkeypatch):
    bench, probes = Workbench("nano"), replace(QUICK.task(4).searched, texts=())
    events = []
    for event in run_search(bench.model, bench.tokenizer, probes, SearchSettings(budget=200, drift=0.0)):
        events.append(event)
        if isinstance(event, Joined):  # from now on a flip must be worth so much that some are pruned
            monkeypatch.setattr("bankai.search.guided.MINIMUM_SHARE", 0.05)
    kinds = (Joined, Pruned, Swapped)
    told = [event.flips for event in events if isinstance(event, kinds)]
    *path, last = frontier.steps(events)
    assert [len(step.flips) for step in path] == told
    assert any(
        isinstance(event, Pruned | Swapped) for event in events
    )  # else the result may lie before the end
    assert path[-1].flips == last.flips == frozenset(events[-1].flips)


def test_every_variant_has_a_path_and_a_last_point(result):
    assert json.loads(json.dumps(result)) == result
    assert list(result["variants"]) == [variant.name for variant in frontier.VARIANTS]
    for searches in result["variants"].values():
        assert [one["seed"] for one in searches] == list(QUICK.seeds)
        for point in (*searches[0]["path"], searches[0]["final"]):
            assert point["heldout"]["failing"] + point["heldout"]["solved"] == QUICK.most
            assert (point["drift"] > 0) is (point["flips"] > 0)
    assert result["variants"]["defaults"][0]["path"]


def test_the_first_point_that_fixes_enough_is_found():
    path = [{"heldout": {"failing": 100, "fixed": count}} for count in (40, 75, 90)]
    assert frontier.first_enough(path) is path[1]
    assert frontier.first_enough(path[:1]) is None


def point(fixed, broke, event="Joined"):
    return {
        "event": event,
        "heldout": {"failing": 100, "solved": 100, "fixed": fixed, "broke": 0},
        "unseen": {"failing": 0, "solved": 100, "fixed": 0, "broke": broke},
        "drift": 0.1,
        "flips": 3,
        "evaluations": 50.0,
    }


def test_the_middle_path_ends_with_the_shortest_climb():
    searches = [
        {"path": [point(10, 1), point(20, 2), point(30, 3)]},
        {"path": [point(30, 3), point(40, 6), point(35, 5, "Pruned")]},
    ]
    assert frontier.middle_path(searches) == [(0.0, 0.0), (2.0, 20.0), (4.0, 30.0)]


def test_words_name_who_meets_the_bars_and_who_harms_least(result):
    made = copy.deepcopy(result)
    counts = {"defaults": (90, 5), "drift 5": (85, 1), "penalty 2": (50, 0)}
    made["variants"] = {
        name: [{"seed": 0, "path": [point(*pair)], "final": point(*pair)}] for name, pair in counts.items()
    }
    text = frontier.table(made)
    assert "lost net): drift 5." in text
    assert "drift 5 breaks the fewest unseen controls: 1.0 %, and fixes 85.0 %" in text
    assert "the defaults break 5.0 % and fix 90.0 %." in text
    assert "Too little is fixed with penalty 2 (50.0 %)." in text


def test_the_figure_is_small_and_the_same_each_time(result, tmp_path):
    first, second = tmp_path / "first.svg", tmp_path / "second.svg"
    frontier.draw(result, first)
    frontier.draw(result, second)
    assert first.read_bytes() == second.read_bytes()
    assert b"<svg" in first.read_bytes()
    assert first.stat().st_size < 300_000
