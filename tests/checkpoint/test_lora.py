"""LoRA of a patch: exact as numbers, and the patched model in the engines that load it."""

import json
import re
from pathlib import Path

import hybrid
import numpy as np
import pytest
import torch
from builders import build_tiny_gguf
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file
from unpacked import unpacked
from wide import places

from bankai.architectures import architecture
from bankai.checkpoint.gguf import GGUFFile
from bankai.checkpoint.lora import changed_rows, write_gguf_lora, write_peft
from bankai.checkpoint.model_file import open_checkpoint
from bankai.errors import RowRangeError, StoreError, UnknownTensorError, UnsupportedModelError
from bankai.evaluation.engines import LlamaEngine
from bankai.patch import Flip, Patch
from bankai.patch.places import places_by_tensor
from bankai.patching import apply_patch
from bankai.quantization import PackedTensor, quantization

EMBEDDING, HEAD = "model.embed_tokens", "lm_head"
ENDS = st.builds(
    Flip,
    st.sampled_from([EMBEDDING, HEAD]),
    st.integers(0, 299),
    st.none() | st.integers(0, 1),
)
FLIPS = st.frozensets(places() | ENDS, min_size=1, max_size=12)


def true_changes(path: Path, flips: frozenset[Flip]) -> dict[str, np.ndarray]:
    """W' - W of every tensor that the flips change, in float64, by flipping the model itself."""
    changes = {}
    with open_checkpoint(path) as checkpoint:
        for name, at in places_by_tensor(flips).items():
            tensor = checkpoint.packed(name)
            before = tensor.to_dense().astype(np.float64)
            rows, masks = at.masks(tensor.info)
            blocks = tensor.blocks.copy()
            blocks[rows] ^= masks
            if (blocks != tensor.blocks).any():
                changes[name] = PackedTensor(name, tensor.quantization, blocks).to_dense() - before
    return changes


def peft_changes(folder: Path) -> dict[str, np.ndarray]:
    """B A times alpha / r, from the files of a PEFT directory."""
    config = json.loads((folder / "adapter_config.json").read_text())
    arrays = load_file(folder / "adapter_model.safetensors")
    changes = {}
    for name in config["target_modules"]:
        stem = f"base_model.model.{name}"
        if name == EMBEDDING:
            a, b = arrays.pop(f"{stem}.lora_embedding_A"), arrays.pop(f"{stem}.lora_embedding_B")
        else:
            a, b = arrays.pop(f"{stem}.lora_A.weight"), arrays.pop(f"{stem}.lora_B.weight")
        key = re.escape(name)
        rank = config["rank_pattern"].get(key, config["r"])
        assert (rank, b.shape[1]) == (len(a), rank)
        scale = config["alpha_pattern"].get(key, config["lora_alpha"]) / rank
        product = scale * (b.astype(np.float64) @ a.astype(np.float64))
        changes[name] = product.T if name == EMBEDDING else product
    assert not arrays
    return changes


def gguf_changes(path: Path, base: Path) -> dict[str, np.ndarray]:
    """B A times alpha / rank of a GGUF adapter, as llama.cpp multiplies: the embedding's A is looked up in rows.

    Rows and groups are put back in order.
    """
    changes = {}
    with GGUFFile(path) as file, open_checkpoint(base) as model:
        alpha = np.float32(file.metadata["adapter.lora.alpha"])
        names = {name.removesuffix(".lora_a").removesuffix(".lora_b") for name in file.tensors}
        for gguf_name in names:
            arch = architecture(model.architecture)
            name = next(name for name in model.matrices if arch.gguf_name(name) == gguf_name)
            kind = file.tensors[f"{gguf_name}.lora_a"].quantization
            assert kind is (quantization("F32") if name == EMBEDDING else model.matrices[name].quantization)
            if kind.plain:
                a = file.vector(f"{gguf_name}.lora_a").astype(np.float64)
            else:
                a = kind.decode(file.blocks(f"{gguf_name}.lora_a")).astype(np.float64)
            b = file.vector(f"{gguf_name}.lora_b").astype(np.float64)
            scale = float(alpha / np.float32(b.shape[1]))
            change = scale * (a @ b.T if name == EMBEDDING else b @ a)
            grouped = model.location(name).order.canonical(change.reshape(len(change), -1, 128))
            changes[name] = grouped.reshape(change.shape)
    return changes


@settings(max_examples=20)
@given(FLIPS)
def test_both_forms_are_the_change_exactly(wide_gguf, tmp_path_factory, flips) -> None:
    check_both_forms(wide_gguf, tmp_path_factory.mktemp("lora"), flips)


