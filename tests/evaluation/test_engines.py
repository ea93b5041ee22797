"""Engines against each other on the same files, and a whole evaluation without and with a patch."""

import sys

import builders
import numpy as np
import pytest
import torch

from bankai.checkpoint.convert import convert
from bankai.errors import MissingExtraError, ProbeFormatError, UnboundPatchError, UnsupportedModelError
from bankai.evaluation import (
    Comparison,
    LlamaEngine,
    MlxEngine,
    Summary,
    TorchEngine,
    evaluate_file,
    open_engine,
)
from bankai.model import ModelMatrices, load
from bankai.patch import Flip, Patch, bind, write_patch
from bankai.probes import Message, Probe, ProbeSet

# Both ends of YaRN's ramp lie inside the 32 pairs of a head.
YARN = {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 4096}
LINEAR = {"rope_type": "linear", "rope_theta": 10000.0, "factor": 2.0}
VARIANTS = {
    "untied": {},
    "tied": {"tie_word_embeddings": True},
    "yarn": {"rope_parameters": YARN},
    "linear": {"rope_parameters": LINEAR},
}


@pytest.fixture(scope="module", params=VARIANTS)
def path(request, tmp_path_factory):
    target = tmp_path_factory.mktemp(request.param) / "tiny.gguf"
    return builders.build_tiny_gguf(target, seed=5, **VARIANTS[request.param])


@pytest.fixture(scope="module")
def probes():
    plain = [
        Probe(id=f"p{n}", item=f"p{n}", category="plain", split="heldout", prompt=f"the answer to {n} is",
              answers=(f" {n}", " ok"))
        for n in range(6)
    ]  # fmt: skip
    chat = Probe(
        id="c", item="c", category="chat", split="heldout", answers=("6",), messages=(Message("user", "x"),)
    )
    return [*plain, chat]


def assert_close(left, right, tolerance):
    for one, other in zip(left, right, strict=True):
        assert one.score == pytest.approx(other.score, abs=tolerance)
        assert one.margin == pytest.approx(other.margin, abs=tolerance)


def test_mlx_agrees_with_torch(path, probes):
    # The same float32 computation in another order, over at most 30 answer tokens.
    assert_close(MlxEngine(path).score(probes), TorchEngine(*load(path)).score(probes), 1e-4)


def test_mlx_logits_agree_with_torch_over_a_long_text(path):
    ids = np.random.default_rng(0).integers(0, 297, 120)
    expected = TorchEngine(*load(path)).logits(ids.tolist())
    np.testing.assert_allclose(MlxEngine(path).logits(ids.tolist()), expected, atol=1e-4, rtol=0)


def test_mlx_directory_scores_as_its_gguf(path, probes, tmp_path):
    convert(path, tmp_path / "mlx")
    assert MlxEngine(tmp_path / "mlx").score(probes) == MlxEngine(path).score(probes)
    assert TorchEngine(*load(tmp_path / "mlx")).score(probes) == TorchEngine(*load(path)).score(probes)


@pytest.mark.engines
def test_llama_cpp_agrees_with_torch(path, probes):
    # llama.cpp rounds activations to 8 bits: each product is off by some 1e-2 of a standard deviation.
    assert_close(LlamaEngine(path, threads=1).score(probes), TorchEngine(*load(path)).score(probes), 0.2)


@pytest.mark.engines
def test_llama_cpp_context_grows(tiny_gguf):
    engine = LlamaEngine(tiny_gguf, threads=1)
    assert engine.logits(list(range(200)) * 3).shape == (600, 300)
    first = engine.logits([1, 2, 3])
    assert np.array_equal(first, engine.logits([1, 2, 3]))


@pytest.mark.engines
def test_llama_cpp_refuses_an_mlx_directory(tiny_gguf, tmp_path):
    convert(tiny_gguf, tmp_path / "mlx")
    with pytest.raises(UnsupportedModelError, match="bankai convert"):
        open_engine("llama", tmp_path / "mlx")


@pytest.mark.parametrize(
    ("engine", "module"), [("llama", "llama_cpp"), ("mlx", "mlx.core")], ids=["llama", "mlx"]
)
def test_missing_extras_are_named(engine, module, tiny_gguf, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.delitem(sys.modules, "bankai.evaluation.mlx_qwen3", raising=False)
    with pytest.raises(MissingExtraError, match=rf"pip install 'bankai\[{engine}\]'"):
        open_engine(engine, tiny_gguf)


def own_answer(engine, prompt):
    """A probe that asks for the two tokens that the model says, clearly, after the prompt, and the first of them."""
    ids, said = engine.tokenizer(prompt)["input_ids"], []
    with torch.no_grad():
        for _ in range(2):
            said.append(int(engine.model(torch.tensor([ids + said])).logits[0, -1].argmax()))
    answer, stop = map(engine.tokenizer.decode, said)
    probe = Probe(
        id="own", item="own", category="own", split="heldout", prompt=prompt, answers=(answer,), stop=stop
    )
    return (probe, said[0]) if engine.score([probe])[0].margin > 0.1 else None


@pytest.fixture(scope="module")
def files(tiny_gguf, probes, tmp_path_factory):
    """Probes of which the model solves one, and a patch that unsolves it by negating its first token's row."""
    folder = tmp_path_factory.mktemp("files")
    engine = TorchEngine(*load(tiny_gguf))
    solved, token = next(found for n in range(1000) if (found := own_answer(engine, f"the {n}")))
    ProbeSet("set", [*probes, solved]).save(folder / "set.jsonl")
    patch = Patch.of([Flip("lm_head", token)])
    write_patch(bind(patch, ModelMatrices(engine.model)), folder / "bound.bankai")
    write_patch(patch, folder / "unbound.bankai")
    return folder


ENGINES = ["torch", "mlx", pytest.param("llama", marks=pytest.mark.engines)]


@pytest.mark.parametrize("engine", ENGINES)
def test_evaluate_counts_what_the_patch_broke(engine, files, tiny_gguf):
    before = tiny_gguf.read_bytes()
    base = evaluate_file(tiny_gguf, files / "set.jsonl", engine=engine)
    assert isinstance(base, Summary) and base.categories["own"].base.solved == 1
    found = evaluate_file(tiny_gguf, files / "set.jsonl", files / "bound.bankai", engine=engine)
    assert isinstance(found, Comparison)
    assert found.base == base.base and found.categories["own"].broke == 1
    assert tiny_gguf.read_bytes() == before


@pytest.mark.parametrize("engine", ["torch", "mlx"])
def test_evaluate_refuses_an_unbound_patch_unless_asked(engine, files, tiny_gguf):
    with pytest.raises(UnboundPatchError):
        evaluate_file(tiny_gguf, files / "set.jsonl", files / "unbound.bankai", engine=engine)
    found = evaluate_file(
        tiny_gguf, files / "set.jsonl", files / "unbound.bankai", engine=engine, unbound=True
    )
    assert found.categories["own"].broke == 1


def test_evaluate_chooses_the_split(files, tiny_gguf):
    assert evaluate_file(tiny_gguf, files / "set.jsonl", split="all").probes == 8
    with pytest.raises(ProbeFormatError, match="no control probes"):
        evaluate_file(tiny_gguf, files / "set.jsonl", split="control")


@pytest.mark.engines
def test_what_llama_cpp_does_not_load_is_refused(tiny_gguf):
    engine = LlamaEngine(tiny_gguf, threads=1)
    engine.path = tiny_gguf.parent / "missing.gguf"
    with pytest.raises(UnsupportedModelError, match="use --engine torch"):
        engine._open(512)
