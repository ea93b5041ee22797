"""Generations with a patch each on stock llama.cpp: each gets what it would get alone, bit for bit."""

import dataclasses
import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from builders import LLAMA, build_tiny_gguf
from hybrid import HYBRID

from bankai.checkpoint.convert import convert
from bankai.checkpoint.model_file import builtin_models, open_checkpoint
from bankai.checkpoint.synth import SHAPES, synth_config, synthesize
from bankai.errors import (
    EngineError,
    PlaceError,
    StateError,
    StoreError,
    UnsupportedModelError,
    WrongBaseError,
)
from bankai.patch import Flip, Patch, bind
from bankai.patching import apply_patch
from bankai.patching.edits import edits
from bankai.serving.engine import Generation

pytestmark = pytest.mark.engines

BASE = Patch.empty()
NANO = builtin_models()["nano"]


def random_patch(model: Path, count: int, seed: int, ends: Sequence[str] = ("_proj",)) -> Patch:
    """Bound; rows, and some groups and bits."""
    rng = random.Random(seed)
    with open_checkpoint(model) as checkpoint:
        names = [name for name in checkpoint.matrices if name.endswith(tuple(ends))]
        flips = set()
        while len(flips) < count:
            name = rng.choice(names)
            info = checkpoint.matrices[name]
            parts: list[tuple[int, ...]] = [(), (), (rng.randrange(info.groups),)]
            if info.quantization.own_signs:
                parts.append((rng.randrange(info.groups), rng.randrange(info.quantization.weights)))
            part = rng.choice(parts)
            flips.add(Flip(name, rng.randrange(info.rows), *part))
        return bind(Patch(frozenset(flips)), checkpoint)


@pytest.fixture
def engine() -> Iterator[Callable]:
    """Opens engines of one thread, and closes them."""
    from bankai.serving.engines.llama_engine import LlamaEngine

    opened = []

    def open_engine(source: str | Path = "nano", **settings) -> LlamaEngine:
        opened.append(LlamaEngine(source, **{"threads": 1} | settings))
        return opened[-1]

    yield open_engine
    for one in opened:
        one.close()


class Alone:
    """A fresh llama.cpp with a patched file, one prompt at a time."""

    def __init__(self, model: Path, patch: Patch, folder: Path) -> None:
        from llama_cpp import Llama

        if patch:
            name = hashlib.sha256(repr(sorted(map(repr, patch.flips))).encode()).hexdigest()[:8]
            apply_patch(model, patch, folder / f"{name}.gguf")
            model = folder / f"{name}.gguf"
        self._llama = Llama(str(model), n_ctx=1024, n_threads=1, n_threads_batch=1, verbose=False)

    def logits(self, prompt: Sequence[int], tokens: Sequence[int]) -> list[np.ndarray]:
        """After the prompt, and after each of the tokens but the last."""
        from llama_cpp import llama_get_logits_ith

        llama, found = self._llama, []
        llama.reset()
        for ids in (list(prompt), *([token] for token in tokens[:-1])):
            llama.eval(ids)
            row = llama_get_logits_ith(llama.ctx, -1)
            found.append(np.ctypeslib.as_array(row, (llama.n_vocab(),)).copy())
        return found


class Asked:
    """A generation with the logits that it got."""

    def __init__(self, prompt: Sequence[int], patch: Patch, key: str) -> None:
        self.generation = Generation(tuple(prompt), patch, key)
        self.logits: list[np.ndarray] = []


def serve(engine, waiting: Sequence[Asked], length: Callable[[Asked], int]) -> list[str]:
    """All greedily, each to its length, as places become free; the key of every step."""
    todo, busy, keys = list(waiting), {}, []
    while todo or busy:
        while todo and len(busy) < engine.places:
            one = todo.pop(0)
            engine.add(one.generation)
            busy[one.generation] = one
        found = engine.step()
        keys += {generation.key for generation, _ in found}
        for generation, logits in found:
            busy[generation].logits.append(logits)
            generation.tokens.append(int(logits.argmax()))
            if len(generation.tokens) == length(busy[generation]):
                engine.remove(busy.pop(generation).generation)
    return keys


