"""Q1_0: packing and decoding against the definition, one weight at a time."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from quantized import tensors

from bankai.quantization import PackedTensor
from bankai.quantization.one_bit import Q1_0, one_bit_blocks, pack_one_bit, scales_of, signs_of


@st.composite
def finite(draw: st.DrawFn) -> PackedTensor:
    tensor = draw(tensors(Q1_0))
    scales = scales_of(tensor.blocks)
    scales = np.where(np.isfinite(scales), scales, np.float16(0.5))
    return PackedTensor("t", Q1_0, one_bit_blocks(scales, signs_of(tensor.blocks)))


def dense_reference(tensor: PackedTensor) -> np.ndarray:
    """The definition, one weight at a time."""
    out, columns = tensor.shape
    dense = np.empty((out, columns), np.float32)
    signs, scales = signs_of(tensor.blocks), scales_of(tensor.blocks)
    for row in range(out):
        for column in range(columns):
            group, place = divmod(column, 128)
            bit = signs[row, group, place // 8] >> (place % 8) & 1
            d = np.float32(scales[row, group])
            dense[row, column] = d if bit else -d
    return dense


def test_golden_group() -> None:
    """Bytes 0 and 1 are the scale. Bit 0 of byte 2 is weight 0; bit 7 of byte 17 is weight 127."""
    blocks = np.zeros((1, 1, 18), np.uint8)
    blocks[0, 0, :2] = np.frombuffer(np.float16(0.5).tobytes(), np.uint8)
    blocks[0, 0, 2], blocks[0, 0, 17] = 0b0000_0101, 0b1000_0000
    dense = PackedTensor("t", Q1_0, blocks).to_dense()
    assert dense.dtype == np.float32 and dense.shape == (1, 128)
    assert np.flatnonzero(dense[0] > 0).tolist() == [0, 2, 127]
    assert set(dense[0].tolist()) == {0.5, -0.5}


@given(tensors(Q1_0))
def test_to_dense_is_the_definition(tensor: PackedTensor) -> None:
    np.testing.assert_array_equal(tensor.to_dense(), dense_reference(tensor))


@given(tensors(Q1_0))
def test_blocks_are_scales_and_signs(tensor: PackedTensor) -> None:
    blocks = tensor.blocks
    assert (one_bit_blocks(scales_of(blocks), signs_of(blocks)) == blocks).all()


@given(finite())
def test_dense_round_trip_is_bit_exact(tensor: PackedTensor) -> None:
    dense = tensor.to_dense()
    back = pack_one_bit("t", dense)
    assert back.to_dense().tobytes() == dense.tobytes()
    assert not np.signbit(scales_of(back.blocks)).any()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w[:, :100], "multiple of 128"),
        (lambda w: w[0], "multiple of 128"),
        (lambda w: w[:, :0], "multiple of 128"),
        (lambda w: w * np.where(np.arange(256) == 7, 2, 1), "one fp16 magnitude"),
        (lambda w: np.where(np.arange(256) == 7, 0, w), "one fp16 magnitude"),
        (lambda w: w * 1.0001, "one fp16 magnitude"),
        (lambda w: w * 1e9, "one fp16 magnitude"),
        (lambda w: w * np.nan, "one fp16 magnitude"),
        (lambda w: w * np.inf, "finite"),
    ],
)
def test_packing_refuses_what_it_cannot_hold(change, message: str) -> None:  # type: ignore[no-untyped-def]
    weight = np.where(np.random.default_rng(0).random((2, 256)) < 0.5, 0.25, -0.25)
    pack_one_bit("t", weight)
    with pytest.raises(ValueError, match=message):
        pack_one_bit("t", change(weight))