@settings(max_examples=20)
@given(st.frozensets(hybrid.places(), min_size=1, max_size=12))
def test_both_forms_are_the_change_of_a_hybrid(hybrid_gguf, tmp_path_factory, flips) -> None:
    """PEFT's in the order of Hugging Face's modules, llama.cpp's in that of its file."""
    check_both_forms(hybrid_gguf, tmp_path_factory.mktemp("lora"), flips)


def check_both_forms(path, folder, flips) -> None:
    wanted = true_changes(path, flips)
    with open_checkpoint(path) as checkpoint:
        if not wanted:
            with pytest.raises(StoreError, match="changes nothing"):
                write_peft(folder / "peft", checkpoint, flips)
            return
        write_peft(folder / "peft", checkpoint, flips)
        write_gguf_lora(folder / "lora.gguf", checkpoint, flips)
    for found in (peft_changes(folder / "peft"), gguf_changes(folder / "lora.gguf", path)):
        assert found.keys() == wanted.keys()
        for name, change in wanted.items():
            assert np.array_equal(found[name], change), name


def test_changed_rows_leave_out_what_cancels(wide_gguf) -> None:
    name = "model.layers.1.mlp.up_proj"  # two groups a row
    flips = [
        Flip(name, 7),
        Flip(name, 7, 0),
        Flip(name, 7, 1),
        Flip(name, 9),
        Flip(name, 9, 0),
        Flip(name, 4, 1, 5),
    ]
    with open_checkpoint(wide_gguf) as checkpoint:
        [change] = changed_rows(checkpoint, flips)
        dense = checkpoint.packed(name).to_dense()
    assert change.rows.tolist() == [4, 9] and change.partial.tolist() == [True, False]
    expected = np.zeros((2, 256), np.float32)
    expected[0, 128 + 5], expected[1, 128:] = dense[4, 128 + 5], dense[9, 128:]
    assert np.array_equal(change.flipped, expected)


def test_ranks_differ_between_tensors(wide_gguf, tmp_path) -> None:
    one, three = "model.layers.0.mlp.down_proj", "model.layers.2.self_attn.q_proj"
    flips = [Flip(one, 5), *(Flip(three, row) for row in (1, 2, 3))]
    with open_checkpoint(wide_gguf) as checkpoint:
        write_peft(tmp_path / "peft", checkpoint, flips, "owner/base")
        write_gguf_lora(tmp_path / "lora.gguf", checkpoint, flips)
    config = json.loads((tmp_path / "peft" / "adapter_config.json").read_text())
    assert (config["r"], config["lora_alpha"], config["base_model_name_or_path"]) == (3, 3, "owner/base")
    assert config["rank_pattern"] == config["alpha_pattern"] == {r"model\.layers\.0\.mlp\.down_proj": 1}
    with GGUFFile(tmp_path / "lora.gguf") as file:
        ranks = {name: info.shape[0] for name, info in file.tensors.items() if name.endswith("lora_a")}
        assert ranks == {"blk.0.ffn_down.weight.lora_a": 1, "blk.2.attn_q.weight.lora_a": 4}
        assert file.metadata["general.type"] == "adapter" and file.metadata["adapter.type"] == "lora"
        assert file.metadata["general.architecture"] == "qwen3"


@pytest.mark.parametrize("write", [write_peft, write_gguf_lora])
def test_refusals_write_nothing(write, wide_gguf, tmp_path) -> None:
    up = "model.layers.0.mlp.up_proj"
    with open_checkpoint(wide_gguf) as checkpoint:
        for flips, error in (
            ([], StoreError),
            ([Flip("model.layers.9.mlp.up_proj", 0)], UnknownTensorError),
            ([Flip(up, 384)], RowRangeError),
        ):
            with pytest.raises(error):
                write(tmp_path / "new.gguf", checkpoint, flips)
        (tmp_path / "old.gguf").write_text("mine")
        with pytest.raises(StoreError, match="exists"):
            write(tmp_path / "old.gguf", checkpoint, [Flip(up, 0)])
    assert [path.name for path in tmp_path.iterdir()] == ["old.gguf"]
    assert (tmp_path / "old.gguf").read_text() == "mine"


@pytest.mark.parametrize("write", [write_peft, write_gguf_lora])
def test_an_embedding_that_is_the_head_is_refused(write, tmp_path) -> None:
    tied = build_tiny_gguf(tmp_path / "tied.gguf", tie_word_embeddings=True)
    with open_checkpoint(tied) as checkpoint:
        with pytest.raises(UnsupportedModelError, match="head too"):
            write(tmp_path / "a.gguf", checkpoint, [Flip(EMBEDDING, 3)])
        write(tmp_path / "b.gguf", checkpoint, [Flip("model.layers.0.mlp.up_proj", 3)])
    assert {path.name for path in tmp_path.iterdir()} == {"tied.gguf", "b.gguf"}


