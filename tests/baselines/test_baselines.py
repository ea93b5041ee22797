"""What each baseline does, checked on changes whose effect is known; training only has to raise its own fitness."""

from contextlib import contextmanager
from dataclasses import replace
from math import ceil

import pytest
import torch

from bankai.baselines import (
    BASELINES,
    FewShot,
    Lora,
    NormEdit,
    PatchBaseline,
    RowGains,
    ScaleEdit,
    Steering,
    choose_examples,
    compare_baselines,
    find_steering,
    measure,
    train_gains,
    train_lora,
    train_norms,
    train_scales,
)
from bankai.baselines.steering import steering_vectors
from bankai.errors import UnknownTensorError
from bankai.evaluation import compare, score_probes
from bankai.model import ModelMatrices, load, patched
from bankai.model.generation import stream
from bankai.patch import Flip, Patch
from bankai.patch.codec import encode
from bankai.probes import Message, Probe
from bankai.quantization.one_bit import scales_of
from bankai.search import Problem, SearchProbes, SearchSettings
from bankai.search.training import TrainingFitness

PENALTY, DRIFT = SearchSettings().penalty, SearchSettings().drift
UP = "model.layers.1.mlp.up_proj"
IDS = torch.tensor([[40, 41, 42, 43, 260, 270]])
IN_LAYER = ("input_layernorm", "self_attn.q_norm", "self_attn.k_norm", "post_attention_layernorm")
NORMS = {f"model.layers.{layer}.{path}" for layer in range(2) for path in IN_LAYER} | {"model.norm"}
WEIGHTS = 2 * (128 + 64 + 64 + 128) + 128  # of all norms


def probe(name, prompt, answer, split="target", **changes):
    return Probe(id=name, item=name, category="c", split=split, prompt=prompt, answers=(answer,), **changes)


@pytest.fixture(scope="module", params=["dense", "packed"])
def loaded(request, tiny_gguf):
    return load(tiny_gguf, dense=request.param == "dense")


@pytest.fixture(scope="module")
def tiny(tiny_gguf):
    return load(tiny_gguf, dense=True)


@pytest.fixture(scope="module")
def probes():
    return SearchProbes(
        targets=tuple(probe(f"t{n}", f"the number {n} is", " 7") for n in range(6)),
        controls=tuple(probe(f"c{n}", f"what is {n} to", " the", "control") for n in range(4)),
        validation=tuple(probe(f"v{n}", f"the number 1{n} is", " 7", "validation") for n in range(3)),
    )


@pytest.fixture(scope="module")
def heldout():
    return [probe(f"h{n}", f"the number 2{n} is", " 7", "heldout") for n in range(4)]


@torch.no_grad()
def logits(model):
    return model(IDS).logits


def undone(model, baseline, same=torch.equal):
    """Whether the baseline leaves no trace, whatever happens inside; and its logits while on."""
    before = logits(model)
    with baseline.on(model):
        during = logits(model)
    with pytest.raises(ZeroDivisionError), baseline.on(model):
        raise ZeroDivisionError
    return same(before, logits(model)), during


def test_a_lora_of_a_row_flip_does_what_the_flip_does(loaded):
    model, _ = loaded
    weight, row = ModelMatrices(model).matrix(UP), 5
    down = torch.zeros(weight.shape[0], 1)
    down[row] = -2
    lora = Lora({UP: (weight.expand()[row : row + 1].clone(), down)})
    trace, during = undone(model, lora)
    with patched(model, Patch.of([Flip(UP, row)]), unbound=True):
        flipped = logits(model)
    assert trace and not torch.equal(flipped, logits(model))
    assert torch.allclose(during, flipped, atol=1e-5)  # -2 (w x) beside w x is rounded
    assert lora.bytes == 2 * (128 + 256)


