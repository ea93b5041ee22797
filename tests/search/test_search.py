"""Searches on a model that was damaged by known flips: targets are what it answered before."""

import random
from pathlib import Path

import pytest
import torch
from transformers import PreTrainedTokenizerFast, Qwen3ForCausalLM

from bankai.errors import AuditError
from bankai.evaluation.scoring import prepare, score_tensors
from bankai.model import ModelBinaryTensors, flip, load, patched
from bankai.patch import Flip, digest, state
from bankai.probes import Probe
from bankai.search import (
    STRATEGIES,
    Finished,
    Pruned,
    SearchProbes,
    SearchSettings,
    Tried,
    Validated,
    make_patch,
    run_search,
)
from bankai.search.guided import MINIMUM_SHARE, prune, ranked_rows
from bankai.search.problem import Problem
from bankai.search.rows import mlp_rows

DAMAGE = frozenset(
    {
        Flip("model.layers.1.mlp.down_proj", 5),
        Flip("model.layers.1.mlp.down_proj", 77),
        Flip("model.layers.0.mlp.up_proj", 130),
    }
)


def answered(model: Qwen3ForCausalLM, tokenizer: PreTrainedTokenizerFast, count: int) -> list[Probe]:
    """Probes whose answers are what the model says now: two tokens after a random prompt."""
    rng, probes = random.Random(1), []
    while len(probes) < count:
        prompt = "".join(rng.choice("abcdefgh ") for _ in range(rng.randint(4, 12))).strip() + ":"
        ids = tokenizer(prompt, return_tensors="pt").input_ids
        reply = tokenizer.decode(model.generate(ids, max_new_tokens=2, do_sample=False)[0, ids.shape[1] :])
        if len(reply) == 2 and reply.isascii() and reply.isprintable():
            probes.append(
                Probe(
                    id=str(len(probes)),
                    item=f"{len(probes)}",
                    category="any",
                    split="target",
                    prompt=prompt,
                    answers=(reply[0],),
                    stop=reply[1],
                )
            )
    return probes


@pytest.fixture(scope="module")
def damaged(tiny_gguf: Path) -> tuple[Qwen3ForCausalLM, PreTrainedTokenizerFast, SearchProbes]:
    model, tokenizer = load(tiny_gguf, dense=True)
    probes = answered(model, tokenizer, 24)
    flip(model, DAMAGE)
    return model, tokenizer, SearchProbes(tuple(probes[:12]), tuple(probes[12:]))


def all_bits(model: Qwen3ForCausalLM) -> bytes:
    return digest(ModelBinaryTensors(model), mlp_rows(model))


@pytest.mark.parametrize("strategy", sorted(STRATEGIES))
def test_search_improves_restores_and_repeats(damaged, strategy: str) -> None:
    model, tokenizer, probes = damaged
    before = all_bits(model)
    settings = SearchSettings(strategy=strategy, budget=60, seed=3)
    runs = [list(run_search(model, tokenizer, probes, settings)) for _ in range(2)]
    assert all_bits(model) == before
    first, second = (run[-1] for run in runs)
    assert isinstance(first, Finished) and first.flips == second.flips and first.fitness == second.fitness
    assert first.fitness > 0 and first.flips
    assert 0 < first.evaluations <= settings.budget


def test_guided_goes_back_to_the_best_validated_state(damaged) -> None:
    model, tokenizer, probes = damaged
    for validation in (probes.targets, probes.controls):
        probes = SearchProbes(probes.targets, probes.controls, validation)
        events = list(run_search(model, tokenizer, probes, SearchSettings(budget=80)))
        best = [event.solved for event in events if isinstance(event, Validated) and event.best]
        with torch.no_grad():
            flip(model, events[-1].flips)
            solved = int((score_tensors(model, prepare(tokenizer, validation))[1] > 0).sum())
            flip(model, events[-1].flips)
        if not any(isinstance(event, Pruned) for event in events):
            assert solved == (best[-1] if best else events[0].solved_validation)
        else:
            assert solved >= events[0].solved_validation


def test_fitness_is_that_of_the_flipped_bits(damaged) -> None:
    model, tokenizer, probes = damaged
    *_, finished = run_search(model, tokenizer, probes, SearchSettings(budget=50, penalty=1.5))
    targets, controls = prepare(tokenizer, probes.targets), prepare(tokenizer, probes.controls)
    with torch.no_grad():
        base_t, base_c = score_tensors(model, targets)[0], score_tensors(model, controls)[0]
        flip(model, finished.flips)
        new_t, new_c = score_tensors(model, targets)[0], score_tensors(model, controls)[0]
        flip(model, finished.flips)
    expected = (new_t - base_t).mean() - 1.5 * torch.relu(base_c - new_c).mean()
    assert finished.fitness == pytest.approx(float(expected), abs=1e-5)  # float32 sums in another order


