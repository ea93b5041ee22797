"""Every quantization: its mask negates, exactly, and its decoding is that of the gguf package."""

import gguf
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from quantized import NAMES, places_of, random_tensor, tensors

from bankai.errors import UnsupportedModelError
from bankai.quantization import (
    QUANTIZATIONS,
    MatrixInfo,
    PackedTensor,
    ggml_quantization,
    quantization,
)

KNOWN_TO_GGUF = [name for name in NAMES if name != "Q1_0"]


def witness(tensor: PackedTensor) -> np.ndarray:
    """The weights as the gguf package has them."""
    kind = gguf.GGMLQuantizationType[tensor.quantization.name]
    rows = tensor.blocks.reshape(len(tensor.blocks), -1)
    with np.errstate(all="ignore"):
        return gguf.dequantize(
            rows.view(np.float32 if kind == 0 else np.float16 if kind == 1 else np.uint8), kind
        )


@pytest.mark.parametrize("name", KNOWN_TO_GGUF)
@given(st.data())
def test_weights_are_those_of_the_gguf_package(name: str, data: st.DataObject) -> None:
    tensor = data.draw(tensors(quantization(name)))
    np.testing.assert_array_equal(tensor.to_dense(), witness(tensor).astype(np.float32))
    assert tensor.to_dense().shape == tensor.shape and tensor.to_dense().dtype == np.float32