def test_a_negated_scale_is_a_group_flip(loaded):
    model, _ = loaded
    name = "model.layers.0.mlp.down_proj"
    scales, same = (torch.tensor(scales_of(ModelMatrices(model).packed(one).blocks)) for one in (name, UP))
    scales[7, 1] *= -1
    edit = ScaleEdit.of(model, {name: scales, UP: same})
    trace, during = undone(model, edit)
    with patched(model, Patch.of([Flip(name, 7, 1)]), unbound=True):
        flipped = logits(model)
    assert trace and torch.equal(during, flipped) and not torch.equal(during, logits(model))
    assert edit.changed == 1 and list(edit.scales) == [name]
    assert edit.bytes == 2 + 128 * 2 // 8


@contextmanager
def weights_times(model, factors, centered=()):
    """Norm weights multiplied in place; those kept as their distance from 1 are named by their ends."""
    before = {name: model.get_submodule(name).weight.clone() for name in factors}
    for name, factor in factors.items():
        shift = float(name.endswith(centered)) if centered else 0.0
        model.get_submodule(name).weight.copy_((before[name] + shift) * factor - shift)
    try:
        yield
    finally:
        for name, weight in before.items():
            model.get_submodule(name).weight.copy_(weight)


def test_a_norm_edit_is_other_norm_weights(loaded):
    model, _ = loaded
    factors = {name: torch.ones_like(model.get_submodule(name).weight) for name in NORMS}
    for name in NORMS:
        factors[name][3] = 2.0  # exact in any order
    trace, during = undone(model, edit := NormEdit(factors))
    with torch.no_grad(), weights_times(model, factors):
        expected = logits(model)
    assert trace and torch.equal(during, expected) and not torch.equal(during, logits(model))
    assert edit.changed == 9 and edit.bytes == 2 * 9 + ceil(9 * 10 / 8)  # one of 896 is told in 10 bits


def test_norms_of_a_hybrid(hybrid_gguf, probes):
    model, tokenizer = load(hybrid_gguf, dense=True)
    every = train_norms(model, tokenizer, probes, steps=0).factors
    ends = [name.partition(".layers.")[2][2:] for name in every]
    assert len(ends) == 15 and all(ends.count(path) == 2 for path in (*IN_LAYER[1:3], "linear_attn.norm"))
    assert all(ends.count(path) == 4 for path in (IN_LAYER[0], IN_LAYER[3]))
    trace, during = undone(model, NormEdit({name: 2 * one for name, one in every.items()}))
    doubled = {name: torch.full_like(one, 2.0) for name, one in every.items()}
    with torch.no_grad(), weights_times(model, doubled, ("layernorm", "q_norm", "k_norm", "model.norm")):
        expected = logits(model)
    assert trace and torch.allclose(during, expected, atol=1e-4) and not torch.allclose(during, logits(model))


@pytest.mark.parametrize(
    ("changed", "bytes"),
    [
        (0, 0),
        (1, 2 + 2),
        (80, 160 + 100),
        (90, 180 + 112),
        (839, 2 * 839 + 112),
        (890, 2 * 896),
        (896, 2 * 896),
    ],
    ids=str,
)
def test_bytes_of_norms_are_the_least_that_tell_which(changed, bytes):
    factors = torch.ones(WEIGHTS)
    factors[:changed] = 1.5
    parts = factors.split(128)
    edit = NormEdit({f"norm {index}": part for index, part in enumerate(parts)})
    assert (edit.changed, edit.bytes) == (changed, bytes)


def test_steering_adds_its_vector_to_the_stream(loaded):
    model, _ = loaded
    vector = torch.linspace(-1, 1, 128)
    nothing, during = undone(model, Steering(1, vector, 0.0))
    assert nothing and torch.equal(during, logits(model))
    steering = Steering(1, vector, 0.5)
    trace, during = undone(model, steering)
    with torch.no_grad():  # the second of two layers: only norm and head follow
        stream = model.model(IDS, output_hidden_states=True).hidden_states[1]
        seen = []
        handle = model.model.layers[1].register_forward_hook(lambda _, inputs, y: seen.append(y))
        model(IDS)
        handle.remove()
        expected = model.lm_head(model.model.norm(seen[0] + 0.5 * vector))
    assert trace and stream.shape == seen[0].shape and steering.bytes == 256
    assert torch.allclose(during, expected, atol=1e-6)


