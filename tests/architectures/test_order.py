"""Order and values in GGUF: permutations and their inverses, and what llama.cpp's converter does, told another way."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import build_tiny_gguf, tiny_config, tiny_tensors, tiny_tokenizer
from hybrid import FULL_LAYERS, HYBRID, LINEAR_LAYERS, SHAPES, places
from hypothesis import given, settings
from hypothesis import strategies as st

from bankai.architectures.config import config_to_gguf, expected_shapes
from bankai.architectures.names import architecture
from bankai.architectures.order import (
    Order,
    ReorderedTensor,
    canonical_dense,
    order_of,
    stored_shape,
    stored_tensors,
)
from bankai.checkpoint.gguf import GGUFFile, write_gguf
from bankai.checkpoint.model_file import open_checkpoint
from bankai.errors import ModelFormatError, RowRangeError, StoreError, UnsupportedModelError
from bankai.patch import Flip
from bankai.patch.binding import touched
from bankai.quantization.binary import BinaryTensor

CONFIG = tiny_config(**HYBRID)
LINEAR = "model.layers.0.linear_attn."


@st.composite
def heads(draw: st.DrawFn) -> dict[str, Any]:
    """Configurations with any numbers of heads."""
    keys = draw(st.integers(1, 6))
    numbers = {"linear_num_key_heads": keys, "linear_num_value_heads": keys * draw(st.integers(1, 6))}
    return tiny_config(**HYBRID | numbers)


def names(config: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    binary, dense = expected_shapes(config)
    return dict(binary) | dense


def tiled(weight: np.ndarray, axis: int, config: dict[str, Any], width: int) -> np.ndarray:
    """What the converter does to value heads along an axis: [key heads, heads of each, width] to [heads of each, key
    heads, width].
    """
    keys, values = config["linear_num_key_heads"], config["linear_num_value_heads"]
    moved = np.moveaxis(weight, axis, 0)
    cut = moved.reshape(keys, values // keys, width, *moved.shape[1:]).swapaxes(0, 1)
    return np.moveaxis(cut.reshape(moved.shape), 0, axis)


@given(heads())
def test_every_order_is_a_permutation_and_its_inverse_leads_back(config: dict[str, Any]) -> None:
    for name, shape in names(config).items():
        order = order_of(name, config)
        groups = shape[1] // 128 if len(shape) == 2 else 1
        for permutation, size in ((order.rows, shape[0]), (order.groups, groups)):
            if permutation is not None:
                assert sorted(permutation) == list(range(size))
        array = np.arange(shape[0] * groups).reshape(shape[0], groups)
        assert (order.canonical(order.stored(array)) == array).all()
        assert (order.stored(order.canonical(array)) == array).all()
        for row in {0, shape[0] // 3, shape[0] - 1}:
            for group in {0, groups - 1}:
                assert order.stored(array)[order.row(row), order.group(group)] == array[row, group]
        one_to_one = config["linear_num_key_heads"] in (1, config["linear_num_value_heads"])
        moves = ".linear_attn." in name and not name.endswith(".norm") and not one_to_one
        assert bool(order) == moves


@given(heads(), st.integers(0, 2**32))
@settings(deadline=None, max_examples=20)
def test_it_is_what_the_converter_does(config: dict[str, Any], seed: int) -> None:
    """The whole of `modify_tensors` in conversion/qwen.py, in floats."""
    rng = np.random.default_rng(seed)
    keys, width = config["linear_num_key_heads"] * 128, 128
    some = {name: shape for name, shape in names(config).items() if ".layers.0." in name or len(shape) == 1}
    for name, shape in some.items():
        weight = rng.normal(size=shape).astype(np.float32)
        expected, path = weight, name.split(".", 3)[-1]
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
        assert stored_shape(name, shape) == expected.shape
        if len(shape) == 2:
            signs = BinaryTensor.from_dense(name, np.sign(weight))
            found = stored_tensors({name: signs}, config)
            (stored,) = found.values()
            assert isinstance(stored, BinaryTensor)
            assert (stored.to_dense() == np.sign(expected)).all()
        else:
            (array,) = stored_tensors({name: weight}, config).values()
            np.testing.assert_allclose(np.asarray(array), expected, rtol=1e-6)
            np.testing.assert_allclose(canonical_dense(name, array, config), weight, rtol=1e-6, atol=1e-6)


def test_qwen3_is_kept_as_it_is() -> None:
    config = tiny_config()
    tensors = tiny_tensors(config)
    kept = stored_tensors(tensors, config)
    for name, tensor in tensors.items():
        assert not order_of(name, config)
        assert kept[architecture("qwen3").to_gguf(name)] is tensor


def random_tensor(name: str, seed: int = 0) -> tuple[BinaryTensor, BinaryTensor, ReorderedTensor]:
    """A tensor, what a file keeps of it, and the view that gives it back."""
    rng = np.random.default_rng(seed)
    out, columns = SHAPES[name]
    signs = rng.integers(0, 256, (out, columns // 128, 16), dtype=np.uint8)
    scales = rng.uniform(0.5, 2, (out, columns // 128)).astype(np.float16)
    tensor, order = BinaryTensor(name, signs, scales), order_of(name, CONFIG)
    stored = BinaryTensor(name, order.stored(signs).copy(), order.stored(scales).copy())
    return tensor, stored, ReorderedTensor(stored, order)


MOVED = [f"{LINEAR}{path}" for path in ("in_proj_qkv", "in_proj_z", "in_proj_b", "in_proj_a", "out_proj")]


@pytest.mark.parametrize("name", MOVED)
def test_a_reordered_tensor_is_the_tensor(name: str) -> None:
    tensor, stored, view = random_tensor(name)
    assert isinstance(view, BinaryTensor)
    assert (view.name, view.shape, view.groups) == (name, tensor.shape, tensor.groups)
    assert (view.signs == tensor.signs).all() and (view.scales == tensor.scales).all()
    assert (view.to_dense() == tensor.to_dense()).all() and view.digest() == tensor.digest()
    assert view.popcount() == tensor.popcount() and stored.digest() != tensor.digest()
    rows = np.random.default_rng(1).integers(0, tensor.shape[0], 9)
    for chosen in (rows, rows.tolist(), []):
        part, same = view.select(chosen), tensor.select(chosen)
        assert (part.signs == same.signs).all() and (part.scales == same.scales).all()


def test_whole_arrays_are_copies_that_nobody_takes_for_the_file() -> None:
    _, _, view = random_tensor(MOVED[0])
    with pytest.raises(ValueError, match="read-only"):
        view.signs[0] = 0
    with pytest.raises(ValueError, match="read-only"):
        view.scales[0] = 0


@given(st.lists(places(linear=True), max_size=12))
def test_flips_reach_the_places_that_they_name(flips: list[Flip]) -> None:
    for name, there in touched(flips).items():
        tensor, stored, view = random_tensor(name)
        before = stored.signs.copy()
        for one in (tensor, view):
            one.flip(there.rows, there.groups, there.bits)
        assert (view.signs == tensor.signs).all() and (view.scales == tensor.scales).all()
        view.flip(there.rows, there.groups, there.bits)
        assert (stored.signs == before).all()


def test_places_outside_and_read_only_bits_are_refused() -> None:
    _, stored, view = random_tensor(MOVED[4])
    before = stored.signs.copy()
    with pytest.raises(RowRangeError, match="rows 0 to 255, not 256"):
        view.flip(rows=[0, 256])
    with pytest.raises(RowRangeError, match="groups 0 to 5, not 6"):
        view.flip(groups=[(0, 0), (0, 6)])
    stored.signs.flags.writeable = False
    with pytest.raises(StoreError, match="read-only"):
        view.flip(rows=[0])
    assert (stored.signs == before).all()


def test_columns_that_tear_groups_apart_are_refused() -> None:
    torn = HYBRID | {"linear_key_head_dim": 64, "linear_value_head_dim": 64}
    with pytest.raises(UnsupportedModelError, match="heads of 64, which tears groups of 128 apart"):
        order_of(f"{LINEAR}out_proj", tiny_config(**torn))
    whole = torn | {"linear_num_value_heads": 2}  # nothing is moved then
    assert not order_of(f"{LINEAR}out_proj", tiny_config(**whole))


def test_a_file_that_tears_groups_apart_is_refused(tmp_path: Path) -> None:
    """Written by hand, since our writer refuses it too."""
    config = tiny_config(**HYBRID | {"linear_key_head_dim": 64, "linear_value_head_dim": 64})
    binary, dense = expected_shapes(config)
    known = architecture("qwen35")
    rng = np.random.default_rng(0)
    tensors: dict[str, Any] = {}
    for name, (out, columns) in binary.items():
        signs = rng.integers(0, 256, (out, columns // 128, 16), dtype=np.uint8)
        tensors[known.to_gguf(name)] = BinaryTensor(name, signs, np.ones(signs.shape[:2], np.float16))
    for name, shape in dense.items():
        tensors[known.to_gguf(name)] = np.full(stored_shape(name, shape), -1, np.float32)
    path = tmp_path / "torn.gguf"
    write_gguf(path, config_to_gguf(config) | tiny_tokenizer().to_gguf(), tensors)
    with pytest.raises(UnsupportedModelError, match="tears groups"):
        open_checkpoint(path)


@pytest.mark.parametrize("value", [0.0, 1.0, float("nan")])
def test_a_decay_that_is_none_is_refused(value: float) -> None:
    name, values = f"{LINEAR}A_log", np.array([-1, -2, -3, value, -5, -6], np.float32)
    with pytest.raises(ModelFormatError, match="A_log: a decay is not below 0"):
        canonical_dense(name, values, CONFIG)


def test_a_file_gives_back_what_was_written(hybrid_gguf: Path) -> None:
    """Bits and scales exactly; floats up to the rounding of what the file keeps."""
    tensors = tiny_tensors(CONFIG, seed=7)
    with open_checkpoint(hybrid_gguf) as checkpoint, GGUFFile(hybrid_gguf) as file:
        assert {*checkpoint.binary_names(), *checkpoint.dense_names()} == set(tensors)
        for name in checkpoint.binary_names():
            assert checkpoint.binary(name).digest() == tensors[name].digest()
        for name in checkpoint.dense_names():
            found = checkpoint.dense(name)
            assert found.shape == tensors[name].shape and found.dtype == np.float32
            np.testing.assert_allclose(found, tensors[name], atol=3e-7)
        for layer in LINEAR_LAYERS:
            assert file.tensors[f"blk.{layer}.ssm_conv1d.weight"].shape == (1280, 4)
            assert (file.dense(f"blk.{layer}.ssm_a") < 0).all()
        for layer in FULL_LAYERS:
            assert 0.8 <= file.dense(f"blk.{layer}.attn_q_norm.weight").min() <= 1


def test_an_order_without_rows_or_groups_moves_nothing() -> None:
    array = np.arange(6).reshape(3, 2)
    assert not Order() and Order().stored(array) is array and Order().canonical(array) is array
    assert (Order().row(2), Order().group(1)) == (2, 1)


def test_the_same_seed_writes_the_same_hybrid(hybrid_gguf: Path, tmp_path: Path) -> None:
    same = build_tiny_gguf(tmp_path / "same.gguf", seed=7, tokenizer=tiny_tokenizer(pre="qwen35"), **HYBRID)
    assert same.read_bytes() == hybrid_gguf.read_bytes()
