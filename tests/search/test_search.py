"""Searches on a model that was damaged by known flips: targets are what it answered before."""

import random
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
import torch
from transformers import PreTrainedTokenizerFast, Qwen3ForCausalLM

from bankai.errors import AuditError, UnsupportedModelError
from bankai.evaluation.batches import prepare
from bankai.evaluation.scoring import score_tensors
from bankai.model import ModelMatrices, flip, load, patched
from bankai.model.decoder import Decoder
from bankai.patch import Flip, digest, state
from bankai.probes import Probe
from bankai.search import (
    STRATEGIES,
    Finished,
    Joined,
    Problem,
    Pruned,
    Ranked,
    SearchProbes,
    SearchSettings,
    Space,
    State,
    Swapped,
    Tried,
    Validated,
    make_patch,
    run_search,
)
from bankai.search.budget import Budget
from bankai.search.guided import MINIMUM_SHARE, guided

EVERYWHERE = Space(projections=("gate_proj", "up_proj", "down_proj", "q_proj", "k_proj", "v_proj", "o_proj"))
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
    return digest(ModelMatrices(model), EVERYWHERE.row_flips(Decoder(model)))


@pytest.mark.parametrize("strategy", sorted(STRATEGIES))
def test_search_improves_restores_and_repeats(damaged, strategy: str) -> None:
    model, tokenizer, probes = damaged
    before = all_bits(model)
    settings = SearchSettings(strategy=strategy, budget=150, seed=3)
    runs = [list(run_search(model, tokenizer, probes, settings)) for _ in range(2)]
    assert all_bits(model) == before
    first, second = (run[-1] for run in runs)
    assert isinstance(first, Finished) and first.flips == second.flips and first.fitness == second.fitness
    assert first.fitness > 0 and first.flips
    assert 0 < first.evaluations <= settings.budget


@pytest.mark.parametrize("granularity", ["group", "bit"])
def test_smaller_places_than_rows(damaged, granularity: str) -> None:
    model, tokenizer, probes = damaged
    before = all_bits(model)
    space = replace_struct(EVERYWHERE, granularity=granularity)
    *_, finished = run_search(model, tokenizer, probes, SearchSettings(budget=150, space=space))
    assert all_bits(model) == before
    assert finished.fitness > 0
    assert all(flip.group is not None for flip in finished.flips)
    assert all((flip.bit is not None) == (granularity == "bit") for flip in finished.flips)


def replace_struct(space: Space, **changes) -> Space:
    return Space(**{name: getattr(space, name) for name in space.__struct_fields__} | changes)


def test_the_space_is_kept_to(damaged) -> None:
    model, tokenizer, probes = damaged
    for strategy in ("guided", "random"):
        settings = SearchSettings(
            strategy=strategy, budget=120, space=Space(projections=("up_proj", "o_proj"), layers=(0,))
        )
        *_, finished = run_search(model, tokenizer, probes, settings)
        assert finished.flips
        assert {flip.tensor for flip in finished.flips} <= {
            "model.layers.0.mlp.up_proj",
            "model.layers.0.self_attn.o_proj",
        }


def test_guided_ends_with_the_best_validated_state(damaged) -> None:
    model, tokenizer, probes = damaged
    for validation in (probes.targets, probes.controls):
        probes = replace(probes, validation=validation)
        events = list(run_search(model, tokenizer, probes, SearchSettings(budget=150)))
        best = [event.solved for event in events if isinstance(event, Validated) and event.best]
        with torch.no_grad():
            flip(model, events[-1].flips)
            solved = int((score_tensors(model, prepare(tokenizer, validation))[1] > 0).sum())
            flip(model, events[-1].flips)
        assert solved >= max([events[0].solved_validation, *best])


def test_fitness_is_that_of_the_flipped_bits(damaged) -> None:
    model, tokenizer, probes = damaged
    *_, finished = run_search(model, tokenizer, probes, SearchSettings(budget=100, loss="score", penalty=1.5))
    targets, controls = prepare(tokenizer, probes.targets), prepare(tokenizer, probes.controls)
    with torch.no_grad():
        (base_t, margins), base_c = score_tensors(model, targets), score_tensors(model, controls)[0]
        flip(model, finished.flips)
        new_t, new_c = score_tensors(model, targets)[0], score_tensors(model, controls)[0]
        flip(model, finished.flips)
    solved = margins > 0
    lost = torch.cat([torch.relu(base_c - new_c), torch.relu(base_t - new_t)[solved]])
    expected = (new_t - base_t).mean() - 1.5 * lost.mean()
    assert finished.fitness == pytest.approx(float(expected), abs=1e-5)  # float32 sums in another order


def test_every_change_raises_the_fitness_but_pruning(damaged) -> None:
    model, tokenizer, probes = damaged
    fitness = 0.0
    for event in run_search(model, tokenizer, probes, SearchSettings(budget=200)):
        if isinstance(event, Joined | Swapped):
            assert event.fitness > fitness
        elif isinstance(event, Pruned):
            assert event.fitness > fitness * (1 - MINIMUM_SHARE * len(event.change))
        if isinstance(event, Joined | Swapped | Pruned):
            fitness = event.fitness
    assert fitness > 0