def test_what_the_model_has_not_is_refused(tiny):
    with pytest.raises(UnknownTensorError), Lora({"nowhere": (torch.zeros(1, 1),) * 2}).on(tiny[0]):
        pass
    with pytest.raises(UnknownTensorError), ScaleEdit({"nowhere": torch.zeros(1, 1)}, 1).on(tiny[0]):
        pass
    with pytest.raises(UnknownTensorError), NormEdit({UP: torch.ones(1)}).on(tiny[0]):
        pass
    with pytest.raises(UnknownTensorError), RowGains({"nowhere": torch.ones(1)}).on(tiny[0]):
        pass


def test_examples_stand_before_the_prompt():
    one, two = probe("a", "1 + 1 =", " 2"), probe("b", "2 + 2 =", "4", prefix=" ")
    chat = Probe(id="c", item="c", category="c", split="target", answers=("6",), prefix="It is ",
                 messages=(Message("user", "3 + 3?"),))  # fmt: skip
    shots = FewShot((one, two, chat))
    asked = shots.asked(probe("d", "5 + 5 =", " 10"))
    assert asked.prompt == "1 + 1 = 2\n2 + 2 = 4\n5 + 5 =" and asked.answers == (" 10",)
    assert shots.asked(one).prompt == "2 + 2 = 4\n1 + 1 ="  # never its own answer
    question = Probe(
        id="e", item="e", category="c", split="target", answers=("8",), messages=(Message("user", "4 + 4?"),)
    )
    said = [(message.role, message.content) for message in shots.asked(question).messages]
    assert said == [("user", "3 + 3?"), ("assistant", "It is 6"), ("user", "4 + 4?")]
    assert shots.bytes == len("1 + 1 = 22 + 2 = 43 + 3?It is 6")


def test_fitness_is_that_of_the_scores(tiny, probes):
    model, tokenizer = tiny
    training = TrainingFitness(model, tokenizer, probes)
    flips = Patch.of([Flip(UP, row) for row in range(80)])
    parts = (probes.validation, probes.controls, probes.targets)
    before = [[one.score for one in score_probes(model, tokenizer, part)] for part in parts]
    assert training.fitness() == pytest.approx(0, abs=1e-5)
    with patched(model, flips, unbound=True):
        after = [[one.score for one in score_probes(model, tokenizer, part)] for part in parts]
        found = training.fitness()
        loss = float(training.loss(1))  # fewer than a batch: all of them
    lost = sum(max(0, old - new) for old, new in zip(before[1], after[1], strict=True)) / 4
    assert lost > 0
    assert found == pytest.approx(sum(after[0]) / 3 - sum(before[0]) / 3 - PENALTY * lost, abs=1e-4)
    assert loss == pytest.approx(PENALTY * lost - (sum(after[2]) - sum(before[2])) / 6, abs=1e-4)


@pytest.mark.parametrize(
    "settings",
    [
        SearchSettings(),
        SearchSettings(gain="worst", loss="margin", penalty=2.0, drift=0.5),
        SearchSettings(gain="boundary", penalty=1.0),
    ],
    ids=lambda settings: settings.gain,
)
def test_training_is_on_the_fitness_of_a_search(tiny, probes, settings):
    """Without validation probes and with fewer than a batch the loss, what chooses and a search read the same."""
    model, tokenizer = tiny
    searched = replace(
        probes, validation=(), texts=("the number 7 is what it is",), domains=(0, 0, 1, 1, 1, 0)
    )
    searched = replace(searched, targets=(*searched.targets[:5], solved(tiny)))
    training = TrainingFitness(model, tokenizer, searched, settings=settings)
    with Problem(model, tokenizer, searched, settings) as problem:
        assert problem.objective.kept.sum() == 1
        problem.move_to(Flip(UP, row) for row in range(80))
        assert training.fitness() == pytest.approx(problem.fitness, rel=1e-3)
        assert float(training.loss(1)) == pytest.approx(-problem.fitness, rel=1e-3)