def assert_alone(asked: Sequence[Asked], alone: dict[str, Alone]) -> None:
    """The same bits, so the same text."""
    for one in asked:
        generation = one.generation
        expected = alone[generation.key].logits(generation.prompt, generation.tokens)
        assert len(one.logits) == len(expected)
        assert all(np.array_equal(got, wanted) for got, wanted in zip(one.logits, expected, strict=True))


def prompts(rng: random.Random, count: int, longest: int = 60) -> list[list[int]]:
    """Half of them begin alike."""
    begin = [rng.randrange(500) for _ in range(30)]
    drawn = [[rng.randrange(500) for _ in range(rng.randint(1, longest))] for _ in range(count)]
    return [begin[: rng.randint(1, 30)] + one if rng.random() < 0.5 else one for one in drawn]


def test_64_texts_over_8_patches_and_base_each_as_if_alone(engine, tmp_path) -> None:
    rng = random.Random(0)
    patches = {"base": BASE} | {f"p{seed}": random_patch(NANO, 60, seed) for seed in range(7)}
    shared = dict.fromkeys(list(patches["p0"].flips)[:30] + list(patches["p1"].flips)[:30])
    with open_checkpoint("nano") as checkpoint:
        patches["meets two others"] = bind(Patch(frozenset(shared)), checkpoint)
    keys = [*patches, *rng.choices(list(patches), k=64 - len(patches))]
    rng.shuffle(keys)
    asked = [Asked(ids, patches[key], key) for ids, key in zip(prompts(rng, 64), keys, strict=True)]
    served = engine(folder=tmp_path)
    serve(served, asked, lambda one: 1 + len(one.generation.prompt) % 24)
    assert list(tmp_path.iterdir()) == []
    assert_alone(asked, {key: Alone(NANO, patch, tmp_path) for key, patch in patches.items()})
    texts = {(one.generation.key, *one.generation.tokens) for one in asked}
    assert len({text[1:] for text in texts if len(text) > 8}) > 9  # the patches are heard


@pytest.mark.parametrize("kind", ["F16", "Q4_0", "Q4_1", "Q8_0"])
def test_swaps_arrive_whatever_the_type(engine, tmp_path, kind) -> None:
    """llama.cpp would pack the weights of some types anew for its fastest kernels, out of our reach."""
    model = build_tiny_gguf(tmp_path / "m.gguf", kind=kind, **LLAMA)
    patches = {"base": BASE} | {f"p{seed}": random_patch(model, 30, seed) for seed in range(2)}
    asked = [Asked(ids, patches[key], key) for key in patches for ids in ([1, 2, 3], [7] * 20)]
    serve(engine(model), asked, lambda one: 5)
    for one in asked:
        key, generation = one.generation.key, one.generation
        path = tmp_path / f"{key}.gguf"
        if not path.exists():
            apply_patch(model, patches[key], path) if patches[key] else shutil.copy(model, path)
        fresh = Asked(generation.prompt, BASE, "base")
        serve(engine(path), [fresh], lambda one: 5)
        # Floats have kernels of their own for several texts at once, which add up in another order.
        close = 1e-3 if kind == "F16" else 0
        np.testing.assert_allclose(np.stack(one.logits), np.stack(fresh.logits), rtol=0, atol=close)
    assert np.abs(asked[0].logits[0] - asked[2].logits[0]).max() > 1e-2