@pytest.mark.parametrize("strategy", ["greedy", "random"])
def test_kept_trials_raise_the_fitness_one_by_one(damaged, strategy: str) -> None:
    model, tokenizer, probes = damaged
    settings = SearchSettings(strategy=strategy, budget=80)
    tried = [e for e in run_search(model, tokenizer, probes, settings) if isinstance(e, Tried)]
    fitness = 0.0
    for event in tried:
        assert event.fitness > fitness if event.kept else event.fitness == fitness
        fitness = event.fitness
    assert any(e.kept for e in tried) and not all(e.kept for e in tried)


def test_closing_the_iterator_restores_the_model_and_leaves_the_best(damaged) -> None:
    model, tokenizer, probes = damaged
    before, standing = all_bits(model), State()
    events = run_search(model, tokenizer, probes, SearchSettings(budget=200), state=standing)
    fitness = 0.0
    for event in events:
        if isinstance(event, Joined):
            fitness = event.fitness
        elif isinstance(event, Validated):
            break
    assert all_bits(model) != before
    events.close()
    assert all_bits(model) == before
    assert fitness > 0 and standing.best.fitness == fitness and standing.best.flips


def test_ranked_rows_are_better_than_others(damaged) -> None:
    model, tokenizer, probes = damaged
    with Problem(model, tokenizer, probes, SearchSettings()) as problem:
        order = [frozenset([one.flip]) for one in problem.rank(None)]
        assert len(order) == len(set(order)) == 2 * (256 + 256 + 128)
        exact = dict(zip(order, problem.measure(order), strict=True))
    best, others = order[:24], order[24::40]
    assert sum(exact[row] > 0 for row in best) > 2 * sum(exact[row] > 0 for row in others)
    assert max(exact[row] for row in best) > max(exact[row] for row in others)


def test_the_best_candidates_survive_the_halving_with_their_exact_fitness(damaged) -> None:
    model, tokenizer, probes = damaged
    with Problem(model, tokenizer, probes, SearchSettings()) as problem:
        candidates = [frozenset([one.flip]) for one in problem.rank(16)]
        start = problem.evaluations
        survivors = problem.halve(candidates)
        assert problem.evaluations - start == pytest.approx(16 * 6 / 24 + 8 * 6 / 24 + 4 * 12 / 24)
        assert len(survivors) == 4
        for fitness, candidate in survivors:
            problem.toggle(candidate)
            assert fitness == pytest.approx(float(problem.objective(problem.read_plainly())), abs=1e-5)
            problem.toggle(candidate)
        assert [fitness for fitness, _ in survivors] == sorted((f for f, _ in survivors), reverse=True)


def test_pruning_takes_out_a_useless_flip(damaged) -> None:
    model, tokenizer, probes = damaged
    *_, found = run_search(model, tokenizer, probes, SearchSettings(budget=150))
    with Problem(model, tokenizer, probes, SearchSettings()) as problem:
        problem.move_to(found.flips)
        repaired, rows = problem.fitness, list(Space().row_flips(problem.decoder))
        changes = dict(zip(rows, problem.measure([frozenset([row]) for row in rows]), strict=True))
        useless = min(changes.keys() - set(found.flips), key=lambda row: abs(changes[row] - repaired))
        assert abs(changes[useless] - repaired) < MINIMUM_SHARE * repaired / 4
        problem.move_to({*found.flips, useless})
        standing, pruned = State(phase="prune"), set()
        while standing.phase == "prune":
            for event in guided(problem, standing, Budget()):
                pruned.update(event.change)
        assert useless in pruned and useless not in problem.flips
        assert problem.fitness >= repaired * 0.97


def test_patch_is_bound_to_the_searched_model(damaged) -> None:
    model, tokenizer, probes = damaged
    settings = SearchSettings(budget=100)
    *_, finished = run_search(model, tokenizer, probes, settings)
    patch = make_patch(model, finished, settings, name="repair")
    assert patch.flips == frozenset(finished.flips)
    assert patch.manifest.name == "repair" and patch.manifest.strategy == "guided"
    assert state(ModelMatrices(model), patch) == "base"
    with patched(model, patch):
        assert state(ModelMatrices(model), patch) == "applied"


@pytest.mark.parametrize("strategy", sorted(STRATEGIES))
@pytest.mark.parametrize("budget", [1, 9, 20, 60])
def test_the_budget_holds_with_much_validation(damaged, strategy: str, budget: int) -> None:
    model, tokenizer, probes = damaged
    few = SearchProbes(probes.targets[:2], probes.controls[:1], probes.targets[2:] + probes.controls[1:])
    *_, finished = run_search(model, tokenizer, few, SearchSettings(strategy=strategy, budget=budget))
    assert finished.evaluations <= budget