def test_kept_flips_raise_the_fitness_one_by_one(damaged) -> None:
    model, tokenizer, probes = damaged
    tried = [
        e for e in run_search(model, tokenizer, probes, SearchSettings(budget=60)) if isinstance(e, Tried)
    ]
    fitness = 0.0
    for event in tried:
        assert event.fitness > fitness if event.kept else event.fitness == fitness
        fitness = event.fitness
    assert any(e.kept for e in tried) and not all(e.kept for e in tried)


def test_closing_the_iterator_restores_the_model(damaged) -> None:
    model, tokenizer, probes = damaged
    before = all_bits(model)
    events = run_search(model, tokenizer, probes, SearchSettings(budget=60))
    for event in events:
        if isinstance(event, Tried) and event.kept:
            assert all_bits(model) != before
            break
    events.close()
    assert all_bits(model) == before


def test_ranked_rows_are_better_than_others(damaged) -> None:
    model, tokenizer, probes = damaged
    with Problem(model, tokenizer, probes, penalty=2.0) as problem:
        order = [found for _, found in ranked_rows(problem)]
        assert len(order) == len(set(order)) == 2 * (256 + 256 + 128)
        best, others = order[:24], order[24::40]
        exact = {row: probe_fitness(problem, row) for row in (*best, *others)}
    assert sum(exact[row] > 0 for row in best) > 2 * sum(exact[row] > 0 for row in others)
    assert max(exact[row] for row in best) > max(exact[row] for row in others)


def test_patch_is_bound_to_the_searched_model(damaged) -> None:
    model, tokenizer, probes = damaged
    settings = SearchSettings(budget=40)
    *_, finished = run_search(model, tokenizer, probes, settings)
    patch = make_patch(model, finished, settings, name="repair")
    assert patch.flips == frozenset(finished.flips)
    assert patch.manifest.name == "repair" and patch.manifest.strategy == "guided"
    assert state(ModelBinaryTensors(model), patch) == "base"
    with patched(model, patch):
        assert state(ModelBinaryTensors(model), patch) == "applied"


def test_pruning_takes_out_a_useless_flip(damaged) -> None:
    model, tokenizer, probes = damaged
    *_, found = run_search(model, tokenizer, probes, SearchSettings(budget=40))
    with Problem(model, tokenizer, probes, penalty=2.0) as problem:
        problem.move_to(found.flips)
        repaired = problem.fitness
        changes = {row: abs(probe_fitness(problem, row) - repaired) for row in mlp_rows(model)}
        useless = min(changes.keys() - set(found.flips), key=changes.__getitem__)
        assert changes[useless] < MINIMUM_SHARE * repaired / 4
        problem.move_to({*found.flips, useless})
        pruned = [event.flip for event in prune(problem, budget=10_000) if isinstance(event, Pruned)]
        assert useless in pruned
        assert problem.fitness >= repaired * 0.97  # at most half a percent a pruned flip


def probe_fitness(problem: Problem, row: Flip) -> float:
    problem.toggle([row])
    fitness = problem.measure().fitness
    problem.toggle([row])
    return fitness


@pytest.mark.parametrize("strategy", sorted(STRATEGIES))
@pytest.mark.parametrize("budget", [1, 9, 20, 60])
def test_the_budget_holds_with_much_validation(damaged, strategy: str, budget: int) -> None:
    model, tokenizer, probes = damaged
    few = SearchProbes(probes.targets[:2], probes.controls[:1], probes.targets[2:] + probes.controls[1:])
    *_, finished = run_search(model, tokenizer, few, SearchSettings(strategy=strategy, budget=budget))
    assert finished.evaluations <= budget


def test_the_end_is_explained(damaged) -> None:
    model, tokenizer, probes = damaged

    def reason(**settings: int | str) -> str:
        return [*run_search(model, tokenizer, probes, SearchSettings(**settings))][-1].reason

    assert reason(budget=7) == "budget too small for one round"
    assert reason(budget=20) == "budget spent"
    assert reason(budget=10, strategy="greedy") == "budget spent"
    assert reason(budget=5000) == "no candidate helps"


def test_a_search_without_targets_is_refused(damaged) -> None:
    model, tokenizer, probes = damaged
    with pytest.raises(AuditError, match="target"):
        next(run_search(model, tokenizer, SearchProbes((), probes.controls), SearchSettings()))
