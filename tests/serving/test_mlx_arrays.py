"""Patches on MLX arrays: the bits of the patched file, and not a trace afterwards."""

from dataclasses import replace
from pathlib import Path

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from wide import name, places

from bankai.checkpoint.convert import convert
from bankai.checkpoint.model_file import open_checkpoint
from bankai.errors import (
    AlreadyAppliedError,
    RowRangeError,
    UnboundPatchError,
    UnknownTensorError,
    UnsupportedModelError,
    WrongBaseError,
)
from bankai.evaluation.mlx_qwen3 import MlxQwen3
from bankai.patch import Flip, Patch, bind, digest, fingerprint
from bankai.patch.places import places_by_tensor
from bankai.patching import apply_patch
from bankai.quantization.one_bit import signs_of
from bankai.serving.mlx_arrays import MlxTensors

PACKING = {"group_size": 128, "bits": 1}
UP, DOWN = name(0, "up_proj"), name(1, "down_proj")
FLIPS = (Flip(UP, 3), Flip(UP, 9, 1), Flip(UP, 3, 0, 77), Flip(DOWN, 5, 2, 31), Flip(DOWN, 5, 2, 32))


def arrays_of(directory: Path) -> dict[str, tuple[mx.array, mx.array, mx.array]]:
    """The quantized modules of an MLX directory, as MLX itself reads them."""
    stored = mx.load(str(directory / "model.safetensors"))
    names = [key.removesuffix(".scales") for key in stored if key.endswith(".scales")]
    return {key: tuple(stored[f"{key}.{part}"] for part in ("weight", "scales", "biases")) for key in names}


@pytest.fixture(scope="module")
def directory(wide_gguf, tmp_path_factory) -> Path:
    return convert(wide_gguf, tmp_path_factory.mktemp("mlx") / "base")


@pytest.fixture
def arrays(directory):
    return arrays_of(directory)


def words(arrays) -> dict[str, bytes]:
    return {key: np.array(weight).tobytes() for key, (weight, _, _) in arrays.items()}


def bound(directory: Path, *flips: Flip) -> Patch:
    with open_checkpoint(directory) as checkpoint:
        return bind(Patch.of(flips), checkpoint)


def test_tensors_are_those_of_the_file(directory, arrays) -> None:
    tensors = MlxTensors(arrays)
    with open_checkpoint(directory) as checkpoint:
        assert tensors.matrices == checkpoint.matrices
        assert fingerprint(tensors) == fingerprint(checkpoint)
        assert digest(tensors, FLIPS) == digest(checkpoint, FLIPS)
        for key in checkpoint.matrices:
            assert np.array_equal(tensors.packed(key).blocks, checkpoint.packed(key).blocks)


@settings(max_examples=20)
@given(st.frozensets(places(), min_size=1, max_size=10))
def test_flips_are_the_masks_of_their_places_and_undo_themselves(directory, flips) -> None:
    arrays = arrays_of(directory)
    before, tensors = words(arrays), MlxTensors(arrays)
    tensors.flip(flips)
    changed = arrays_of(directory)
    with open_checkpoint(directory) as checkpoint:
        for key in {flip.tensor for flip in flips}:
            rows, masks = places_by_tensor(flips)[key].masks(checkpoint.matrices[key])
            blocks = np.array(checkpoint.packed(key).blocks)
            blocks[rows] ^= masks
            expected = replace(checkpoint.packed(key), blocks=blocks)
            signs = np.ascontiguousarray(signs_of(blocks))
            changed[key] = (mx.array(signs.view("<u4").reshape(len(signs), -1)), *changed[key][1:])
            dense = mx.dequantize(*arrays[key], **PACKING)
            assert mx.array_equal(dense, mx.dequantize(*changed[key], **PACKING)).item()
            assert np.array_equal(np.array(dense, np.float32), expected.to_dense())
    assert words(arrays) == words(changed)
    tensors.flip(flips)
    assert words(arrays) == before


def test_a_patched_model_is_the_patched_file(directory, arrays, tmp_path) -> None:
    patch = bound(directory, *FLIPS)
    apply_patch(directory, patch, tmp_path / "patched")
    wanted, before, tensors = words(arrays_of(tmp_path / "patched")), words(arrays), MlxTensors(arrays)
    held = arrays[UP][0]
    with tensors.patched(patch):
        assert words(arrays) == wanted != before
        assert np.array(held).tobytes() == wanted[UP]  # the very array that a model holds
    assert words(arrays) == before


