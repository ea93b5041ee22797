"""General ability and baselines: tiny runs on nano, and claims from values worked by hand."""

import pytest

from bankai.experiments import baselines, general_ability
from bankai.experiments.context import Context
from bankai.probes import load_probe_set


def counts(fixed: int, broke: int) -> dict[str, float]:
    return {"failing": 50, "solved": 50, "fixed": fixed, "broke": broke, "p": 0.001}


def test_generated_answers_are_those_that_score_as_solved(context: Context) -> None:
    probes = load_probe_set("elicitable").split("heldout")[::60]
    replies = general_ability.answered(context, probes)
    assert replies == [found.solved for found in context.score(probes)] and len(set(replies)) == 2


def test_general_ability(context: Context) -> None:
    result = general_ability.EXPERIMENT.run(context)
    (seed,) = result["seeds"]
    sizes = [seed[part]["failing"] + seed[part]["solved"] for part in general_ability.PARTS]
    assert sizes == [6, 40, 40] and seed["flips"] > 0 and seed["perplexity"] != 0
    (table,) = general_ability.EXPERIMENT.tables(result)
    assert all(len(row) == len(table.columns) for row in table.rows)


def test_claims_of_general_ability() -> None:
    seed = {"word problems, generated": counts(3, 9), "unseen": counts(1, 3), "perplexity": 1.5}
    problems, unseen, text = general_ability.EXPERIMENT.claims({"seeds": [seed]})
    assert problems.value == 3 / 12 and unseen.value == 100 * 2 / 50 and text.value == 1.5


def test_baselines(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(baselines, "NAMES", ("lora-1", "few-shot"))
    result = baselines.EXPERIMENT.run(context)
    (seed,) = result["seeds"]
    assert list(seed["found"]) == ["patch", "lora-1", "few-shot"] and seed["flips"] > 0
    assert 0 < seed["found"]["patch"]["bytes"] < seed["found"]["lora-1"]["bytes"]
    (table,), (plot,) = baselines.EXPERIMENT.tables(result), baselines.EXPERIMENT.plots(result)
    assert all(len(row) == len(table.columns) for row in table.rows) and len(plot.series) == 2


def test_claims_of_baselines() -> None:
    patch = {"bytes": 50, "swap_seconds": 2e-4, "heldout": counts(30, 2)}
    lora = {"bytes": 20_000, "swap_seconds": 1e-3, "heldout": counts(40, 20)}
    result = {"seeds": [{"found": {"patch": patch, "lora-1": lora}}]}
    size, ratio, swap, more, alone = baselines.EXPERIMENT.claims(result)
    assert (size.value, ratio.value, more.value) == (50, 400, 28 - 20)
    assert swap.value == pytest.approx(200) and alone.value == 40 / 60
