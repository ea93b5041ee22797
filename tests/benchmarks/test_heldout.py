"""The held-out bench on a tiny setting, and its words on hand-made results."""

import copy
import json

import pytest
from benchmarks import heldout
from benchmarks.size import QUICK

JUDGED = ("heldout", "unseen", "limited")


@pytest.fixture(scope="module")
def result():
    return heldout.run(quick=True)


def test_every_variant_of_every_seed_is_measured(result):
    assert json.loads(json.dumps(result)) == result
    assert [seed["seed"] for seed in result["seeds"]] == list(QUICK.seeds)
    for seed in result["seeds"]:
        assert list(seed["variants"]) == [variant.name for variant in heldout.VARIANTS]
        assert len(seed["matched"]) == QUICK.draws
        for found in seed["variants"].values():
            assert {found[name]["failing"] + found[name]["solved"] for name in JUDGED} == {QUICK.most}
            assert found["bytes"] > 0
    found = result["seeds"][0]["variants"]
    assert found["guided"]["flips"] > 0
    assert found["guided"]["evaluations"] <= QUICK.budget


def test_the_same_probes_judge_every_variant(result):
    variants = result["seeds"][0]["variants"].values()
    for name in JUDGED:
        assert len({found[name]["failing"] for found in variants}) == 1


def made(result, **shares):
    """A result in which every patch of `guided` has these counts."""
    made = copy.deepcopy(result)
    made["seeds"] = [copy.deepcopy(result["seeds"][0]) for _ in range(3)]
    for seed in made["seeds"]:
        for path, value in shares.items():
            part, _, key = path.partition("_")
            seed["variants"]["guided"][part][key] = value
    return made


def test_a_result_that_is_good_enough_meets_the_bars(result):
    good = made(
        result,
        heldout_failing=100,
        heldout_fixed=90,
        heldout_solved=100,
        heldout_broke=1,
        heldout_p=1e-20,
        unseen_solved=500,
        unseen_broke=10,
        unseen_fixed=8,
    )
    text = heldout.table(good)
    for told in (
        "Guided, held-out failing fixed: 90.0 %, bar at least 75 %: met by 15.0.",
        "Held-out solved broken: 1.0 %, bar at most 2 %: met by 1.0.",
        "at most 1e-20, bar below 1e-06: met.",
        "Guided, unseen solved broken: 2.0 %, bar at most 3 %: met by 1.0.",
        "Net loss: 0.4 %, bar at most 1 %: met by 0.6.",
    ):
        assert told in text


def test_one_that_is_not_misses_them(result):
    bad = made(
        result, heldout_failing=100, heldout_fixed=60, heldout_p=1e-3, unseen_solved=500, unseen_broke=20
    )
    text = heldout.table(bad)
    assert "held-out failing fixed: 60.0 %, bar at least 75 %: **missed** by 15.0." in text
    assert "at most 1e-03, bar below 1e-06: **missed**." in text
    assert "unseen solved broken: 4.0 %, bar at most 3 %: **missed** by 1.0." in text


def test_the_median_of_the_seeds_decides_and_the_worst_p(result):
    mixed = made(result, heldout_failing=100, heldout_fixed=80, heldout_p=1e-9)
    mixed["seeds"][0]["variants"]["guided"]["heldout"] |= {"fixed": 10, "p": 0.5}
    text = heldout.table(mixed)
    assert "failing fixed: 80.0 %, bar at least 75 %: met by 5.0." in text
    assert "at most 5e-01, bar below 1e-06: **missed**." in text


def test_categories_that_do_not_generalize_are_named(result):
    named = made(result)
    for seed in named["seeds"]:
        for one in seed["variants"]["guided"]["heldout"]["categories"].values():
            one |= {"failing": 8, "fixed": 8}
    assert "at least 75 % of the failing probes of every category" in heldout.table(named)
    for seed in named["seeds"]:
        seed["variants"]["guided"]["heldout"]["categories"]["code"] |= {"failing": 8, "fixed": 4}
    assert "Below 75 % with `guided`: code (50.0 %)." in heldout.table(named)


def test_a_null_that_gains_is_told(result):
    assert "bar none: met" in heldout.table(result)
    gaining = copy.deepcopy(result)
    gaining["seeds"][0]["matched"][0]["heldout"] |= {"fixed": 20, "broke": 1, "p": 1e-5}
    assert "1 of 2 with matched random flips, 0 of 1 with shuffled answers; bar none: **missed**." in (
        heldout.table(gaining)
    )
