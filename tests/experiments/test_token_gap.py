"""Token gaps: the published formula, what the loop reads, and claims from counts worked by hand."""

import pytest
import torch

from bankai.experiments import token_gap
from bankai.experiments.context import Context
from bankai.experiments.token_gap import GapProblem, TokenGaps
from bankai.experiments.verdicts import verdict
from bankai.patch import Flip
from bankai.probes import Probe, load_probe_set

FLIPS = frozenset(Flip("model.layers.2.mlp.down_proj", row) for row in range(0, 256, 4))


def test_a_gap_is_a_difference_of_two_logits(context: Context) -> None:
    probe = Probe(
        id="p",
        item="p",
        category="c",
        split="target",
        prompt="d/dx (x^2) =",
        answers=(" 2x",),
        distractor=" 10",
    )
    chat = next(probe for probe in load_probe_set("calculus").split("control") if probe.messages)
    model, tokenizer = context.bench.model, context.bench.tokenizer
    with torch.no_grad():
        logits = model(tokenizer(probe.prompt, return_tensors="pt")["input_ids"]).logits[0, -1]
    right, wrong = (tokenizer(text)["input_ids"][-1] for text in (" 2x", " 10"))
    assert right != wrong
    assert TokenGaps(context, [probe])().tolist() == pytest.approx(
        [float(logits[right] - logits[wrong])], abs=1e-4
    )
    assert len(TokenGaps(context, [probe, chat, probe])([2, 0])) == 2


def test_the_loop_reads_gaps_in_the_order_of_the_targets(context: Context) -> None:
    task, settings = context.usual_task(0), context.published_loop(0)
    with GapProblem(context, task.searched, settings) as problem:
        base, some = problem.current.targets, problem.score_some_targets([3, 1])
        assert problem.fitness == 0 and torch.equal(base, problem.current.target_margins)
        problem.toggle(FLIPS)
        now = problem.read_plainly()
    gaps = TokenGaps(context, task.searched.targets)
    assert sorted(base.tolist()) == pytest.approx(sorted(gaps.base.tolist()), abs=1e-4)
    assert some.tolist() == pytest.approx([float(base[3]), float(base[1])], abs=1e-4)
    changed = gaps.changed(FLIPS)
    assert changed["fixed"] - changed["broke"] == int((now.targets > 0).sum()) - int((base > 0).sum())
    assert torch.equal(gaps(), gaps.base)


def test_a_run(context: Context) -> None:
    result = token_gap.EXPERIMENT.run(context)
    (seed,) = result["seeds"]
    for found in seed["found"].values():
        assert {part["failing"] + part["solved"] for part in found["by gaps"].values()} == {12, 40}
        assert found["flips"] > 0
    (table,), (plot,) = token_gap.EXPERIMENT.tables(result), token_gap.EXPERIMENT.plots(result)
    assert len(table.rows) == 4 and all(len(row) == len(table.columns) for row in table.rows)
    assert [len(series.y) for series in plot.series] == [2, 2]


def test_claims() -> None:
    def counts(fixed: int, broke: int) -> dict[str, float]:
        return {"failing": 50, "solved": 50, "fixed": fixed, "broke": broke, "p": 0.5}

    def found(gaps: dict, answers: dict) -> dict:
        return {"by gaps": {"heldout": gaps}, "by answers": {"heldout": answers}}

    seed = {
        "found": {
            "token gaps": found(counts(40, 0), counts(2, 3)),
            "whole answers": found(counts(1, 0), counts(9, 0)),
        }
    }
    promise, helps, better = token_gap.EXPERIMENT.claims({"seeds": [seed, seed]})
    assert promise.value == 40 - -1 and helps.value == 2 / 5 and better.value == 9 - -1
    assert [verdict(claim) for claim in (promise, better)] == ["replicates"] * 2
