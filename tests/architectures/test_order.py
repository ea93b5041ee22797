"""Order and values in GGUF: permutations and their inverses, and what llama.cpp's converters do, told another way."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import LLAMA, build_tiny_gguf, tiny_config, tiny_tensors, tiny_tokenizer
from hybrid import FULL_LAYERS, HYBRID, LINEAR_LAYERS
from hypothesis import given, settings
from hypothesis import strategies as st

from bankai.architectures import architecture
from bankai.architectures.order import Order
from bankai.checkpoint.convert import stored_tensors
from bankai.checkpoint.gguf import GGUFFile, write_gguf
from bankai.checkpoint.model_file import open_checkpoint
from bankai.checkpoint.synth import random_one_bit
from bankai.errors import ModelFormatError, UnsupportedModelError
from bankai.quantization import PackedTensor
from bankai.quantization.one_bit import pack_one_bit
from bankai.tensor_names import parse_tensor_name

CONFIG = tiny_config(**HYBRID)
LINEAR = "linear_attn."


def order_of(name: str, config: dict[str, Any], group: int = 128) -> Order:
    return architecture(config["model_type"]).order(parse_tensor_name(name).path, config, group)


@st.composite
def heads(draw: st.DrawFn) -> dict[str, Any]:
    """Hybrids with any numbers of heads."""
    keys = draw(st.integers(1, 6))
    numbers = {"linear_num_key_heads": keys, "linear_num_value_heads": keys * draw(st.integers(1, 6))}
    return tiny_config(**HYBRID | numbers)


@st.composite
def llamas(draw: st.DrawFn) -> dict[str, Any]:
    """Llamas with any numbers of heads, of any even size."""
    keys, head = draw(st.integers(1, 4)), 2 * draw(st.integers(1, 40))
    numbers = {"num_key_value_heads": keys, "num_attention_heads": keys * draw(st.integers(1, 4))}
    return tiny_config(**LLAMA | numbers | {"head_dim": head})


def names(config: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    arch = architecture(config["model_type"])
    return dict(arch.matrix_shapes(config)) | arch.vector_shapes(config)


def tiled(weight: np.ndarray, axis: int, config: dict[str, Any], width: int) -> np.ndarray:
    """What the converter does to value heads along an axis: [key heads, heads of each, width] to [heads of each, key
    heads, width].
    """
    keys, values = config["linear_num_key_heads"], config["linear_num_value_heads"]
    moved = np.moveaxis(weight, axis, 0)
    cut = moved.reshape(keys, values // keys, width, *moved.shape[1:]).swapaxes(0, 1)
    return np.moveaxis(cut.reshape(moved.shape), 0, axis)


@given(heads() | llamas())
def test_every_order_is_a_permutation_and_its_inverse_leads_back(config: dict[str, Any]) -> None:
    for name, shape in names(config).items():
        order = order_of(name, config)
        groups = max(1, shape[1] // 128) if len(shape) == 2 else 1
        for permutation, size in ((order.rows, shape[0]), (order.groups, groups)):
            if permutation is not None:
                assert sorted(permutation) == list(range(size))
        array = np.arange(shape[0] * groups).reshape(shape[0], groups)
        assert (order.canonical(order.stored(array)) == array).all()
        assert (order.stored(order.canonical(array)) == array).all()
        for row in {0, shape[0] // 3, shape[0] - 1}:
            for group in {0, groups - 1}:
                there = group if order.groups is None else order.groups[group]
                assert order.stored(array)[order.row(row), there] == array[row, group]


@given(heads())
def test_an_order_moves_linear_attention_alone(config: dict[str, Any]) -> None:
    one_to_one = config["linear_num_key_heads"] in (1, config["linear_num_value_heads"])
    for name in names(config):
        moves = ".linear_attn." in name and not name.endswith(".norm") and not one_to_one
        assert bool(order_of(name, config)) == moves


@given(llamas(), st.integers(0, 2**32))
def test_queries_and_keys_of_llama_are_where_the_converter_puts_them(
    config: dict[str, Any], seed: int
) -> None:
    """`permute` of conversion/llama.py."""
    rng = np.random.default_rng(seed)
    for path, key in (("q_proj", "num_attention_heads"), ("k_proj", "num_key_value_heads")):
        name = f"model.layers.0.self_attn.{path}"
        weight, heads = rng.normal(size=(names(config)[name][0], 3)), config[key]
        halves = weight.reshape(heads, 2, len(weight) // heads // 2, 3)
        assert (
            order_of(name, config).stored_rows(weight) == halves.swapaxes(1, 2).reshape(weight.shape)
        ).all()
    for path in ("self_attn.v_proj", "self_attn.o_proj", "mlp.up_proj"):
        assert not order_of(f"model.layers.0.{path}", config)


@given(heads(), st.integers(0, 2**32))
@settings(max_examples=20)
def test_it_is_what_the_converter_does(config: dict[str, Any], seed: int) -> None:
    """The whole of `modify_tensors` in conversion/qwen.py, in floats."""
    rng = np.random.default_rng(seed)
    keys, width = config["linear_num_key_heads"] * 128, 128
    some = {name: shape for name, shape in names(config).items() if ".layers.0." in name or len(shape) == 1}
    for name, shape in some.items():
        weight = rng.normal(size=shape).astype(np.float32)
        expected, path = weight, parse_tensor_name(name).path
        if path in ("linear_attn.in_proj_qkv", "linear_attn.conv1d"):
            expected = np.concatenate([weight[: 2 * keys], tiled(weight[2 * keys :], 0, config, width)])
            expected = expected.squeeze(1) if expected.ndim == 3 else expected
        elif path == "linear_attn.in_proj_z":
            expected = tiled(weight, 0, config, width)
        elif path in ("linear_attn.in_proj_b", "linear_attn.in_proj_a", "linear_attn.dt_bias"):
            expected = tiled(weight, 0, config, 1)
        elif path == "linear_attn.A_log":
            expected = -np.exp(tiled(weight, 0, config, 1))
        elif path == "linear_attn.out_proj":
            expected = tiled(weight, 1, config, width)
        elif path.endswith("norm") and path != "linear_attn.norm":
            expected = weight + 1
        arch = architecture(config["model_type"])
        assert arch.stored_shape(path, shape) == expected.shape
        if len(shape) == 2:
            found = stored_tensors({name: pack_one_bit(name, np.sign(weight))}, config)
            (stored,) = found.values()
            assert isinstance(stored, PackedTensor)
            assert (stored.to_dense() == np.sign(expected)).all()
        else:
            (array,) = stored_tensors({name: weight}, config).values()
            np.testing.assert_allclose(np.asarray(array), expected, rtol=1e-6)
            np.testing.assert_allclose(
                arch.canonical_vector(path, array, config), weight, rtol=1e-6, atol=1e-6
            )


def test_qwen3_is_kept_as_it_is() -> None:
    config = tiny_config()
    tensors = tiny_tensors(config)
    kept = stored_tensors(tensors, config)
    for name, tensor in tensors.items():
        assert not order_of(name, config)
        assert kept[architecture("qwen3").gguf_name(name)] is tensor


def test_columns_that_tear_groups_apart_are_refused() -> None:
    torn = HYBRID | {"linear_key_head_dim": 64, "linear_value_head_dim": 64}
    name = f"model.layers.0.{LINEAR}out_proj"
    with pytest.raises(UnsupportedModelError, match="heads of 64, which tears groups of 128 apart"):
        order_of(name, tiny_config(**torn))
    assert order_of(name, tiny_config(**torn), group=32)
    whole = torn | {"linear_num_value_heads": 2}  # nothing is moved then
    assert not order_of(name, tiny_config(**whole))


def test_a_file_that_tears_groups_apart_is_refused(tmp_path: Path) -> None:
    """Written by hand, since our writer refuses it too."""
    config = tiny_config(**HYBRID | {"linear_key_head_dim": 64, "linear_value_head_dim": 64})
    arch, rng = architecture("qwen35"), np.random.default_rng(0)
    tensors: dict[str, Any] = {
        arch.gguf_name(name): random_one_bit(name, shape, rng)
        for name, shape in arch.matrix_shapes(config).items()
    }
    for name, shape in arch.vector_shapes(config).items():
        stored = arch.stored_shape(parse_tensor_name(name).path, shape)
        tensors[arch.gguf_name(name)] = np.full(stored, -1, np.float32)
    path = tmp_path / "torn.gguf"
    write_gguf(path, arch.config_to_gguf(config) | tiny_tokenizer().to_gguf(), tensors)
    with pytest.raises(UnsupportedModelError, match="tears groups"):
        open_checkpoint(path)


@pytest.mark.parametrize("value", [0.0, 1.0, float("nan")])
def test_a_decay_that_is_none_is_refused(value: float) -> None:
    name, values = f"{LINEAR}A_log", np.array([-1, -2, -3, value, -5, -6], np.float32)
    with pytest.raises(ModelFormatError, match="A_log: a decay is not below 0"):
        architecture("qwen35").canonical_vector(name, values, CONFIG)


def test_a_file_gives_back_what_was_written(hybrid_gguf: Path) -> None:
    """Bits and scales exactly; floats up to the rounding of what the file keeps."""
    tensors = tiny_tensors(CONFIG, seed=7)
    with open_checkpoint(hybrid_gguf) as checkpoint, GGUFFile(hybrid_gguf) as file:
        assert {*checkpoint.matrices, *checkpoint.vectors} == set(tensors)
        for name in checkpoint.matrices:
            assert (checkpoint.packed(name).blocks == tensors[name].blocks).all()
        for name in checkpoint.vectors:
            found = checkpoint.vector(name)
            assert found.shape == tensors[name].shape and found.dtype == np.float32
            np.testing.assert_allclose(found, tensors[name], atol=3e-7)
        for layer in LINEAR_LAYERS:
            assert file.tensors[f"blk.{layer}.ssm_conv1d.weight"].shape == (1280, 4)
            assert (file.vector(f"blk.{layer}.ssm_a") < 0).all()
        for layer in FULL_LAYERS:
            assert 0.8 <= file.vector(f"blk.{layer}.attn_q_norm.weight").min() <= 1


def test_an_order_without_rows_or_groups_moves_nothing() -> None:
    array = np.arange(6).reshape(3, 2)
    assert not Order() and Order().stored(array) is array and Order().canonical(array) is array
    assert Order().row(2) == 2


def test_the_same_seed_writes_the_same_hybrid(hybrid_gguf: Path, tmp_path: Path) -> None:
    same = build_tiny_gguf(tmp_path / "same.gguf", seed=7, tokenizer=tiny_tokenizer(pre="qwen35"), **HYBRID)
    assert same.read_bytes() == hybrid_gguf.read_bytes()
