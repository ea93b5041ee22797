"""Stacking, nulls, variants and pruning: tiny runs on nano, and claims from counts worked by hand."""

from random import Random

import pytest

from bankai.experiments import nulls, objectives, places, pruning, stacking, variants
from bankai.experiments.context import Context
from bankai.experiments.verdicts import verdict
from bankai.patch import Flip
from bankai.search import Problem, SearchSettings


def counts(fixed: int, broke: int, p: float = 0.001) -> dict[str, float]:
    return {"failing": 50, "solved": 50, "fixed": fixed, "broke": broke, "p": p}


def test_the_order_of_two_patches_does_not_matter(context: Context) -> None:
    rows = [Flip("model.layers.1.mlp.up_proj", row) for row in range(4)]
    found = stacking.order_check(context, frozenset(rows[:3]), frozenset(rows[2:]))
    assert found == dict.fromkeys(
        ("orders agree", "composed agrees", "base is back", "something changed"), True
    )
    assert not stacking.order_check(context, frozenset(), frozenset())["something changed"]


def test_claims_of_stacking() -> None:
    found = {
        "arithmetic alone": {"arithmetic": counts(6, 0), "calculus": counts(0, 4)},
        "calculus alone": {"arithmetic": counts(0, 2), "calculus": counts(20, 0)},
        "stacked": {"arithmetic": counts(4, 0), "calculus": counts(16, 0)},
        "joint search": {"arithmetic": counts(6, 0), "calculus": counts(18, 0)},
    }
    seed = {"order": {"a": True, "b": True}, "found": found}
    exact, cancel, joint = stacking.EXPERIMENT.claims({"seeds": [seed, {**seed, "order": {"a": False}}]})
    assert exact.value == 0.5 and verdict(exact) == "does not"
    assert cancel.value == (4 + 16) / 2 - (6 + 20) / 2 and verdict(cancel) == "replicates"
    assert joint.value == 12 - 10


def test_claims_of_nulls() -> None:
    matched = [counts(0, 0, 1.0), counts(3, 1, 0.6), counts(9, 1, 0.02), counts(30, 0, 1e-9)]
    seed = {
        "guided": {"heldout": counts(9, 0)},
        "shuffled": {"heldout": counts(1, 8, 0.04)},
        "matched": matched,
    }
    patch, random, none = nulls.EXPERIMENT.claims({"seeds": [seed]})
    assert patch.value == 1
    assert random.value == 1 / 4 and random.p == 2 / 5  # nets of 0, 2, 8 and 30 beside 9
    assert none.value == 1 and verdict(none) == "does not"  # of five nulls one has p < 0.05 / 5 and gains
    calm = {**seed, "matched": matched[:3]}
    assert verdict(nulls.EXPERIMENT.claims({"seeds": [calm]})[2]) == "replicates"


def test_a_run_of_nulls(context: Context) -> None:
    result = nulls.EXPERIMENT.run(context)
    (seed,) = result["seeds"]
    assert len(seed["matched"]) == 4 and seed["flips"] > 0
    assert {one["failing"] + one["solved"] for one in (seed["guided"]["unseen"], *seed["matched"])} == {40}
    (table,) = nulls.EXPERIMENT.tables(result)
    assert all(len(row) == len(table.columns) for row in table.rows)


def test_published_layers_in_proportion() -> None:
    assert places.published_layers(36) == (1, 2, 3, 4, 34) and places.published_layers(4) == (0, 2)


def test_variants_differ_only_in_their_setting(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[tuple[str, int, int]] = []
    monkeypatch.setattr(context, "listen", lambda *step: steps.append(step))
    result = variants.run_variants(
        context, "toy", {"a": {}, "b": {"drift": 3.0}, "c": {"strategy": "random"}}
    )
    (seed,) = result["seeds"]
    assert seed["found"]["a"] == seed["found"]["b"] != seed["found"]["c"]  # 3 is the default
    assert steps == [("toy", done, 3) for done in (1, 2, 3)]
    (table,), (plot,) = variants.variant_table(result), variants.variant_plots(result)
    assert [row[0] for row in table.rows] == list(plot.series[0].x) == ["a", "b", "c"]


def test_claims_of_variants() -> None:
    def found(fixed: int, broke: int, flips: int, unseen: int) -> dict:
        return {"heldout": counts(fixed, broke), "unseen": counts(0, unseen), "flips": flips}

    spaces = {places.ALL: found(20, 2, 9, 0), places.FEW: found(12, 1, 9, 0)}
    spaces |= {"attention rows": found(1, 1, 9, 0), "MLP groups": found(30, 0, 9, 0)}
    attention, groups, few = places.EXPERIMENT.claims({"seeds": [{"found": spaces}, {"found": spaces}]})
    assert [verdict(claim) for claim in (attention, groups, few)] == ["replicates", "does not", "does not"]
    assert few.value == 11 - 18
    asked = {name: found(5, 0, 10, 1) for name in objectives.VARIANTS}
    asked["full answer, λ = 0.5"], asked["full answer, λ = 8"] = found(5, 0, 20, 4), found(5, 0, 4, 0)
    light, heavy = objectives.EXPERIMENT.claims({"seeds": [{"found": asked}]})
    assert light.value == 100 * 3 / 50 and heavy.value == 0.4


def test_the_most_useful_flip_comes_first(context: Context) -> None:
    task = context.task(["broad"], 6, 4, 0)
    flips = context.search(task, SearchSettings(budget=30, drift=0.0)).flips
    order = pruning.ordered(context, task.searched, flips)
    assert frozenset(order) == flips and len(order) == len(flips) > 1
    with Problem(context.bench.model, context.bench.tokenizer, task.searched, SearchSettings()) as problem:
        alone = {flip: fitness for flip in flips for fitness in problem.measure([frozenset([flip])])}
    assert alone[order[0]] == pytest.approx(max(alone.values()), abs=1e-5)
    assert pruning.ordered(context, task.searched, frozenset(Random(0).sample(order, len(order)))) == order


def test_how_many_flips_are_needed() -> None:
    curve = [{"heldout": counts(fixed, 0), "unseen": counts(0, 0)} for fixed in (0, 12, 19, 18, 20)]
    assert pruning.needed(curve) == 2 and pruning.needed(curve[:1]) == 0
    (claim,) = pruning.EXPERIMENT.claims({"seeds": [{"seed": 0, "curve": curve}]})
    assert claim.value == 50
    (table,) = pruning.EXPERIMENT.tables({"seeds": [{"seed": 0, "curve": curve}]})
    assert table.rows == [["seed 0", "4", "2", "19.0", "20.0", "0"]]