def test_logits_follow_and_come_back(wide_gguf, tmp_path) -> None:
    ids = list(range(40, 80))
    with open_checkpoint(wide_gguf) as checkpoint:
        patch = bind(Patch.of([Flip("model.embed_tokens", 41), Flip("lm_head", 7), *FLIPS]), checkpoint)
        model = MlxQwen3(checkpoint)
    apply_patch(wide_gguf, patch, tmp_path / "patched.gguf")
    with open_checkpoint(tmp_path / "patched.gguf") as checkpoint:
        wanted = MlxQwen3(checkpoint).logits(ids)
    base = model.logits(ids)
    with MlxTensors({key: packed.arrays for key, packed in model._packed.items()}).patched(patch):
        assert np.array_equal(model.logits(ids), wanted)
    assert np.array_equal(model.logits(ids), base) and not np.array_equal(base, wanted)


class Block(nn.Module):
    """A module tree such as mlx-lm's, with one layer of another width."""

    def __init__(self, arrays, dtype: mx.Dtype) -> None:
        super().__init__()
        self.up_proj = nn.QuantizedLinear(256, 384, bias=False, **PACKING)
        weight, scales, biases = arrays[UP]
        self.up_proj.weight, self.up_proj.scales, self.up_proj.biases = (
            weight,
            scales.astype(dtype),
            biases.astype(dtype),
        )
        self.wide = nn.QuantizedLinear(256, 128, bias=False, group_size=64, bits=4)
        self.norm = nn.RMSNorm(256)


@pytest.mark.parametrize("dtype", [mx.float16, mx.float32], ids=["float16", "float32"])
def test_modules_of_mlx(arrays, dtype) -> None:
    block = Block(arrays, dtype)
    tensors = MlxTensors(dict(block.named_modules()))
    assert list(tensors.matrices) == ["up_proj"]
    x = mx.random.normal((4, 256))
    before = block.up_proj(x)
    with tensors.patched(Patch.of([Flip("up_proj", 3), Flip("up_proj", 8)]), unbound=True):
        during = np.array(block.up_proj(x))
    expected = np.array(before)
    expected[:, [3, 8]] *= -1  # exactly: rounding is symmetric in sign
    assert np.array_equal(during, expected)
    assert mx.array_equal(block.up_proj(x), before).item()


def test_nested_patches_may_overlap(directory, arrays) -> None:
    one, other = bound(directory, Flip(UP, 3), Flip(UP, 4)), bound(directory, Flip(UP, 4), Flip(DOWN, 1))
    before, tensors = words(arrays), MlxTensors(arrays)
    with tensors.patched(one), tensors.patched(other):
        both = words(arrays)
    assert words(arrays) == before
    tensors.flip([Flip(UP, 3), Flip(DOWN, 1)])
    assert words(arrays) == both


def test_the_patch_comes_off_when_the_block_raises(directory, arrays) -> None:
    before, tensors = words(arrays), MlxTensors(arrays)
    with pytest.raises(KeyError), tensors.patched(bound(directory, *FLIPS)):
        raise KeyError
    assert words(arrays) == before


def test_refusals_change_nothing(directory, arrays) -> None:
    patch, tensors = bound(directory, *FLIPS), MlxTensors(arrays)
    before = words(arrays)
    refused = [
        (patch.unbound(), UnboundPatchError, {}),
        (Patch.of([Flip(UP, 384)]), RowRangeError, {"unbound": True}),
        (Patch.of([Flip(UP, 0, 2)]), RowRangeError, {"unbound": True}),
        (
            Patch.of([Flip(UP, 1), Flip("model.layers.7.mlp.up_proj", 0)]),
            UnknownTensorError,
            {"unbound": True},
        ),
    ]
    for value, error, options in refused:
        with pytest.raises(error), tensors.patched(value, **options):
            pass
    assert words(arrays) == before
    with tensors.patched(patch):
        with pytest.raises(AlreadyAppliedError), tensors.patched(patch):
            pass
        assert words(arrays) != before
    tensors.flip([Flip(UP, 3, 1)])
    with pytest.raises(WrongBaseError), tensors.patched(patch):
        pass


def test_other_models_are_refused(arrays) -> None:
    weight, scales, biases = arrays[UP]
    with pytest.raises(UnsupportedModelError, match="no weight of 1 bit"):
        MlxTensors({"a": nn.Linear(128, 128), "b": (weight, scales[:, :1], biases)})
    odd = MlxTensors({UP: (weight, scales, biases + mx.array(0.25, mx.float16))})
    with pytest.raises(UnsupportedModelError, match="not 2d and -d"):
        odd.flip([Flip(UP, 0)])
