"""Generations in one batch against each of them alone: the same model, patched, one text at a time."""

import random
from itertools import count

import numpy as np
import pytest
import torch
from builders import LLAMA, build_tiny_gguf
from hypothesis import given, settings
from hypothesis import strategies as st
from wide import CANDIDATES, WIDE

from bankai.errors import RowRangeError, StateError, UnknownTensorError, UnsupportedModelError
from bankai.model import Linear, ModelMatrices, load, patched
from bankai.patch import Flip, Patch, fingerprint
from bankai.patch.binding import digest
from bankai.quantization import quantization
from bankai.serving.engine import Generation
from bankai.serving.engines import torch_engine
from bankai.serving.engines.torch_engine import TorchEngine

BASE = Patch()
# Float32 sums of a batch are taken in another order than those of one text; logits are of some ten.
CLOSE = {"atol": 2e-4, "rtol": 0}


@pytest.fixture(scope="module")
def nano():
    return load("nano", dense=True)[0]


@pytest.fixture(scope="module", params=[False, True], ids=["untied", "tied"])
def wide(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("wide") / "wide.gguf"
    return load(build_tiny_gguf(path, seed=3, tie_word_embeddings=request.param, **WIDE))[0]


@torch.no_grad()
def alone(model, generation, tokens):
    """Logits [tokens, vocabulary] of plain greedy decoding with the patch on."""
    found, cache, ids = [], None, torch.tensor([generation.prompt])
    with patched(model, generation.patch, unbound=True):
        for _ in range(tokens):
            output = model(input_ids=ids, past_key_values=cache, use_cache=True)
            cache = output.past_key_values
            found.append(output.logits[0, -1].float().numpy())
            ids = torch.tensor([[int(found[-1].argmax())]])
    return np.stack(found)


def random_patch(model, flips, seed, level="row"):
    """So many places of one level, anywhere in the model."""
    rng, tensors, found = random.Random(seed), ModelMatrices(model), set()
    while len(found) < flips:
        name = rng.choice(list(tensors.matrices))
        rows, columns = tensors.matrices[name].shape
        width = tensors.matrices[name].quantization.weights
        group = None if level == "row" else rng.randrange(columns // width)
        bit = rng.randrange(width) if level == "bit" else None
        found.add(Flip(name, rng.randrange(rows), group, bit))
    return Patch(frozenset(found))


def prompt(length, seed=0):
    rng = random.Random(seed)
    return tuple(rng.randrange(256) for _ in range(length))


def generations(*patches, length=5):
    """One for each patch, with prompts of their own."""
    return [Generation(prompt(length + at, at), patch, str(at)) for at, patch in enumerate(patches)]


class Schedule:
    """Generations that come and go, greedily continued; `logits` of each, step by step."""

    def __init__(self, engine):
        self.engine = engine
        self.logits = {}

    def add(self, *new):
        for generation in new:
            self.logits[generation] = []
            self.engine.add(generation)

    def step(self):
        found = self.engine.step()
        for generation, logits in found:
            self.logits[generation].append(logits)
            generation.tokens.append(int(logits.argmax()))
        return [generation for generation, _ in found]

    def run(self, tokens):
        """Until every generation has so many tokens."""
        while any(len(generation.tokens) < tokens for generation in self.logits):
            self.step()

    def check(self, model, least=1):
        """Every generation got at least so many logits, and what it gets alone."""
        for generation, logits in self.logits.items():
            assert len(logits) >= least
            expected = alone(model, generation, len(logits))
            np.testing.assert_allclose(np.stack(logits), expected, **CLOSE)
            assert generation.tokens == expected.argmax(1).tolist()


def eight_patches(model):
    rows, groups, bits = (random_patch(model, 30, 1, level) for level in ("row", "group", "bit"))
    few = [random_patch(model, 4, seed, level) for seed, level in ((2, "row"), (3, "group"), (4, "bit"))]
    return [rows, groups, bits, *few, rows ^ groups, rows ^ bits ^ few[0]]


@pytest.mark.parametrize("seed", [0, 1])
def test_sixty_four_texts_of_eight_patches_and_base_in_random_order(nano, seed):
    rng, patches = random.Random(seed), [BASE, *eight_patches(nano)]
    waiting = []
    for at in range(64):
        key = at % len(patches)
        waiting.append(Generation(prompt(rng.choice([1, 3, 9, 40]), at), patches[key], str(key)))
    rng.shuffle(waiting)
    wanted = {generation: rng.choice([1, 2, 5, 12]) for generation in waiting}
    engine = TorchEngine(nano, places=7)
    schedule, here = Schedule(engine), []
    while waiting or here:
        for _ in range(min(rng.randrange(4), len(waiting), engine.places - len(here))):
            here.append(waiting.pop())
            schedule.add(here[-1])
        for generation in schedule.step():
            if len(generation.tokens) == wanted[generation]:
                engine.remove(generation)
                here.remove(generation)
    assert {generation: len(logits) for generation, logits in schedule.logits.items()} == wanted
    schedule.check(nano)
    assert len({tuple(generation.tokens) for generation in wanted}) > 20  # they are not all the same


@settings(max_examples=12)
@given(CANDIDATES, st.lists(st.integers(0, 5), min_size=4, max_size=14), st.integers(1, 9))
def test_texts_join_and_leave_between_any_steps(wide, candidates, schedule_of, share):
    """`schedule_of`: 0 and 1 add a text, 2 removes one, others only step."""
    schedule = Schedule(engine := TorchEngine(wide, places=3))
    here, numbers = [], count()
    for what in (0, *schedule_of):
        if what < 2 and len(here) < engine.places:
            at = next(numbers)
            patch = Patch(frozenset(candidates[at % len(candidates)]))
            here.append(Generation(prompt(1 + 3 * at, at), patch, str(at % len(candidates))))
            schedule.add(here[-1])
        elif what == 2 and here:
            engine.remove(here.pop(share % len(here)))
        stepped = schedule.step()
        assert len(stepped) == len(here) and set(stepped) == set(here)
    for generation in [generation for generation in schedule.logits if not generation.tokens]:
        del schedule.logits[generation]
    schedule.check(wide)


LEVELS = {"row": (None, None), "group": (1, None), "bit": (0, 33)}


@pytest.mark.parametrize("level", LEVELS)
def test_flips_of_the_embedding_and_the_head(wide, level):
    """Tied, the head is the embedding: a flip changes both."""
    group, bit = LEVELS[level]
    names = {"model.embed_tokens", "lm_head"} & set(ModelMatrices(wide).matrices)
    patches = [
        Patch(frozenset(Flip(name, row, group, bit) for row in range(first, 256, 3)))
        for name in sorted(names)
        for first in (0, 1)
    ]
    schedule = Schedule(TorchEngine(wide))
    schedule.add(*generations(BASE, *patches))
    schedule.run(6)
    schedule.check(wide, 6)
    base, changed = (schedule.logits[generation][0] for generation in list(schedule.logits)[:2])
    assert np.abs(base - changed).max() > 1e-2


def test_long_prompts_are_read_in_parts_once_while_others_go_on(nano, monkeypatch):
    monkeypatch.setattr(torch_engine, "_READ", 16)
    rows = random_patch(nano, 30, 5)
    groups = random_patch(nano, 30, 6, "group")
    short = Generation(prompt(4, 1), rows, "rows")
    long = [Generation(prompt(70, 2), rows, "rows"), Generation(prompt(45, 3), groups, "groups")]
    schedule, computed = Schedule(TorchEngine(nano)), []
    hook = nano.model.embed_tokens.register_forward_hook(lambda *call: computed.append(len(call[-1])))
    try:
        schedule.add(short)
        assert schedule.step() == [short]
        schedule.add(*long)
        steps = [schedule.step() for _ in range(9)]
    finally:
        hook.remove()
    # 8 tokens of each in a step until one is read, then all 16 are for the other.
    assert [len(found) for found in steps] == [1, 1, 1, 1, 1, 2, 2, 3, 3]
    assert steps[-1] == [short, long[1], long[0]]
    assert sum(computed) == sum(len(generation.ids) - 1 for generation in schedule.logits)
    assert max(computed) <= 16 + 2
    schedule.check(nano, 2)


@torch.no_grad()
def test_logits_of_prompts_are_those_of_a_plain_forward(nano, monkeypatch):
    """Each prompt's own, in order, whatever its patch and however long; others are read and run beside them."""
    monkeypatch.setattr(torch_engine, "_READ", 24)
    monkeypatch.setattr(torch_engine, "_SCORED", 9)
    engine = TorchEngine(nano, places=16)
    schedule = Schedule(engine)
    plain = generations(*eight_patches(nano)[:2], BASE, length=3)
    schedule.add(*plain)
    schedule.step()
    told = [
        Generation(prompt(length, length), patch, f"read {length}", read=[])
        for length, patch in zip((1, 2, 9, 10, 40), (*eight_patches(nano)[:4], BASE), strict=True)
    ]
    schedule.add(*told)
    most = 0
    while any(len(one.tokens) < 3 for one in told):
        schedule.step()
        most = max(most, *(sum(map(len, one.read[-1:])) for one in told))
    assert most == 9, "a step tells no more of a prompt"
    schedule.check(nano, least=3)
    assert all(one.read is None for one in plain)
    for one in told:
        with patched(nano, one.patch, unbound=True):
            expected = nano(input_ids=torch.tensor([one.prompt])).logits[0, :-1].numpy()
        np.testing.assert_allclose(np.concatenate(one.read), expected, **CLOSE)


def test_a_text_may_leave_while_it_is_read(nano, monkeypatch):
    monkeypatch.setattr(torch_engine, "_READ", 8)
    leaving, staying = generations(random_patch(nano, 9, 1), random_patch(nano, 9, 2), length=40)
    engine = TorchEngine(nano, places=2)
    schedule = Schedule(engine)
    schedule.add(leaving, staying)
    assert schedule.step() == schedule.step() == []
    engine.remove(leaving)
    del schedule.logits[leaving]
    schedule.run(3)
    schedule.check(nano, 3)


def test_row_versions_are_made_anew_only_for_another_set(nano, monkeypatch):
    made, merge = [], torch_engine.merged
    monkeypatch.setattr(torch_engine, "merged", lambda patches: made.append(len(patches)) or merge(patches))
    schedule = Schedule(engine := TorchEngine(nano))
    first, second, third = generations(*[random_patch(nano, 9, seed) for seed in range(3)])
    schedule.add(first, second)
    schedule.run(5)
    schedule.add(third)
    schedule.run(6)
    engine.remove(first)
    schedule.step()
    schedule.step()
    assert made == [0, 2, 3, 2]  # none runs while the first prompts are read


def test_what_is_no_number_stays_with_its_text(nano_with_infinity):
    """Token 9 has infinite weights there: a text that holds it has no logits, whatever else runs."""
    model = nano_with_infinity
    rows = random_patch(model, 20, 3)
    bad = [Generation((9, 3, 9), BASE, "base"), Generation((*prompt(8), 9), rows, "rows")]
    good = [Generation(prompt(6, 1), rows, "rows"), Generation(prompt(3, 2), BASE, "base")]
    engine = TorchEngine(model, places=4)
    schedule = Schedule(engine)
    schedule.add(bad[0], good[0], bad[1])
    for _ in range(3):
        schedule.step()
    assert not any(np.isfinite(logits).all() for one in bad for logits in schedule.logits[one])
    engine.remove(bad[1])  # the longest prompt, so the last row
    engine.remove(bad[0])
    later = Generation(prompt(1, 4), rows, "rows")
    schedule.add(good[1], later)  # shorter than those, and in their rows
    for one in bad:
        del schedule.logits[one]
    schedule.run(5)
    schedule.check(model, 5)


@pytest.fixture
def nano_with_infinity():
    model = load("nano")[0]
    model.model.embed_tokens.matrix.scales[9] = torch.inf
    return model


def test_a_step_that_fails_changes_nothing(nano):
    schedule = Schedule(engine := TorchEngine(nano))
    first, second, third = generations(*[random_patch(nano, 9, seed) for seed in range(3)])
    schedule.add(first, second)
    schedule.step()
    schedule.add(third)

    def fail(module, inputs):
        raise RuntimeError("out of memory")

    hook = nano.model.norm.register_forward_pre_hook(fail)  # keys and values of all layers are written then
    with pytest.raises(RuntimeError, match="out of memory"):
        engine.step()
    engine.remove(first)
    with pytest.raises(RuntimeError, match="out of memory"):
        engine.step()
    hook.remove()
    schedule.step()
    schedule.step()
    schedule.check(nano)
    assert [len(logits) for logits in schedule.logits.values()] == [1, 3, 2]


def test_the_model_is_left_as_it_was(nano):
    tensors = ModelMatrices(nano)
    patches = eight_patches(nano)
    places = [flip for patch in patches for flip in patch.flips]
    before = fingerprint(tensors), digest(tensors, places), nano.lm_head.weight.clone()
    engine = TorchEngine(nano)
    schedule = Schedule(engine)
    schedule.add(*generations(*patches))
    schedule.run(2)
    versions = {module.versions for module in nano.modules() if isinstance(module, Linear)}
    assert versions == {None}
    engine.close()
    engine.close()
    assert engine.step() == []
    assert before[:2] == (fingerprint(tensors), digest(tensors, places))
    assert torch.equal(before[2], nano.lm_head.weight)


def test_the_default_context_is_what_there_is_memory_for(nano, monkeypatch):
    token = 2 * 4 * 2 * 64 * 4  # key and value of 4 layers, 2 heads of 64 numbers of 4 bytes
    monkeypatch.setattr(torch_engine, "_BYTES", 3 * 40 * token)
    engine = TorchEngine(nano, places=3)
    assert (engine.context, TorchEngine(nano, places=2, context=100).context) == (40, 100)
    schedule = Schedule(engine)
    schedule.add(*generations(*[random_patch(nano, 5, seed) for seed in range(3)], length=30))
    schedule.run(8)
    schedule.check(nano, 8)
    assert engine._memory.layer(0)[0].shape == (3, 2, 40, 64)


def test_bounds(nano):
    engine = TorchEngine(nano, places=2, context=9)
    assert (engine.places, engine.context, engine.vocabulary) == (2, 9, 512)
    assert TorchEngine(nano).context == TorchEngine(nano, context=9999).context == 512
    with pytest.raises(ValueError, match="at least one place"):
        TorchEngine(nano, places=0)
    for length in (0, 9):
        with pytest.raises(ValueError, match=f"has {length} tokens; give at least 1 and less than 9"):
            engine.add(Generation(prompt(length), BASE, ""))
    first, second, third = (Generation(prompt(8, at), BASE, "") for at in range(3))
    engine.add(first)
    engine.add(second)
    with pytest.raises(ValueError, match="2 places are taken"):
        engine.add(third)
    engine.remove(third)  # not there: nothing happens
    assert [generation for generation, _ in engine.step()] == [first, second]
    with pytest.raises(StateError, match="has not got its one token"):
        engine.step()
    first.tokens += [1]
    second.tokens += [1]
    engine.step()
    first.tokens += [1]
    engine.remove(second)
    with pytest.raises(StateError, match="fills the context of 9"):
        engine.step()
    engine.remove(first)
    engine.add(third)
    assert [generation for generation, _ in engine.step()] == [third]


@pytest.mark.parametrize(
    ("flip", "error"),
    [
        (Flip("model.layers.9.mlp.up_proj", 0), UnknownTensorError),
        (Flip("model.layers.0.mlp.up_proj", 512), RowRangeError),
        (Flip("model.layers.0.mlp.up_proj", 0, 2), RowRangeError),
    ],
)
def test_a_patch_of_another_model_is_refused(nano, flip, error):
    schedule = Schedule(engine := TorchEngine(nano, places=1))
    with pytest.raises(error, match="use the model that the patch was made for"):
        engine.add(Generation(prompt(3), Patch(frozenset([flip])), "foreign"))
    schedule.add(*generations(BASE))
    schedule.run(2)
    schedule.check(nano)


def test_patches_of_one_key_are_made_ready_once_and_forgotten_in_time(nano, monkeypatch):
    made, make = [], torch_engine.patch_rows
    monkeypatch.setattr(torch_engine, "patch_rows", lambda model, flips: made.append(1) or make(model, flips))
    monkeypatch.setattr(torch_engine, "_READY", 2)
    engine = TorchEngine(nano)
    for key in "aabbaacab":  # c drives out b
        generation = Generation(prompt(3), BASE, key)
        engine.add(generation)
        engine.remove(generation)
    assert len(made) == 4


def test_bfloat16(nano):
    model = load("nano", dense=True, dtype="bfloat16")[0]
    schedule = Schedule(TorchEngine(model))
    schedule.add(*generations(BASE, *eight_patches(model)))
    schedule.step()
    for generation, logits in schedule.logits.items():
        # 8 bits of every number, through four layers; logits are of some ten.
        np.testing.assert_allclose(logits[0], alone(model, generation, 1)[0], atol=0.5)
        np.testing.assert_allclose(logits[0], alone(nano, generation, 1)[0], atol=0.5)


def test_a_hybrid_is_refused(hybrid_gguf):
    with pytest.raises(
        UnsupportedModelError, match="not computed yet for models of type qwen3_5_text; use --engine llama"
    ):
        TorchEngine(load(hybrid_gguf)[0])


@pytest.mark.parametrize("kind", ["F32", "Q4_0", "Q4_1", "Q8_0"])
def test_other_models_are_served_as_well(tmp_path, kind):
    """Texts of several patches in one step, on a Llama whose matrices are not of 1 bit."""
    model = load(build_tiny_gguf(tmp_path / "m.gguf", kind=kind, **LLAMA))[0]
    levels = ["row", "group"] + ["bit"] * quantization(kind).own_signs
    schedule = Schedule(TorchEngine(model))
    schedule.add(*generations(BASE, *(random_patch(model, 20, 1, level) for level in levels)))
    schedule.run(6)
    schedule.check(model, 6)
    assert len({tuple(generation.tokens) for generation in schedule.logits}) > 1