def spread(shape: str) -> Patch:
    """Flips of one kind in every projection of nano, of different numbers; or in its head or embedding."""
    rng = np.random.default_rng(1)
    kinds = {"rows": (), "groups": (1,), "bits": (1, 77)}
    if shape not in kinds:
        return Patch.of([Flip(shape, 5), Flip(shape, 300, 1), Flip(shape, 301, 1, 4)])
    paths = [f"self_attn.{name}_proj" for name in "qkvo"] + [
        f"mlp.{name}_proj" for name in ("gate", "up", "down")
    ]
    return Patch.of(
        Flip(f"model.layers.{layer}.{path}", int(row), *kinds[shape])
        for layer in range(4)
        for path in paths
        for row in rng.choice(128, rng.integers(1, 6), replace=False)
    )


SHAPES = ["rows", "groups", "bits", HEAD, EMBEDDING]
IDS = [5, 300, 301, *np.random.default_rng(0).integers(0, 500, 60).tolist()]


@pytest.fixture(scope="module", params=SHAPES)
def exported(request, tmp_path_factory) -> Path:
    """nano with a patch on, and both adapters of that patch."""
    folder = tmp_path_factory.mktemp("nano")
    patch = spread(request.param)
    apply_patch("nano", patch, folder / "patched.gguf", unbound=True)
    with open_checkpoint("nano") as checkpoint:
        write_peft(folder / "peft", checkpoint, patch.flips)
        write_gguf_lora(folder / "lora.gguf", checkpoint, patch.flips)
    return folder


@torch.no_grad()
def test_peft_makes_the_patched_model(exported) -> None:
    from peft import PeftModel

    ids = torch.tensor([IDS])
    wanted, model = unpacked(exported / "patched.gguf")(ids).logits, unpacked("nano")
    base = model(ids).logits
    adapted = PeftModel.from_pretrained(model, exported / "peft")
    # The same numbers, but y - 2 (w x) rounds twice where -w x rounds once: 2.4e-5 was the most of 63 positions
    # and 512 logits of magnitude 20; the patches change logits by 0.9 to 27.
    assert (adapted(ids).logits - wanted).abs().max() < 2e-4
    assert (base - wanted).abs().max() > 0.5
    with adapted.disable_adapter():
        assert torch.equal(adapted(ids).logits, base)
    merged = adapted.merge_and_unload()
    # W - 2 w is -w exactly in float32, so the merged model is the patched one.
    assert torch.equal(merged(ids).logits, wanted)


@pytest.mark.engines
def test_llama_cpp_makes_the_patched_model(exported) -> None:
    from llama_cpp import Llama

    path = str(LlamaEngine("nano").path)

    def logits(source: str, **adapter: str) -> np.ndarray:
        llama = Llama(
            source, n_ctx=128, n_threads=1, n_threads_batch=1, logits_all=True, verbose=False, **adapter
        )
        llama.eval(IDS)
        return np.array(llama.scores[: len(IDS)])

    wanted, base = logits(str(exported / "patched.gguf")), logits(path)
    drift = np.abs(logits(path, lora_path=str(exported / "lora.gguf")) - wanted).max()
    # The packed A meets the same 8-bit activations as the base, so what remains are float32 sums in another order:
    # 0 to 5e-7 measured. With A in floats the drift was 0.26 to 0.37.
    assert drift < 1e-4
    assert np.abs(base - wanted).max() > 0.5


@pytest.mark.engines
def test_llama_cpp_makes_the_patched_hybrid(hybrid_gguf, tmp_path) -> None:
    rng = np.random.default_rng(2)
    flips = [
        Flip(name, int(row), *place)
        for name, (rows, _) in hybrid.SHAPES.items()
        for place in ((), (1,), (0, 77))
        for row in rng.choice(rows, 2, replace=False)
    ]
    patch, ids = Patch.of(flips), rng.integers(0, 297, 40).tolist()
    apply_patch(hybrid_gguf, patch, tmp_path / "patched.gguf", unbound=True)
    with open_checkpoint(hybrid_gguf) as checkpoint:
        write_gguf_lora(tmp_path / "lora.gguf", checkpoint, patch.flips)
    base, wanted = (
        LlamaEngine(path, threads=1).logits(ids) for path in (hybrid_gguf, tmp_path / "patched.gguf")
    )
    found = LlamaEngine(hybrid_gguf, threads=1, adapter=tmp_path / "lora.gguf").logits(ids)
    assert np.abs(base - wanted).max() > 0.5
    assert np.abs(found - wanted).max() < 1e-3