def test_the_loss_has_the_slope_of_the_fitness(tiny, probes):
    model, tokenizer = tiny
    searched = replace(probes, validation=(), texts=("the number 7 is what it is",))
    training = TrainingFitness(
        model, tokenizer, searched, settings=SearchSettings(gain="boundary", drift=50.0)
    )
    a = torch.randn(1, 128, generator=torch.Generator().manual_seed(0)) / 128**0.5
    factors = {UP: (a, torch.full((256, 1), 0.1))}
    with Lora(factors).on(model):
        down = factors[UP][1].requires_grad_()
        training.loss(1).backward()
        slope, step = down.grad[:, 0], 1e-2 * down.grad / down.grad.norm()
        values = []
        for sign in (1, -1):
            with torch.no_grad():
                down += sign * step
                values.append(training.fitness())
                down -= sign * step
    assert values[0] - values[1] == pytest.approx(-2e-2 * float(slope.norm()), rel=0.05)


def test_drift_is_that_of_a_search(tiny, probes):
    model, tokenizer = tiny
    texts = ("the number 7 is what it is, and so on to the end of the text", "what is the end of it")
    with_texts = replace(probes, texts=texts)
    plain, training = TrainingFitness(model, tokenizer, probes), TrainingFitness(model, tokenizer, with_texts)
    assert training.fitness() == pytest.approx(plain.fitness(), abs=1e-6)
    with Problem(model, tokenizer, with_texts, SearchSettings()) as problem:
        problem.toggle(Flip(UP, row) for row in range(80))
        drift = float(problem.read_plainly().drift.mean())
        assert drift > 1e-4
        assert plain.fitness() - training.fitness() == pytest.approx(DRIFT * drift, rel=1e-3)
        assert float(training.loss(1) - plain.loss(1)) == pytest.approx(
            DRIFT * drift, rel=1e-3
        )  # fewer than a batch


def test_drift_stays_that_from_the_base_when_the_last_norm_changes(tiny, probes):
    model, tokenizer = tiny
    text = "the number 7 is what it is, and so on to the end of the text"
    ids = torch.tensor([tokenizer(text)["input_ids"]])
    plain = TrainingFitness(model, tokenizer, probes)
    training = TrainingFitness(model, tokenizer, replace(probes, texts=(text,)))
    edit = NormEdit({"model.norm": torch.linspace(0.5, 2.0, 128)})
    base = log_probs(model, ids)
    with edit.on(model):
        now = log_probs(model, ids)
        lost = plain.fitness() - training.fitness()
    drift = float((base.exp() * (base - now)).sum(-1).mean())
    assert drift > 1e-2 and lost == pytest.approx(DRIFT * drift, rel=1e-3)


@torch.no_grad()
def log_probs(model, ids):
    """Of every token but the first: [tokens, vocabulary]."""
    return model(ids).logits[0, :-1].log_softmax(-1)


def norm_sizes(tiny, probes):
    """Root mean squares of each output of each norm over the tokens of probes: [width] by name."""
    model, tokenizer = tiny
    seen = {name: [] for name in NORMS}
    handles = [
        model.get_submodule(name).register_forward_hook(
            lambda _, inputs, y, found=found: found.extend(y.reshape(-1, y.shape[-1]))
        )
        for name, found in seen.items()
    ]
    score_probes(model, tokenizer, probes)
    for handle in handles:
        handle.remove()
    return {name: torch.stack(found).square().mean(0).sqrt() for name, found in seen.items()}