@pytest.mark.parametrize("strategy", sorted(STRATEGIES))
def test_a_budget_in_minutes_ends_the_search(damaged, strategy: str) -> None:
    model, tokenizer, probes = damaged
    settings = SearchSettings(strategy=strategy, budget=None, minutes=1.5 / 60)
    *_, finished = run_search(model, tokenizer, probes, settings)
    assert finished.reason and finished.seconds < 6


def test_the_end_is_explained(damaged) -> None:
    model, tokenizer, probes = damaged

    def reason(**settings: int | str) -> str:
        return [*run_search(model, tokenizer, probes, SearchSettings(**settings))][-1].reason

    assert reason(budget=5) == "budget too small for one round"
    assert reason(budget=30) == "budget spent"
    assert reason(budget=10, strategy="greedy") == "budget spent"
    assert reason(budget=5000) == "no candidate helps"


def test_drift_keeps_neutral_text(damaged) -> None:
    model, tokenizer, probes = damaged
    probes = replace(probes, texts=("abc def gh a bcd", "hello what is a", "the cat: dog, bed"))

    def drift(weight: float) -> float:
        settings = SearchSettings(budget=150, drift=weight)
        *_, finished = run_search(model, tokenizer, probes, settings)
        with Problem(model, tokenizer, probes, settings) as problem:
            problem.move_to(finished.flips)
            return float(problem.current.drift.mean())

    assert 0 < drift(5.0) < drift(0.0)


def test_a_search_without_targets_is_refused(damaged) -> None:
    model, tokenizer, probes = damaged
    with pytest.raises(AuditError, match="target"):
        next(run_search(model, tokenizer, SearchProbes((), probes.controls), SearchSettings()))


@pytest.mark.parametrize("strategy", sorted(STRATEGIES))
def test_a_model_that_computes_no_numbers_is_refused(damaged, monkeypatch, strategy: str) -> None:
    """As one does whose norms hold none: files may say so, and loading does not look."""
    model, tokenizer, probes = damaged
    parameters = model.model.layers[0].input_layernorm._parameters
    monkeypatch.setitem(parameters, "weight", torch.full_like(parameters["weight"], torch.nan))
    with pytest.raises(UnsupportedModelError, match="no numbers"):
        next(run_search(model, tokenizer, probes, SearchSettings(strategy=strategy)))


LONG = tuple(f"{word} " * 150 for word in ("hello", "the cat", "abcd", "what is", "a b c", "answer"))


def long_texts(damaged) -> SearchProbes:
    return replace(damaged[2], texts=LONG)


def test_a_round_reads_a_few_neutral_texts_and_the_next_round_others(damaged) -> None:
    model, tokenizer, _ = damaged
    settings = SearchSettings(neutral=1500, drift=1.0)
    with Problem(model, tokenizer, long_texts(damaged), settings) as problem:
        whole = [len(part.neutral.batches) for part in problem.parts]
        assert max(whole) > 1
        read = []
        for number in range(1, 9):
            problem.draw(number)
            read.append([list(part.drawn) for part in problem.parts])
            tokens = sum(part.neutral.batches[at].tokens for part in problem.parts for at in part.drawn)
            assert 0 < tokens <= 1500
            assert problem.current.drift.shape == (sum(part.texts for part in problem.parts),)
            assert problem.fitness == 0 and problem.current.drift.abs().max() < 1e-5
        assert problem.evaluations == 8 and len({str(one) for one in read}) > 3
        change = frozenset([Flip("model.layers.0.mlp.up_proj", 130)])
        (measured,) = problem.measure([change])
        problem.move_to(change)
        assert problem.fitness == pytest.approx(measured, abs=1e-5)
        problem.move_to([])
        kept = [sum(texts for texts, _ in part._streams) for part in problem.parts]
        assert kept == [1, 1, 1]  # others are forgotten


def test_a_search_that_draws_goes_on_as_if_it_had_never_stopped(damaged) -> None:
    model, tokenizer, _ = damaged
    probes, settings = long_texts(damaged), SearchSettings(budget=70, neutral=1500)
    *_, whole = run_search(model, tokenizer, probes, settings)
    state = State()
    for event in run_search(model, tokenizer, probes, settings, state=state):
        if isinstance(event, Ranked) and state.rounds == 2:
            break
    saved = msgspec.json.decode(msgspec.json.encode(state), type=State)
    *_, resumed = run_search(model, tokenizer, probes, settings, state=saved)
    assert (resumed.flips, resumed.evaluations) == (whole.flips, whole.evaluations) and resumed.flips


def test_short_texts_are_read_whole_whatever_a_round_draws(damaged) -> None:
    model, tokenizer, probes = damaged
    probes = replace(probes, texts=("hello there", "what is this"))
    found = [
        run_search(model, tokenizer, probes, SearchSettings(budget=60, neutral=neutral))
        for neutral in (None, 1500)
    ]
    ends = [[*events][-1] for events in found]
    assert ends[0].flips == ends[1].flips and ends[0].evaluations == ends[1].evaluations
