"""MLX directories: the mlx package computes what we decode, and damaged or hostile directories are refused."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from builders import random_one_bit, tiny_config, tiny_tokenizer
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from bankai.checkpoint.convert import convert
from bankai.checkpoint.mlx import MLXDirectory, write_mlx
from bankai.checkpoint.model_file import MLXCheckpoint, open_checkpoint
from bankai.checkpoint.synth import CHATML
from bankai.errors import BankaiError, ModelFormatError, StoreError, UnsupportedModelError
from bankai.patch import Flip, Patch
from bankai.patch.binding import content_digest
from bankai.patching import LiveModel, apply_in_place, bind_patch, revert_in_place
from bankai.quantization import PackedTensor
from bankai.quantization.one_bit import Q1_0, one_bit_blocks, scales_of, signs_of

FLOATS = np.array([1, 0.5, 3], np.float32)


@pytest.fixture
def model(tiny_gguf: Path, tmp_path: Path) -> Path:
    """A tiny MLX directory of one's own."""
    return convert(tiny_gguf, tmp_path / "model")


def rewrite(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Apply ``change`` to the JSON object in ``path``."""
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def restore(path: Path, change: Callable[[dict[str, np.ndarray]], object]) -> None:
    """Apply ``change`` to the arrays of the safetensors file ``path``."""
    arrays = load_file(path)
    change(arrays)
    save_file(arrays, path)


def one(path: Path, tensor: PackedTensor) -> MLXDirectory:
    """A directory of one 1-bit matrix and one norm."""
    shutil.rmtree(path, ignore_errors=True)
    write_mlx(path, tiny_config(), {"w.weight": tensor, "norm.weight": FLOATS}, tiny_tokenizer())
    return MLXDirectory(path)


@settings(max_examples=30)  # each example syncs a directory
@given(st.data())
def test_round_trip(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """Any bits and any scale whose double is finite: negative, zero of either sign, subnormal."""
    out, groups = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 3))
    signs = data.draw(arrays(np.uint8, (out, groups, 16)))
    scales = data.draw(arrays(np.float16, (out, groups), elements=st.floats(-32752, 32752, width=16)))
    blocks = one_bit_blocks(scales, signs)
    directory = one(tmp_path_factory.getbasetemp() / "one", PackedTensor("w", Q1_0, blocks))
    assert directory.blocks("w").tobytes() == blocks.tobytes()
    assert directory.blocks("w", np.array([out - 1, 0])).tobytes() == blocks[[out - 1, 0]].tobytes()
    assert directory.vector("norm.weight").tobytes() == FLOATS.tobytes()
    directory.close()


@pytest.mark.parametrize("scale", [32768, 65504, np.inf, np.nan])
def test_a_scale_without_a_double_is_refused(tmp_path: Path, scale: float) -> None:
    blocks = one_bit_blocks(np.full((1, 1), scale, np.float16), np.zeros((1, 1, 16), np.uint8))
    tensor = PackedTensor("w", Q1_0, blocks)
    with pytest.raises(UnsupportedModelError, match="keep GGUF"):
        one(tmp_path / "m", tensor)
    assert list(tmp_path.iterdir()) == []


def test_mlx_computes_what_we_decode(tmp_path: Path) -> None:
    """mx.load, mx.dequantize and mx.quantized_matmul of the written file against to_dense."""
    rng = np.random.default_rng(3)
    tensor = random_one_bit("w", (64, 256), rng)
    one(tmp_path / "m", tensor).close()
    stored = mx.load(str(tmp_path / "m" / "model.safetensors"))
    words, scales, biases = (stored[f"w.{part}"] for part in ("weight", "scales", "biases"))
    dense = mx.dequantize(words, scales, biases, group_size=128, bits=1)
    assert np.array_equal(np.array(dense).astype(np.float32), tensor.to_dense())
    x = rng.normal(size=(5, 256)).astype(np.float32)
    wide = scales.astype(mx.float32), biases.astype(mx.float32)
    product = mx.quantized_matmul(mx.array(x), words, *wide, transpose=True, group_size=128, bits=1)
    # float32 sums of 256 products of size 1: the orders of summation differ by about 1e-6
    np.testing.assert_allclose(np.array(product), x @ tensor.to_dense().T, atol=1e-4)
    packed = mx.quantize(mx.array(tensor.to_dense()), group_size=128, bits=1)
    assert np.array_equal(np.array(packed[0]), np.array(words))


def test_safe_open_reads_a_whole_model(model: Path) -> None:
    with safe_open(model / "model.safetensors", "np") as witness, open_checkpoint(model) as checkpoint:
        stored = set(witness.keys())
        for name in checkpoint.matrices:
            tensor = checkpoint.packed(name)
            assert witness.get_tensor(f"{name}.weight").tobytes() == signs_of(tensor.blocks).tobytes()
            assert np.array_equal(witness.get_tensor(f"{name}.biases"), -scales_of(tensor.blocks))
            stored -= {f"{name}.{part}" for part in ("weight", "scales", "biases")}
        for name in checkpoint.vectors:
            assert np.array_equal(witness.get_tensor(f"{name}.weight"), checkpoint.vector(name))
            stored.discard(f"{name}.weight")
        assert not stored


def test_scales_in_bfloat16_and_float32(model: Path) -> None:
    """Read when fp16 holds them exactly, refused otherwise."""
    name = "model.layers.0.mlp.up_proj"
    path = model / "model.safetensors"

    def widen(values: dict[str, np.ndarray], factor: float = 1.0) -> None:
        for part in ("scales", "biases"):
            values[f"{name}.{part}"] = values[f"{name}.{part}"].astype(np.float32) * np.float32(factor)

    with open_checkpoint(model) as checkpoint:
        before = checkpoint.packed(name).blocks.tobytes()
    restore(path, widen)
    with open_checkpoint(model) as checkpoint:
        assert checkpoint.packed(name).blocks.tobytes() == before
    restore(path, lambda values: widen(values, 1 + 1e-5))
    with open_checkpoint(model) as checkpoint, pytest.raises(UnsupportedModelError, match="fp16 cannot hold"):
        checkpoint.packed(name)


def test_bfloat16_norms_and_scales_are_exact(model: Path) -> None:
    """Norms and scales whose low bits are zero, rewritten as BF16 by the mlx package."""
    path = model / "model.safetensors"
    norm, name = "model.norm.weight", "lm_head"

    def coarse(values: dict[str, np.ndarray]) -> None:
        values[norm] = np.full_like(values[norm], 1.25)
        values[f"{name}.scales"] = np.full_like(values[f"{name}.scales"], 0.5)
        values[f"{name}.biases"] = np.full_like(values[f"{name}.biases"], -0.25)

    restore(path, coarse)
    stored = mx.load(str(path))
    for key in (norm, f"{name}.scales", f"{name}.biases"):
        stored[key] = stored[key].astype(mx.bfloat16)
    mx.eval(stored)
    path.unlink()
    mx.save_safetensors(str(path), stored)
    with open_checkpoint(model) as checkpoint:
        assert set(checkpoint.vector("model.norm").tolist()) == {1.25}
        assert set(scales_of(checkpoint.packed(name).blocks).ravel().tolist()) == {0.25}


def test_float16_norms(model: Path) -> None:
    restore(model / "model.safetensors", lambda v: v.update({"model.norm.weight": np.ones(128, np.float16)}))
    with open_checkpoint(model) as checkpoint:
        norm = checkpoint.vector("model.norm")
        assert norm.dtype == np.float32 and set(norm.tolist()) == {1.0}


@pytest.mark.parametrize("part", ["scales", "biases"])
@pytest.mark.parametrize("value", [0.123, np.nan, np.inf])
def test_a_pair_that_is_not_one_bit_is_refused(model: Path, part: str, value: float) -> None:
    restore(model / "model.safetensors", lambda values: values[f"lm_head.{part}"].__setitem__((7, 0), value))
    with open_checkpoint(model) as checkpoint, pytest.raises(UnsupportedModelError, match="not 2d and -d"):
        checkpoint.packed("lm_head")


def shard(model: Path, change: Callable[[dict[str, Any]], object] = lambda index: None) -> None:
    """Cut model.safetensors in two with an index, as larger models come; ``change`` damages the index."""
    values = load_file(model / "model.safetensors")
    (model / "model.safetensors").unlink()
    names = sorted(values)
    index: dict[str, Any] = {"metadata": {}, "weight_map": {}}
    for number, part in enumerate((names[::2], names[1::2]), 1):
        file = f"model-{number:05d}-of-00002.safetensors"
        save_file({name: values[name] for name in part}, model / file)
        index["weight_map"] |= dict.fromkeys(part, file)
    change(index)
    (model / "model.safetensors.index.json").write_text(json.dumps(index))


def test_shards_read_as_one_file(model: Path) -> None:
    with open_checkpoint(model) as checkpoint:
        before = content_digest(checkpoint)
    shard(model)
    with open_checkpoint(model) as checkpoint:
        assert content_digest(checkpoint) == before
    patch = bind_patch(model, Patch.of([Flip("lm_head", 1), Flip("model.embed_tokens", 7)]))
    apply_in_place(model, patch)
    with open_checkpoint(model) as checkpoint:
        assert content_digest(checkpoint) != before
    revert_in_place(model, patch)
    with open_checkpoint(model) as checkpoint:
        assert content_digest(checkpoint) == before


FIRST, SECOND = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda i: i.pop("weight_map"), "no weight_map"),
        (lambda i: i.update(weight_map=[]), "no weight_map"),
        (lambda i: i["weight_map"].update(x=5), "no weight_map"),
        (lambda i: i["weight_map"].update(x=FIRST), "index only"),
        (
            lambda i: i["weight_map"].update({"lm_head.weight": FIRST, "lm_head.biases": SECOND}),
            "contradicts",
        ),
        (lambda i: i["weight_map"].pop("lm_head.weight"), "contradicts"),
        (lambda i: i["weight_map"].update(x="absent.safetensors"), "has no absent.safetensors"),
        (lambda i: i["weight_map"].update(x="../model.safetensors"), "no name of a shard"),
        (lambda i: i["weight_map"].update(x="/etc/passwd"), "no name of a shard"),
        (lambda i: i["weight_map"].update(x="\ud800.safetensors"), "no name of a shard"),
        (lambda i: i["weight_map"].update(x="a\0.safetensors"), "no name of a shard"),
        (lambda i: i["weight_map"].update({f"x{n}": f"s{n}.safetensors" for n in range(2000)}), "shards"),
    ],
)
def test_a_damaged_index(model: Path, change: Callable[[dict[str, Any]], object], message: str) -> None:
    shard(model, change)
    with pytest.raises(ModelFormatError, match=message):
        open_checkpoint(model)


@pytest.mark.parametrize(
    "name", ["config.json", "tokenizer.json", "model.safetensors", "chat_template.jinja"]
)
def test_a_link_out_of_the_directory_is_refused(model: Path, name: str) -> None:
    outside = model.parent / "outside"
    if (model / name).exists():
        (model / name).rename(outside)
    else:
        outside.write_text("template")
    (model / name).symlink_to(outside)
    with pytest.raises(ModelFormatError, match="links out"), open_checkpoint(model) as checkpoint:
        checkpoint.tokenizer()


def test_links_in_a_circle(model: Path) -> None:
    (model / "config.json").unlink()
    (model / "config.json").symlink_to("config.json")
    with pytest.raises(ModelFormatError, match="cannot be read"):
        open_checkpoint(model)


def test_a_link_inside_the_directory_is_fine(model: Path) -> None:
    (model / "model.safetensors").rename(model / "weights.safetensors")
    (model / "model.safetensors").symlink_to("weights.safetensors")
    open_checkpoint(model).close()


def test_a_download_cache_is_read_but_not_written(model: Path) -> None:
    """models--x/snapshots/REVISION holds links to models--x/blobs."""
    root = model.parent / "models--x"
    snapshot = root / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    model.rename(root / "blobs")
    for file in (root / "blobs").iterdir():
        (snapshot / file.name).symlink_to(f"../../blobs/{file.name}")
    with open_checkpoint(snapshot) as checkpoint:
        checkpoint.tokenizer()
    with pytest.raises(StoreError, match="a cache of downloads"):
        LiveModel(snapshot)


def test_the_template_may_have_a_file_of_its_own(model: Path) -> None:
    rewrite(model / "tokenizer_config.json", lambda config: config.pop("chat_template"))
    with open_checkpoint(model) as checkpoint:
        assert checkpoint.tokenizer().chat_template is None
        (model / "chat_template.jinja").write_text("{{ 'é' }}", encoding="utf-8")
        assert checkpoint.tokenizer().chat_template == "{{ 'é' }}"
        (model / "chat_template.jinja").write_bytes(b"\xff")
        with pytest.raises(ModelFormatError, match="UTF-8"):
            checkpoint.tokenizer()
        (model / "tokenizer_config.json").unlink()
        (model / "chat_template.jinja").unlink()
        assert checkpoint.tokenizer().eos_id is None


def test_templates_may_be_a_list_of_named_ones(model: Path) -> None:
    """As Hugging Face's configurations have them."""
    named = [{"name": "default", "template": CHATML}, {"name": "tool_use", "template": "{{ tools }}"}]
    rewrite(model / "tokenizer_config.json", lambda config: config.update(chat_template=named))
    with open_checkpoint(model) as checkpoint:
        assert checkpoint.tokenizer().templates == {"default": CHATML, "tool_use": "{{ tools }}"}
        assert checkpoint.tokenizer().chat_template == CHATML


def test_more_templates_may_have_files_of_their_own(model: Path) -> None:
    """Files stand for all that tokenizer_config.json says, as in transformers; only .jinja files count."""
    folder = model / "additional_chat_templates"
    folder.mkdir()
    with open_checkpoint(model) as checkpoint:
        assert checkpoint.tokenizer().templates == {"default": CHATML}
        for name in ("tool_use.jinja", "a b..jinja", "note.txt"):
            (folder / name).write_text(name)
        assert checkpoint.tokenizer().templates == {"tool_use": "tool_use.jinja", "a b.": "a b..jinja"}
        (model / "chat_template.jinja").write_text("plain")
        assert checkpoint.tokenizer().chat_template == "plain"
        (folder / "out.jinja").symlink_to(model.parent / "outside")
        with pytest.raises(ModelFormatError, match="links out"):
            checkpoint.tokenizer()
        (folder / "out.jinja").unlink()
        os.truncate(folder / "tool_use.jinja", 1 << 33)  # sparse
        with pytest.raises(ModelFormatError, match="larger than"):
            checkpoint.tokenizer()
        for number in range(64):
            (folder / f"{number}.jinja").touch()
        with pytest.raises(ModelFormatError, match="67 chat templates"):
            checkpoint.tokenizer()


def test_ends_of_both_configurations(model: Path) -> None:
    rewrite(model / "config.json", lambda config: config.update(eos_token_id=[299, 260]))
    (model / "generation_config.json").write_text('{"eos_token_id": [261, 299], "top_k": 20}')
    with open_checkpoint(model) as checkpoint:
        assert checkpoint.config["eos_token_id"] == checkpoint.tokenizer().eos_id == 299
        assert checkpoint.tokenizer().ends == {260, 261, 297, 299}
        (model / "generation_config.json").write_text("[")
        with pytest.raises(ModelFormatError, match="generation_config"):
            checkpoint.tokenizer()
        (model / "generation_config.json").unlink()
        assert checkpoint.tokenizer().ends == {260, 297, 299}


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors"])
def test_a_missing_file(model: Path, name: str) -> None:
    (model / name).unlink()
    with pytest.raises(ModelFormatError, match=name), open_checkpoint(model) as checkpoint:
        checkpoint.tokenizer()


def test_a_configuration_of_gigabytes_is_not_read(model: Path) -> None:
    os.truncate(model / "config.json", 1 << 33)  # sparse
    with pytest.raises(ModelFormatError, match="larger than"):
        open_checkpoint(model)


@pytest.mark.parametrize(
    "change",
    [
        lambda c: c.pop("quantization"),
        lambda c: c.update(quantization=None),
        lambda c: c.update(quantization=True),
        lambda c: c["quantization"].update(bits=2),
        lambda c: c["quantization"].update(group_size=64),
        lambda c: c["quantization"].update(mode="mxfp4"),
        lambda c: c["quantization"].update({"lm_head": {"group_size": 128, "bits": 4}}),
        lambda c: c["quantization"].update({"lm_head": False}),
        lambda c: c.update(model_type="mamba"),
    ],
)
def test_another_quantization_or_architecture(
    model: Path, change: Callable[[dict[str, Any]], object]
) -> None:
    rewrite(model / "config.json", change)
    with pytest.raises(UnsupportedModelError) as caught:
        open_checkpoint(model)
    assert "1-bit" in str(caught.value) or "mamba" in str(caught.value)


def test_other_spellings_of_one_bit(model: Path) -> None:
    override = {"lm_head": {"group_size": 128, "bits": 1, "mode": "affine"}}
    rewrite(model / "config.json", lambda c: c["quantization"].update(mode="affine", **override))
    open_checkpoint(model).close()
    rewrite(model / "config.json", lambda c: c.update(quantization_config=c.pop("quantization")))
    open_checkpoint(model).close()


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda v: v.pop("lm_head.biases"), ModelFormatError, "lm_head.biases is missing"),
        (lambda v: v.pop("model.norm.weight"), ModelFormatError, "model.norm.weight is missing"),
        (lambda v: v.update({"lm_head.weight": v["lm_head.weight"][1:]}), ModelFormatError, "wants"),
        (lambda v: v.update({"lm_head.scales": v["lm_head.scales"].T}), ModelFormatError, "wants"),
        (lambda v: v.update({"model.norm.weight": np.ones(64, np.float32)}), ModelFormatError, "wants"),
        (lambda v: v.update({"extra.bias": np.ones(4, np.float32)}), UnsupportedModelError, "extra.bias"),
        (
            lambda v: v.update({"lm_head.weight": v["lm_head.weight"].view(np.int32)}),
            UnsupportedModelError,
            "lm_head.weight is I32",
        ),
        (
            lambda v: v.update({"model.norm.weight": np.ones(128, np.int32)}),
            UnsupportedModelError,
            "model.norm.weight is I32",
        ),
    ],
)
def test_tensors_must_fit(model: Path, change, error: type[BankaiError], message: str) -> None:  # type: ignore[no-untyped-def]
    restore(model / "model.safetensors", change)
    with pytest.raises(error, match=message):
        open_checkpoint(model)