def test_a_count_keeps_the_norm_weights_that_changed_most(tiny, probes):
    model, tokenizer = tiny
    before = logits(model)
    training = TrainingFitness(model, tokenizer, probes)
    every, some, none = (
        train_norms(model, tokenizer, probes, count=count, steps=12, rate=0.02) for count in (None, 20, 0)
    )
    assert set(every.factors) == set(some.factors) == NORMS and every.changed > WEIGHTS // 2
    assert some.changed == 20 and some.bytes == 2 * 20 + 20 * 10 // 8
    sizes = norm_sizes(tiny, [*probes.validation, *probes.controls])
    moved = torch.cat([(factor - 1).abs() * sizes[name] for name, factor in every.factors.items()])
    kept = torch.cat([*some.factors.values()]) != 1
    assert moved[kept].sum() >= 0.999 * moved.topk(20).values.sum()  # some lie close together
    for edit in (every, some):
        assert all(torch.equal(one, one.half().float()) for one in edit.factors.values())
    with some.on(model):
        assert training.fitness() > 0.01
    assert (none.changed, none.bytes) == (0, 0)
    assert torch.equal(logits(model), before)
    assert train_norms(model, tokenizer, probes, count=10**6, steps=1).changed <= WEIGHTS


@pytest.mark.parametrize("train", [train_lora, train_scales, train_norms], ids=["lora", "scales", "norms"])
def test_training_raises_the_fitness_and_leaves_no_trace(tiny, probes, train):
    model, tokenizer = tiny
    before = logits(model)
    made = train(model, tokenizer, probes, steps=12, rate=0.02)
    assert torch.equal(logits(model), before)
    training = TrainingFitness(model, tokenizer, probes)
    with made.on(model):
        fitness = training.fitness()
        assert not torch.equal(logits(model), before)
    assert fitness > 0.1 and made.bytes > 0
    assert torch.equal(logits(model), before)
    nothing = train(model, tokenizer, probes, steps=0)
    with nothing.on(model):
        assert torch.equal(logits(model), before)


def test_gains_are_flips_and_doubled_rows(loaded):
    model, _ = loaded
    gate = "model.layers.0.mlp.gate_proj"
    factors = {UP: torch.ones(256), gate: torch.ones(256)}
    factors[UP][5], factors[gate][7] = -1, -1
    gains = RowGains(factors)
    trace, during = undone(model, gains)
    flips = Patch.of([Flip(UP, 5), Flip(gate, 7)])
    with patched(model, flips, unbound=True):
        assert torch.equal(logits(model), during)
    assert trace and gains.bytes == len(encode(flips, manifest=False)) + 1
    factors[UP][5] = 2
    _, doubled = undone(model, RowGains(factors))
    weight = ModelMatrices(model).matrix(UP).expand()[5:6].clone()
    beside = Lora({UP: (weight, torch.eye(256)[:, 5:6])})
    with beside.on(model), patched(model, Patch.of([Flip(gate, 7)]), unbound=True):
        assert torch.allclose(logits(model), doubled, atol=1e-5)  # w x beside w x, as above


@pytest.mark.parametrize("count", [3, 40])
def test_gains_raise_the_fitness_with_few_rows(tiny, probes, count):
    model, tokenizer = tiny
    before = logits(model)
    settings = SearchSettings(flips=count)
    made = train_gains(model, tokenizer, probes, steps=12, settings=settings)
    changed = torch.cat(list(made.factors.values()))
    assert 0 < int((changed != 1).sum()) <= count and set(changed.tolist()) <= {-1.0, 1.0, 2.0}
    training = TrainingFitness(model, tokenizer, probes, settings=settings)
    with made.on(model):
        assert training.fitness() > 0.1
    assert torch.equal(logits(model), before)
    assert train_gains(model, tokenizer, probes, steps=0).factors == {}