def test_long_prompts_of_the_shape_of_bonsai_that_begin_alike(engine, tmp_path) -> None:
    """Over the ends of llama.cpp's batches; its kernels for one token and for several differ in this shape."""
    model = synthesize(tmp_path / "tiny.gguf", "tiny")
    patches = {"base": BASE, "patch": random_patch(model, 40, 0)}
    rng = random.Random(1)
    text = [rng.randrange(900) for _ in range(1000)]
    lengths = (40, 513, 513, 514, 512, 600, 511, 1000, 1, 2, 41, 600)
    asked = [
        Asked([*text[: size - 1], rng.randrange(900)], patches[key], key)
        for key in patches
        for size in lengths
    ]
    answer = Asked([], BASE, "base")
    asked.append(answer)
    served = engine(model, places=3, kept=2, context=1024)
    computed = counted(served)
    answer.generation.prompt = (*text[:100], 1, 2)
    serve(served, asked, lambda one: 6)
    follow_up = Asked((*answer.generation.ids[:-1], 3, 4, 5), BASE, "base")  # a chat's next turn
    serve(served, [follow_up], lambda one: 6)
    assert sum(computed) < sum(2 * lengths) * 0.8
    assert_alone([*asked, follow_up], {key: Alone(model, patch, tmp_path) for key, patch in patches.items()})


def counted(served) -> list[int]:
    """Fills with the sizes of the batches from now on."""
    sizes, decode = [], served._llama.decode
    served._llama.decode = lambda tokens, wanted: sizes.append(len(tokens)) or decode(tokens, wanted)
    return sizes


def test_what_was_computed_serves_the_same_key_only(engine) -> None:
    served = engine(places=2, kept=2)
    patch, text = random_patch(NANO, 20, 0), list(range(3, 33))
    computed = counted(served)
    for key, one in (("base", BASE), ("base", BASE), ("patch", patch), ("base", BASE), ("patch", patch)):
        serve(served, [Asked(text, one, key)], lambda _: 1)
    assert computed == [30, 2, 30, 2, 2]
    served.add(Generation((*text, 1), BASE, "base"))
    served.step()[0][0].tokens.append(1)
    served.add(Generation((*text, 2, 3), BASE, "base"))  # what the other one holds is copied
    served.step()
    assert computed[5:] == [2, 2, 1]


def test_nothing_is_copied_of_another_text_in_a_short_context(engine) -> None:
    served = engine(context=128, places=3, kept=0)
    copied = []
    served._llama.copy = lambda *slots: copied.append(slots)
    serve(served, [Asked([number, 1, 2], BASE, "base") for number in range(3, 8)], lambda _: 2)
    assert copied == []


def test_logits_of_prompts_are_those_of_llama_cpp(engine, tmp_path) -> None:
    """Of all tokens, though the beginning was computed before; and others find what was computed for it."""
    from llama_cpp import Llama

    served, rng = engine(places=3), random.Random(5)
    patch = random_patch(NANO, 40, 1)
    (ids,) = prompts(rng, 1, 90)
    ids = (ids * 30)[:75]
    before, after = Asked(ids, patch, "p"), Asked(ids, patch, "p")
    told = [Asked(ids, patch, "p"), Asked(ids[:1], BASE, "b"), Asked(ids[:33], BASE, "b")]
    for one in told:
        one.generation.read = []
    for asked in ([before], told, [after]):
        serve(served, asked, lambda _: 3)
    assert np.array_equal(before.logits, after.logits)
    for one in told:
        path = tmp_path / f"{one.generation.key}{len(one.generation.prompt)}.gguf"
        apply_patch(NANO, one.generation.patch, path) if one.generation.patch else shutil.copy(NANO, path)
        llama = Llama(str(path), n_ctx=512, n_threads=1, logits_all=True, verbose=False)
        llama.eval(one.generation.prompt)
        expected = llama.scores[: len(one.generation.prompt)]
        np.testing.assert_allclose(np.concatenate(one.generation.read), expected[:-1], atol=0.05)
        np.testing.assert_allclose(one.logits[0], expected[-1], atol=0.05)


