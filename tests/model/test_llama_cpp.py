"""The forward in F32 against stock llama.cpp's: every architecture whose layers we walk, and a real model."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import stock
import torch
from builders import LLAMA, build_tiny_gguf, tiny_config, tiny_tensors, tiny_tokenizer
from lines import varied_lines

from bankai.architectures import architecture
from bankai.checkpoint.convert import stored_tensors
from bankai.checkpoint.gguf import write_gguf
from bankai.model import load

pytestmark = pytest.mark.engines

POSITIONS = 1000
IDS = np.random.default_rng(1).integers(0, 256, POSITIONS).tolist()
SIZES = {"max_position_embeddings": 1024}
MODELS: dict[str, dict[str, Any]] = {
    "qwen3": {},
    "qwen3, tied": {"tie_word_embeddings": True},
    "llama": LLAMA,
    "llama, tied": LLAMA | {"tie_word_embeddings": True},
    "llama, heads wider than the model": LLAMA | {"num_attention_heads": 4},
}


def check(found: np.ndarray, wanted: np.ndarray) -> None:
    """The bars of DESIGN.md: rounding aside the same logits, and the same next token unless two are as good as even."""
    assert found.shape == wanted.shape and np.isfinite(wanted).all()
    assert 1 - np.corrcoef(found.ravel(), wanted.ravel())[0, 1] <= 1e-6
    second, first = np.sort(wanted, axis=1)[:, -2:].T
    clear = first - second > 1e-3
    assert clear.mean() > 0.9
    np.testing.assert_array_equal(found.argmax(1)[clear], wanted.argmax(1)[clear])


@torch.no_grad()
def ours(path: Path, ids: list[int]) -> np.ndarray:
    return load(path)[0](torch.tensor([ids]), use_cache=False).logits[0].numpy()


@pytest.mark.parametrize("name", MODELS)
def test_logits_are_those_of_llama_cpp(tmp_path: Path, name: str) -> None:
    path = build_tiny_gguf(tmp_path / "m.gguf", seed=5, kind="F32", **SIZES | MODELS[name])
    check(ours(path, IDS), stock.logits(path, IDS, floats=True))


def test_angles_are_divided_by_the_factors_of_the_file(tmp_path: Path) -> None:
    """Llama 3 stretches its positions by a tensor."""
    config = tiny_config(**SIZES | LLAMA)
    tensors = stored_tensors(tiny_tensors(config, seed=5, kind="F32"), config)
    metadata = architecture("llama").config_to_gguf(config) | tiny_tokenizer().to_gguf()
    found = []
    for name, factors in (
        ("plain", {}),
        ("stretched", {"rope_freqs.weight": np.geomspace(1, 8, 32, dtype="<f4")}),
    ):
        path = tmp_path / f"{name}.gguf"
        write_gguf(path, metadata, tensors | factors)
        found.append(stock.logits(path, IDS, floats=True))
        check(ours(path, IDS), found[-1])
    assert np.abs(found[0] - found[1]).max() > 1e-2


def test_a_real_model_in_floats(smollm2: Path, tmp_path: Path) -> None:
    """SmolLM2, its Q4_1 weights as F32, over 2,000 positions."""
    path = stock.requantize(smollm2, tmp_path / "F32.gguf", "F32")
    model, tokenizer = load(path)
    ids = tokenizer("\n".join(varied_lines(400, seed=0)))["input_ids"][: 2 * POSITIONS]
    assert len(ids) == 2 * POSITIONS
    with torch.no_grad():
        found = model(torch.tensor([ids]), use_cache=False).logits[0].numpy()
    check(found, stock.logits(path, ids, floats=True))