def test_columns_of_no_whole_groups(model: Path) -> None:
    rewrite(model / "config.json", lambda c: c.update(hidden_size=100))
    with pytest.raises(UnsupportedModelError, match="multiple of 128"):
        open_checkpoint(model)


def test_a_billion_layers(model: Path) -> None:
    rewrite(model / "config.json", lambda c: c.update(num_hidden_layers=1 << 30))
    with pytest.raises(ModelFormatError, match="layers"):
        open_checkpoint(model)


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json", "model.safetensors"])
def test_every_flipped_bit_of_a_header(model: Path, name: str) -> None:
    """Refused by one of our errors or opened; never another exception. Every fifth bit, all positions in a byte."""
    sound = (model / name).read_bytes()
    header = 8 + int.from_bytes(sound[:8], "little") if name == "model.safetensors" else len(sound)
    outcomes = set()
    for place in range(0, 8 * min(header, 800), 5):
        data = bytearray(sound)
        data[place // 8] ^= 1 << place % 8
        (model / name).write_bytes(data)
        try:
            with open_checkpoint(model) as checkpoint:
                if name == "tokenizer_config.json":
                    checkpoint.tokenizer()
            outcomes.add("read")
        except BankaiError as error:
            outcomes.add(type(error).__name__)
    assert {"read", "ModelFormatError"} <= outcomes


def test_a_vector_is_of_floats(tmp_path: Path) -> None:
    directory = one(tmp_path / "m", random_one_bit("w", (2, 128), np.random.default_rng(0)))
    with pytest.raises(UnsupportedModelError, match="w.weight is U32"):
        directory.vector("w.weight")


def test_it_is_an_mlx_checkpoint(model: Path) -> None:
    with open_checkpoint(model) as checkpoint:
        assert isinstance(checkpoint, MLXCheckpoint)
        assert (checkpoint.format, checkpoint.architecture) == ("mlx", "qwen3")
        assert checkpoint.metadata["quantization"] == {"group_size": 128, "bits": 1}