def test_texts_advance_in_the_order_of_their_slots(engine) -> None:
    served, batches = engine(places=4, kept=0), []
    decode = served._llama.decode
    served._llama.decode = lambda tokens, wanted: batches.append(tokens) or decode(tokens, wanted)
    asked = [Asked([number, 1, 2], BASE, "base") for number in range(3, 13)]
    serve(served, asked, lambda one: one.generation.prompt[0])
    slots = [[slot for slot, _, _ in batch] for batch in batches if len({slot for slot, _, _ in batch}) > 1]
    assert [0, 1, 2, 3] in slots
    assert slots == [sorted(one) for one in slots]


def test_a_turn_is_a_few_steps_and_nobody_starves(engine) -> None:
    served = engine(places=12, turn=3)
    patches = {"base": BASE} | {f"p{seed}": random_patch(NANO, 10, seed) for seed in range(3)}
    asked = [Asked([1, 2, 3], patch, key) for key, patch in patches.items() for _ in range(3)]
    keys = serve(served, asked, lambda one: 30)
    assert keys[:13] == ["base"] * 3 + ["p0"] * 3 + ["p1"] * 3 + ["p2"] * 3 + ["base"]
    late = Asked([5, 6], patches["p0"], "p0")
    stream, steps = [Asked([7, 8, seed], BASE, "base") for seed in range(40)], 0
    served.add(late.generation)
    while not late.logits:  # base never runs dry
        for one in stream[steps : steps + 3]:
            served.add(one.generation)
        for generation, logits in served.step():
            if generation is late.generation:
                late.logits.append(logits)
            elif generation.tokens:
                served.remove(generation)
            else:
                generation.tokens.append(1)
        steps += 1
    assert steps <= 4


def test_removed_in_the_middle_frees_the_place_and_changes_no_other(engine, tmp_path) -> None:
    model = synthesize(tmp_path / "tiny.gguf", "tiny")
    served = engine(model, places=2, kept=0, context=1024)
    stays, leaves = Asked([3, 4, 5], BASE, "base"), Asked(range(900), BASE, "base")
    served.add(stays.generation)
    served.add(leaves.generation)
    with pytest.raises(ValueError, match="places"):
        served.add(Generation((1,), BASE, "base"))
    for _ in range(2):
        ((generation, logits),) = served.step()  # the long prompt is not read yet
        assert generation is stays.generation
        stays.logits.append(logits)
        generation.tokens.append(int(logits.argmax()))
    served.remove(leaves.generation)
    another = Asked([*range(45), 9], BASE, "base")  # goes on where the one that left was read to
    served.add(another.generation)
    for generation, logits in served.step():
        (stays if generation is stays.generation else another).logits.append(logits)
        generation.tokens.append(int(logits.argmax()))
    assert len(stays.logits) == 3 and len(another.logits) == 1
    assert_alone([stays, another], {"base": Alone(model, BASE, tmp_path)})


def test_bits_that_are_not_as_expected_stop_the_engine(engine) -> None:
    served = engine()
    patch = random_patch(NANO, 10, 0)
    serve(served, [Asked([1, 2], patch, "patch"), Asked([1, 2], BASE, "base")], lambda one: 2)
    weight = next(flip for flip in patch.flips if flip.bit is not None)
    (edit,) = edits(served._model.checkpoint, [weight])
    served._model._bytes[edit.offset + edit.mask.index(0)] ^= 1  # beside the weight, in its group
    served.add(Generation((1, 2), patch, "patch"))
    with pytest.raises(EngineError, match="swap of patches failed"):
        served.step()
    served.remove(next(iter(served._works["patch"])).generation)
    served.add(Generation((1, 2), BASE, "base"))
    for _ in range(2):
        with pytest.raises(EngineError, match="start again"):
            served.step()


def test_a_swap_is_compared_with_what_the_patch_says(engine) -> None:
    patch = random_patch(NANO, 10, 0)
    assert patch.binding is not None
    wrong = Patch(patch.flips, dataclasses.replace(patch.binding, after=bytes(8)))
    served = engine()
    with pytest.raises(EngineError, match="not those of the patch"):
        served._model.put_on(wrong)
    with pytest.raises(EngineError, match="start again"):
        served._model.put_on(patch)


