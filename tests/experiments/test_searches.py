"""The experiments that search: tiny runs on nano agree with measurements of their own; claims read what they say."""

import pytest

from bankai.experiments import arithmetic_patch, calculus_patch, generalization, small_patches
from bankai.experiments.context import Context
from bankai.jobs.judge import Judge
from bankai.model import patched
from bankai.patch import Patch
from bankai.probes import load_probe_set
from bankai.search import SearchSettings


def test_failing_targets_fail(context: Context) -> None:
    task = context.task(["calculus"], 6, 5, 1, failing=True)
    assert (
        len(task.searched.targets) == 6 and len(task.searched.controls) == 5 and not task.searched.validation
    )
    assert not any(found.solved for found in context.score(task.searched.targets))
    assert context.task(["calculus"], 6, 5, 2, failing=True).searched.targets != task.searched.targets


def test_a_search_is_done_once_and_its_path_ends_at_its_flips(context: Context) -> None:
    task = context.task(["broad"], 6, 4, 0)
    found = context.search(task, SearchSettings(budget=30, drift=0.0))
    assert context.search(task, SearchSettings(budget=30, drift=0.0)) is found
    assert context.search(task, SearchSettings(budget=29)) is not found
    assert found.path[-1][1] == found.flips and found.path[-1][0] <= 30


def test_the_judge_counts_what_changed(context: Context) -> None:
    probes = load_probe_set("elicitable").split("heldout")[::20]
    flips = context.search(context.task(["broad"], 6, 4, 0), SearchSettings(budget=30, drift=0.0)).flips
    before = [found.solved for found in context.score(probes)]
    with patched(context.bench.model, Patch(flips), unbound=True):
        after = [found.solved for found in context.score(probes)]
    (counts,) = Judge(context.bench, {"some": probes})(flips).values()
    assert counts["solved"] == sum(before) and counts["failing"] == len(probes) - sum(before)
    assert counts["fixed"] == sum(new > old for old, new in zip(before, after, strict=True)) > 0
    assert counts["broke"] == sum(new < old for old, new in zip(before, after, strict=True))


def counts(fixed: int, broke: int, failing: int = 50, solved: int = 50) -> dict[str, float]:
    return {"failing": failing, "solved": solved, "fixed": fixed, "broke": broke, "p": 0.001}


def test_small_patches(context: Context) -> None:
    result = calculus_patch.EXPERIMENT.run(context)
    (seed,) = result["seeds"]
    for one in seed["found"].values():
        assert one["evaluations"] <= 40 and one["targets"]["failing"] == 6 and one["targets"]["solved"] == 0
        assert one["heldout"]["failing"] + one["heldout"]["solved"] == 40
    (table,) = calculus_patch.EXPERIMENT.tables(result)
    assert [row[0] for row in table.rows] == list(small_patches.SEARCHES)
    assert all(len(row) == len(table.columns) for row in table.rows)


def test_a_space_at_the_end_of_the_prompt_asks_the_same(context: Context) -> None:
    probes = load_probe_set("calculus").split("heldout")[:3]
    moved = [calculus_patch.spaced(probe) for probe in probes]
    for old, new in zip(probes, moved, strict=True):
        assert (
            new.prompt == f"{old.prompt} "
            and f"{old.prompt}{old.answers[0]}" == f"{new.prompt}{new.answers[0]}"
        )
    assert calculus_patch.spaced(moved[0]) is moved[0]


def test_claims_of_small_patches() -> None:
    loop = {"targets": counts(2, 0, 6, 0), "heldout": counts(2, 15), "unseen": counts(0, 1)}
    guided = {"targets": counts(4, 0, 6, 0), "heldout": counts(20, 0), "unseen": counts(0, 0)}
    result = {"seeds": [{"found": {"published loop": loop, "guided": guided}}]}
    spaced = {"spaced": {"probes": 40, "changed": 10}}
    targets, published, ours, space = calculus_patch.EXPERIMENT.claims(result | spaced)
    assert space.value == 0.25
    assert targets.value == 2 / 6 and published.value == 2 / 17 and ours.value == 1
    _, controls, new = arithmetic_patch.EXPERIMENT.claims(result)
    assert controls.value == 2 and new.value == 1 and new.above == 0.5


def test_generalization(context: Context) -> None:
    result = generalization.EXPERIMENT.run(context)
    (seed,) = result["seeds"]
    assert [one["targets_read"] for one in seed["guided"]] == [6, 12] and seed["loop"]["targets_read"] == 12
    assert all(one["path"][-1]["heldout"] == one["heldout"] for one in seed["guided"])
    (table,) = generalization.EXPERIMENT.tables(result)
    assert len(table.rows) == 3 and all(len(row) == len(table.columns) for row in table.rows)
    assert len(generalization.EXPERIMENT.plots(result)) == 2


def test_claims_of_generalization() -> None:
    few, many = ({"heldout": counts(fixed, broke)} for fixed, broke in ((1, 3), (30, 2)))
    result = {
        "sizes": [6, 60],
        "seeds": [{"guided": [few, many], "loop": {"targets_read": 60, "heldout": counts(2, 3)}}],
    }
    gains, loop, more = generalization.EXPERIMENT.claims(result)
    assert gains.value == 30 / 32 and loop.value == 2 / 5 and loop.below == 0.5
    assert more.value == pytest.approx(28 - -2)
