"""A patch as a LoRA on a running llama.cpp whose file no longer reaches its weights."""

from pathlib import Path

import numpy as np
import pytest
from wide import SHAPES, name

from bankai.checkpoint.lora import write_gguf_lora
from bankai.checkpoint.model_file import open_checkpoint
from bankai.errors import ModelFormatError, StateError, UnsupportedModelError
from bankai.patch import Flip, Patch
from bankai.patching import apply_patch

pytestmark = pytest.mark.engines

IDS = np.random.default_rng(0).integers(0, 297, 60).tolist()
ROWS = [Flip(name(layer, path), row) for layer in range(3) for path in SHAPES for row in (1, 50, 77 + layer)]
PARTS = [
    Flip(name(layer, path), row, 1, bit)
    for layer in range(3)
    for path in SHAPES
    for row, bit in ((2, None), (3, 17))
]


@pytest.fixture
def llama(wide_gguf):
    return open_llama(wide_gguf, use_mmap=False)


def open_llama(path: Path, **options):
    from llama_cpp import Llama

    threads = {"n_threads": 1, "n_threads_batch": 1}
    return Llama(str(path), n_ctx=128, logits_all=True, verbose=False, **threads, **options)


def logits(llama) -> np.ndarray:
    llama.reset()
    llama.eval(IDS)
    return np.array(llama.scores[: len(IDS)])


def adapter(source: Path, flips: list[Flip], path: Path) -> Path:
    with open_checkpoint(source) as checkpoint:
        write_gguf_lora(path, checkpoint, flips)
    return path


@pytest.mark.parametrize(("flips", "tolerance"), [(ROWS, 0), (ROWS + PARTS, 1e-5)], ids=["rows", "parts"])
def test_on_is_the_patched_file_and_off_is_the_base(flips, tolerance, llama, wide_gguf, tmp_path) -> None:
    from bankai.serving.llama_lora import LlamaAdapter

    apply_patch(wide_gguf, Patch.of(flips), tmp_path / "patched.gguf", unbound=True)
    wanted, base = logits(open_llama(tmp_path / "patched.gguf")), logits(llama)
    loaded = LlamaAdapter(llama, adapter(wide_gguf, flips, tmp_path / "lora.gguf"))
    for _ in range(2):
        with loaded:
            # Rows: y - 2y is -y in any rounding. Groups and bits: float32 sums in another order, 1e-6 measured.
            assert np.abs(logits(llama) - wanted).max() <= tolerance
        assert np.array_equal(logits(llama), base)
    assert np.abs(wanted - base).max() > 1
    loaded.close()
    assert np.array_equal(logits(llama), base)


def test_what_was_read_under_the_other_model_is_forgotten(llama, wide_gguf, tmp_path) -> None:
    from bankai.serving.llama_lora import LlamaAdapter

    loaded = LlamaAdapter(llama, adapter(wide_gguf, ROWS, tmp_path / "lora.gguf"))
    base = logits(llama)
    with loaded:
        assert llama.n_tokens == 0
        patched = logits(llama)
    assert llama.n_tokens == 0
    llama.eval(IDS[:30])
    with loaded:  # a stale cache of the base would leave its mark on what comes after
        llama.eval(IDS)
        assert np.array_equal(llama.scores[: len(IDS)], patched)
    assert not np.array_equal(base, patched)


def test_one_after_the_other_on_one_model(llama, wide_gguf, tmp_path) -> None:
    from bankai.serving.llama_lora import LlamaAdapter

    base, found = logits(llama), []
    for index, flips in enumerate((ROWS, ROWS[:2], PARTS)):
        loaded = LlamaAdapter(llama, adapter(wide_gguf, flips, tmp_path / f"{index}.gguf"))
        with loaded:
            found.append(logits(llama))
        loaded.close()
        loaded.close()
    assert len({array.tobytes() for array in (base, *found)}) == 4
    assert np.array_equal(logits(llama), base)


def test_refusals(llama, wide_gguf, tiny_gguf, tmp_path) -> None:
    from llama_cpp import LlamaRAMCache

    from bankai.serving.llama_lora import LlamaAdapter

    one = adapter(wide_gguf, ROWS, tmp_path / "one.gguf")
    base = logits(llama)
    with pytest.raises(ModelFormatError, match="not a file"):
        LlamaAdapter(llama, tmp_path / "none.gguf")
    with pytest.raises(UnsupportedModelError, match="for this base"):
        LlamaAdapter(llama, adapter(tiny_gguf, [Flip(name(0, "up_proj"), 1)], tmp_path / "other.gguf"))
    loaded = LlamaAdapter(llama, one)
    with loaded, pytest.raises(StateError, match="compose"), LlamaAdapter(llama, one):
        pass
    with loaded, pytest.raises(StateError, match="leave its block"):
        loaded.close()
    llama.set_cache(LlamaRAMCache())
    with pytest.raises(StateError, match="set_cache"), loaded:
        pass
    llama.set_cache(None)
    loaded.close()
    with pytest.raises(StateError, match="closed"), loaded:
        pass
    assert np.array_equal(logits(llama), base)


def test_a_closed_model_takes_its_adapters_with_it(llama, wide_gguf, tmp_path) -> None:
    from bankai.serving.llama_lora import LlamaAdapter

    loaded = LlamaAdapter(llama, adapter(wide_gguf, ROWS, tmp_path / "lora.gguf"))
    llama.close()
    loaded.close()


def test_an_adapter_of_every_tensor_of_a_deep_model_fits_the_graph(tmp_path) -> None:
    """llama.cpp sizes its graph when the context is made: six nodes a tensor must find room in it."""
    from builders import build_tiny_gguf

    from bankai.serving.llama_lora import LlamaAdapter

    deep = build_tiny_gguf(tmp_path / "deep.gguf", num_hidden_layers=36)
    flips = [Flip(name(layer, path), 1) for layer in range(36) for path in SHAPES]
    apply_patch(deep, Patch.of(flips), tmp_path / "patched.gguf", unbound=True)
    llama = open_llama(deep, use_mmap=False)
    with LlamaAdapter(llama, adapter(deep, flips, tmp_path / "lora.gguf")):
        found = logits(llama)
    assert np.array_equal(found, logits(open_llama(tmp_path / "patched.gguf")))