def test_patches_and_texts_that_do_not_fit_are_refused_and_the_engine_goes_on(engine) -> None:
    served = engine(context=256)
    patch = random_patch(NANO, 10, 0)
    assert patch.binding is not None
    for changed in ("fingerprint", "before", "after"):
        other = Patch(patch.flips, dataclasses.replace(patch.binding, **{changed: bytes(8)}))
        with pytest.raises(WrongBaseError):
            served.add(Generation((1,), other, changed))
    with pytest.raises(PlaceError):
        served.add(Generation((1,), Patch.of([Flip("lm_head", 10**6)]), "no such row"))
    for prompt in ((), (1,) * 256):
        with pytest.raises(ValueError, match="tokens"):
            served.add(Generation(prompt, BASE, "base"))
    served.add(first := Generation((1,), BASE, "base"))
    with pytest.raises(ValueError, match="one key"):
        served.add(Generation((1,), patch, "base"))
    served.remove(first)
    unbound = Asked([1, 2, 3], patch.unbound(), "unbound")
    bound = Asked([1, 2, 3], patch, "bound")
    serve(served, [unbound, bound], lambda one: 3)
    assert np.array_equal(unbound.logits, bound.logits)
    full = Generation((1,) * 255, BASE, "base")
    served.add(full)
    while not served.step():
        pass
    with pytest.raises(StateError, match="append"):
        served.step()
    full.tokens.append(1)
    assert [one for one, _ in served.step()] == [full]
    full.tokens.append(1)
    with pytest.raises(StateError, match="fills the context"):
        served.step()
    for _ in range(2):
        served.remove(full)
    assert served.step() == []


def test_an_llama_that_does_not_compute_in_the_map_is_refused(engine, monkeypatch) -> None:
    import llama_cpp

    monkeypatch.setattr(llama_cpp, "LLAMA_LOAD_MODE_MMAP", llama_cpp.LLAMA_LOAD_MODE_NONE)
    with pytest.raises(UnsupportedModelError, match="mapped file"):
        engine()


def test_models_and_settings_that_do_not_work_are_refused(engine, tmp_path) -> None:
    with pytest.raises(UnsupportedModelError, match="bankai convert"):
        engine(convert(NANO, tmp_path / "mlx"))
    with pytest.raises(EngineError, match="fewer places"):
        engine(places=1000)


@pytest.mark.parametrize("shape", ["bonsai-8b", "bonsai-1.7b"])
def test_the_cache_is_bounded_where_nobody_says_what_the_context_should_be(shape) -> None:
    from bankai.serving.engines.llama_engine import _affordable

    config = synth_config(SHAPES[shape])
    context = _affordable(config, 20)
    token = 4 * config["num_hidden_layers"] * config["num_key_value_heads"] * config["head_dim"]
    assert context % 256 == 0
    assert 20 * context * token <= 2**31 < 20 * (context + 256) * token


NO_ROOM = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
from bankai.serving.engines.private_model import PrivateModel
PrivateModel("nano", sys.argv[1])
"""


def test_no_room_for_the_copy(engine, tmp_path) -> None:
    done = subprocess.run([sys.executable, "-c", NO_ROOM, str(tmp_path)], capture_output=True, text=True)
    assert done.returncode and "StoreError" in done.stderr and "TMPDIR" in done.stderr
    assert list(tmp_path.iterdir()) == []
    tmp_path.chmod(0o500)
    if not os.access(tmp_path, os.W_OK):  # as root everything is writable
        with pytest.raises(StoreError, match="make room"):
            engine(folder=tmp_path)


def open_files() -> str:
    """What this process holds, maps included."""
    listed = subprocess.run(
        ["ls", "-l", f"/proc/{os.getpid()}/fd"], capture_output=True, text=True, check=True
    )
    return listed.stdout + Path("/proc/self/maps").read_text()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_closed_it_holds_nothing(engine, tmp_path) -> None:
    served = engine(folder=tmp_path)
    serve(served, [Asked([1, 2], random_patch(NANO, 10, 0), "patch")], lambda one: 2)
    assert open_files().count(str(tmp_path)) >= 3  # the file, our maps and llama.cpp's
    served.close()
    served.close()
    assert str(tmp_path) not in open_files()


SWAPPING = """
import sys
from bankai.patch import read_patch
from bankai.serving.engine import Generation
from bankai.serving.engines.llama_engine import LlamaEngine
from bankai.patch import Patch
engine = LlamaEngine(sys.argv[1], folder=sys.argv[2], threads=1, turn=1)
for key, patch in (("base", Patch.empty()), ("patch", read_patch(sys.argv[3]))):
    engine.add(Generation((1, 2, 3), patch, key))