@torch.no_grad()
def stream_at_end(tiny, probe):
    """After the first layer, at the last token of the prompt."""
    model, tokenizer = tiny
    ids = tokenizer(probe.prompt, return_tensors="pt")["input_ids"]
    return model.model(ids, output_hidden_states=True).hidden_states[1][0, -1]


def test_steering_vectors_are_mean_differences(tiny, probes):
    model, tokenizer = tiny
    two = probes.targets[:2]
    vector = steering_vectors(model, tokenizer, SearchProbes(two))["examples"][0]
    found = [
        stream_at_end(tiny, FewShot((example,)).asked(asked)) - stream_at_end(tiny, asked)
        for example, asked in (two, two[::-1])
    ]
    assert any(torch.allclose(vector, one, atol=2e-3) for one in found)  # the seed chose one as example

    said = solved(tiny)
    vectors = steering_vectors(model, tokenizer, SearchProbes(probes.targets, controls=(said,)))
    mean = torch.stack([stream_at_end(tiny, one) for one in probes.targets]).mean(0)
    assert torch.allclose(vectors["solved"][0], stream_at_end(tiny, said) - mean, atol=2e-3)
    assert "solved" not in steering_vectors(model, tokenizer, SearchProbes(probes.targets))


def solved(tiny):
    """A probe that the model solves."""
    model, tokenizer = tiny
    return next(
        one for one in map(said_by(tiny), range(200)) if score_probes(model, tokenizer, [one])[0].solved
    )


def said_by(tiny):
    """Probes that ask for what the model says; solved where the text has the same tokens when read."""
    model, tokenizer = tiny

    def make(number):
        prompt = f"the number {number}"
        text = "".join(stream(model, tokenizer, tokenizer(prompt)["input_ids"], max_tokens=2)) or "ab"
        return probe(f"s{number}", prompt, text[0], "control", stop=text[1:] or "b")

    return make


def test_steering_is_chosen_by_fitness(tiny, probes):
    model, tokenizer = tiny
    found = find_steering(model, tokenizer, probes)
    training = TrainingFitness(model, tokenizer, probes)
    with found.on(model):
        assert (training.fitness() > 1e-6) == (found.strength > 0)
    assert find_steering(model, tokenizer, probes, strengths=()).strength == 0


def test_examples_are_chosen_by_fitness(tiny, probes):
    model, tokenizer = tiny
    chosen = choose_examples(model, tokenizer, probes)
    training = TrainingFitness(model, tokenizer, probes)
    assert (training.fitness(chosen.asked) > 0) == bool(chosen.examples)
    assert choose_examples(model, tokenizer, probes, counts=()).examples == ()
    assert set(chosen.examples) <= set(probes.targets)


def test_all_are_measured_alike(tiny, probes, heldout):
    model, tokenizer = tiny
    flips = Patch.of([Flip(UP, row) for row in range(80)])
    outcome = measure("patch", PatchBaseline(flips), model, tokenizer, {"heldout": heldout}, make_seconds=3.0)
    base = score_probes(model, tokenizer, heldout)
    with patched(model, flips, unbound=True):
        changed = score_probes(model, tokenizer, heldout)
    assert outcome.sets == {"heldout": compare(base, changed, heldout)}
    assert (outcome.name, outcome.make_seconds) == ("patch", 3.0)
    assert outcome.bytes == len(encode(flips, manifest=False))
    assert outcome.swap_seconds > 0 and outcome.tokens_per_second > 0
    steps = []
    sets = {"heldout": heldout, "unseen": probes.controls}
    outcomes = compare_baselines(
        model, tokenizer, probes, sets, steps=2, listen=lambda *step: steps.append(step)
    )
    assert [one.name for one in outcomes] == list(BASELINES)
    assert all(list(one.sets) == ["heldout", "unseen"] for one in outcomes)
    assert steps[-1] == ("baselines", 11, 11)
    assert len({one.bytes for one in outcomes[:4]}) == 4 and outcomes[0].bytes * 8 == outcomes[3].bytes
    assert score_probes(model, tokenizer, heldout) == base