@pytest.mark.parametrize("name", KNOWN_TO_GGUF)
def test_sizes_and_numbers_are_ggmls(name: str) -> None:
    kind = quantization(name)
    block, nbytes = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType(kind.ggml_id)]
    assert gguf.GGMLQuantizationType(kind.ggml_id).name == name
    assert (kind.weights // kind.blocks, kind.nbytes // kind.blocks) == (block, nbytes)
    assert ggml_quantization(kind.ggml_id) is kind


GOLDEN = {
    # 128 signs after the scale 0.5, least significant bit first: +, -, -, ... and at the end ... -, +, +
    "Q1_0": ("0038 01" + "00" * 14 + "c0", [0.5] + [-0.5] * 125 + [0.5] * 2),
    # codes less 8: byte i has weight i below and weight i + 16 above
    "Q4_0": ("00c0 f0 19" + "88" * 14, [16.0, -2.0] + [0.0] * 14 + [-14.0, 14.0] + [0.0] * 14),
    # d = 2 and m = -1
    "Q4_1": ("0040 00bc f0 19" + "00" * 14, [-1.0, 17.0] + [-1.0] * 14 + [29.0, 1.0] + [-1.0] * 14),
    "Q8_0": ("00b8 01 ff 7f 80" + "00" * 28, [-0.5, 0.5, -63.5, 64.0] + [0.0] * 28),
    "F32": ("0000803f 000000c0" + "00000080" * 30, [1.0, -2.0] + [-0.0] * 30),
    "BF16": ("803f 00c0" + "0080" * 30, [1.0, -2.0] + [-0.0] * 30),
    "F16": ("003c 00c0" + "0080" * 30, [1.0, -2.0] + [-0.0] * 30),
}
"""A block of each, written by hand from its layout, and its weights."""


@pytest.mark.parametrize("name", NAMES)
def test_a_block_written_by_hand(name: str) -> None:
    stored, weights = GOLDEN[name]
    blocks = np.frombuffer(bytes.fromhex(stored), np.uint8).reshape(1, 1, -1)
    for wanted in (np.array([weights], np.float32), -np.array([weights], np.float32)):
        found = PackedTensor("t", quantization(name), blocks).to_dense()
        np.testing.assert_array_equal(found, wanted)
        if quantization(name).own_signs:
            np.testing.assert_array_equal(np.signbit(found), np.signbit(wanted))
        blocks = blocks ^ quantization(name).mask


@pytest.mark.parametrize("name", NAMES)
@given(st.data())
def test_the_mask_negates_every_weight_exactly(name: str, data: st.DataObject) -> None:
    tensor = data.draw(tensors(quantization(name)))
    other = PackedTensor("t", tensor.quantization, tensor.blocks ^ tensor.quantization.mask)
    np.testing.assert_array_equal(other.to_dense(), -tensor.to_dense())
    if name in KNOWN_TO_GGUF:
        np.testing.assert_array_equal(witness(other), -witness(tensor))


@pytest.mark.parametrize("name", NAMES)
@given(st.data())
def test_masks_of_places_negate_the_weights_that_they_say(name: str, data: st.DataObject) -> None:
    """Weights in an odd number of flipped rows, groups and weights change sign, and no others do."""
    tensor = data.draw(tensors(quantization(name)))
    places = data.draw(places_of(tensor))
    expected, columns = np.zeros(tensor.shape, bool), tensor.quantization.weights
    for row in places.rows:
        expected[row] ^= True
    for row, group in places.groups:
        expected[row, group * columns : (group + 1) * columns] ^= True
    for row, group, weight in places.weights:
        expected[row, group * columns + weight] ^= True
    rows, masks = places.masks(tensor.info)
    blocks, negated = tensor.blocks.copy(), np.zeros(tensor.shape, bool)
    blocks[rows] ^= masks
    negated[rows] = tensor.quantization.negated(masks)
    np.testing.assert_array_equal(negated, expected)
    weights = tensor.to_dense()
    flipped = PackedTensor("t", tensor.quantization, blocks).to_dense()
    np.testing.assert_array_equal(flipped, np.where(expected, -weights, weights))
    blocks[rows] ^= masks
    assert (blocks == tensor.blocks).all()


@pytest.mark.parametrize("kind", [kind for kind in QUANTIZATIONS if kind.own_signs], ids=str)
def test_the_mask_is_made_of_the_signs_of_all_weights(kind) -> None:  # type: ignore[no-untyped-def]
    byte, bit = kind.weight_masks(range(kind.weights))
    mask = np.zeros(kind.nbytes, np.uint8)
    np.bitwise_xor.at(mask, byte, bit)
    assert (mask == kind.mask).all() and len(kind.sign_bits) == kind.weights


def test_values_cannot_be_written_to() -> None:
    with pytest.raises(ValueError, match="read-only"):
        quantization("Q4_1").mask[0] = 1


def test_rows_end_with_a_block() -> None:
    assert [quantization(name).row_bytes(64) for name in ("F32", "F16", "Q4_1")] == [256, 128, 40]
    assert quantization("F32").row_bytes(3) == 12
    with pytest.raises(ValueError, match="rows of 33 weights, not a multiple of 32"):
        quantization("Q4_0").row_bytes(33)


def test_unknown_types_are_named() -> None:
    with pytest.raises(
        UnsupportedModelError, match=r"ggml type Q8_1 \(9\) is not supported yet; use a model in Q1_0"
    ):
        ggml_quantization(9)
    with pytest.raises(UnsupportedModelError, match="ggml type 999 is not"):
        ggml_quantization(999)
    with pytest.raises(UnsupportedModelError, match="'Q9_9' is not supported yet"):
        quantization("Q9_9")


def test_a_tensor_must_fit_its_quantization() -> None:
    kind = quantization("Q4_1")
    for blocks in (
        np.zeros((2, 2, 18), np.uint8),
        np.zeros((2, 40), np.uint8),
        np.zeros((2, 2, 20), np.int8),
    ):
        with pytest.raises(ValueError, match=r"Q4_1 is uint8 \[rows, groups, 20\], not"):
            PackedTensor("t", kind, blocks)
    tensor = random_tensor("t", kind, (3, 64), np.random.default_rng(0))
    assert tensor.info == MatrixInfo(kind, (3, 64)) and (tensor.info.rows, tensor.info.groups) == (3, 2)