engine.step()[0][0].tokens.append(1)
print("serving", flush=True)
while True:
    engine._model.put_on(patch)
    engine._model.put_on(Patch.empty())
"""


def test_killed_in_the_middle_of_swapping_it_leaves_nothing(tmp_path) -> None:
    from bankai.patch import write_patch

    model, folder = tmp_path / "nano.gguf", tmp_path / "copies"
    model.write_bytes(NANO.read_bytes())
    folder.mkdir()
    write_patch(random_patch(model, 60, 0), tmp_path / "p.bankai")
    before = sorted(tmp_path.iterdir())
    for _ in range(3):
        child = subprocess.Popen(
            [sys.executable, "-c", SWAPPING, str(model), str(folder), str(tmp_path / "p.bankai")],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert child.stdout is not None
        assert child.stdout.readline() == "serving\n"
        assert list(folder.iterdir()) == []
        time.sleep(0.02)
        child.kill()
        assert child.wait() == -signal.SIGKILL
        child.stdout.close()
    assert model.read_bytes() == NANO.read_bytes()
    assert list(folder.iterdir()) == []
    assert sorted(tmp_path.iterdir()) == before


LINEAR = ("in_proj_qkv", "in_proj_z", "in_proj_b", "in_proj_a")


def test_texts_over_patches_of_a_hybrid_each_as_if_alone(engine, hybrid_gguf, tmp_path) -> None:
    rng = random.Random(0)
    patches = {"base": BASE} | {
        f"p{seed}": random_patch(hybrid_gguf, 40, seed, ("_proj", *LINEAR)) for seed in range(3)
    }
    served = engine(hybrid_gguf, folder=tmp_path, places=6)
    keys = rng.choices(
        list(patches), k=24
    )  # every place more than once: nothing of a text is left to the next
    ids = [[token % served.vocabulary for token in prompt] for prompt in prompts(rng, 24, 150)]
    asked = [Asked(prompt, patches[key], key) for prompt, key in zip([*ids[:23], ids[0]], keys, strict=True)]
    serve(served, asked, lambda one: 1 + len(one.generation.prompt) % 12)
    assert_alone(asked, {key: Alone(hybrid_gguf, patch, tmp_path) for key, patch in patches.items()})
    assert len({tuple(one.generation.tokens) for one in asked if len(one.generation.tokens) > 4}) > 4


@pytest.mark.parametrize("interval", [1, 5])
def test_a_hybrid_with_layers_of_one_kind_is_refused_before_it_is_copied(engine, tmp_path, interval) -> None:
    path = build_tiny_gguf(tmp_path / "one.gguf", **HYBRID | {"full_attention_interval": interval})
    with pytest.raises(UnsupportedModelError, match="layers of one kind.* `bankai generate`"):
        engine(path, folder=tmp_path / "none")


def test_only_layers_with_full_attention_have_a_cache() -> None:
    from bankai.serving.engines.llama_engine import _affordable

    config = synth_config(SHAPES["bonsai-27b"])
    context = _affordable(config, 16)
    token = 4 * 16 * config["num_key_value_heads"] * config["head_dim"]  # 16 of 64 layers
    assert 16 * context * token <= 2**31 < 16 * (context + 256) * token
