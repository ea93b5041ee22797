"""BinaryTensor: packing, flips, counts and digests against plain arithmetic on the dense matrix."""

import hashlib
from typing import Any

import numpy as np
import pytest
from builders import random_binary
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from bankai.errors import RowRangeError, StoreError
from bankai.quantization.binary import GROUP, BinaryTensor

SHAPES = st.tuples(st.integers(1, 7), st.integers(1, 4))  # out, groups


@st.composite
def tensors(draw: st.DrawFn, finite: bool = False) -> BinaryTensor:
    """Any bits and any fp16 scales: negative, zero, subnormal, and infinite or NaN unless ``finite``."""
    out, groups = draw(SHAPES)
    signs = draw(arrays(np.uint8, (out, groups, 16)))
    words = draw(arrays(np.uint16, (out, groups)))
    scales = words.view(np.float16)
    if finite:
        scales = np.where(np.isfinite(scales), scales, np.float16(0.5))
    return BinaryTensor("t", signs, scales)


def dense_reference(tensor: BinaryTensor) -> np.ndarray:
    """The definition, one weight at a time."""
    out, columns = tensor.shape
    dense = np.empty((out, columns), np.float32)
    for row in range(out):
        for column in range(columns):
            group, place = divmod(column, GROUP)
            bit = tensor.signs[row, group, place // 8] >> (place % 8) & 1
            d = np.float32(tensor.scales[row, group])
            dense[row, column] = d if bit else -d
    return dense


def test_golden_group() -> None:
    """Bit 0 of byte 0 is weight 0; bit 7 of byte 15 is weight 127."""
    signs = np.zeros((1, 1, 16), np.uint8)
    signs[0, 0, 0], signs[0, 0, 15] = 0b0000_0101, 0b1000_0000
    dense = BinaryTensor("t", signs, np.array([[0.5]], np.float16)).to_dense()
    assert dense.dtype == np.float32 and dense.shape == (1, 128)
    assert np.flatnonzero(dense[0] > 0).tolist() == [0, 2, 127]
    assert set(dense[0].tolist()) == {0.5, -0.5}


@given(tensors())
def test_to_dense_is_the_definition(tensor: BinaryTensor) -> None:
    assert np.array_equal(tensor.to_dense(), dense_reference(tensor), equal_nan=True)


@given(tensors(finite=True))
def test_dense_round_trip_is_bit_exact(tensor: BinaryTensor) -> None:
    dense = tensor.to_dense()
    back = BinaryTensor.from_dense("t", dense)
    assert back.to_dense().tobytes() == dense.tobytes()
    assert not np.signbit(back.scales).any()


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
def test_from_dense_refuses_what_it_cannot_hold(change, message: str) -> None:  # type: ignore[no-untyped-def]
    weight = np.full((3, 256), 0.25)
    BinaryTensor.from_dense("t", weight)
    with pytest.raises(ValueError, match=message):
        BinaryTensor.from_dense("t", change(weight))


@given(tensors(finite=True), st.data())
def test_flip_negates_rows_groups_and_bits(tensor: BinaryTensor, data: st.DataObject) -> None:
    """A place named twice is left alone; a group in a flipped row is flipped back, a bit of it again."""
    row = st.integers(0, tensor.shape[0] - 1)
    rows = data.draw(st.lists(row, max_size=6))
    group = st.integers(0, tensor.groups - 1)
    groups = data.draw(st.lists(st.tuples(row, group), max_size=6))
    bits = data.draw(st.lists(st.tuples(row, group, st.integers(0, 15) | st.just(127)), max_size=9))
    expected = tensor.to_dense()
    for r in rows:
        expected[r] *= -1
    for r, g in groups:
        expected[r, g * GROUP : (g + 1) * GROUP] *= -1
    for r, g, b in bits:
        expected[r, g * GROUP + b] *= -1
    before = tensor.digest()
    tensor.flip(rows, groups, bits)
    assert tensor.to_dense().tobytes() == expected.tobytes()
    tensor.flip(iter(rows), iter(groups), iter(bits))
    assert tensor.digest() == before


def test_a_bit_is_one_bit_of_one_byte() -> None:
    tensor = random_binary("t", (3, 256), np.random.default_rng(0))
    expected = tensor.signs.copy()
    expected[2, 1, 15] ^= 0x81
    expected[0, 0, 0] ^= 0x02
    tensor.flip(bits=[(2, 1, 120), (0, 0, 1), (2, 1, 127)])
    assert np.array_equal(tensor.signs, expected)


@pytest.mark.parametrize(
    "places",
    [
        ([0, 3],),
        ([-1],),
        ([0], [(0, 2)]),
        ([0], [(3, 0)]),
        ([0], [(1, -1)]),
        ([0], [], [(0, 0, 128)]),
        ([0], [], [(0, 0, -1)]),
        ([0], [], [(0, 2, 0)]),
        ([0], [], [(3, 0, 0)]),
    ],
)
def test_a_place_outside_changes_nothing(places: tuple[list[Any], ...]) -> None:
    tensor = random_binary("t", (3, 256), np.random.default_rng(0))
    before = tensor.digest()
    with pytest.raises(RowRangeError, match="t has"):
        tensor.flip(*places)
    assert tensor.digest() == before


def test_read_only_bits_are_refused() -> None:
    tensor = random_binary("t", (3, 256), np.random.default_rng(0))
    tensor.signs.flags.writeable = False
    with pytest.raises(StoreError, match="writable=True"):
        tensor.flip([0])


@given(tensors())
def test_popcount_counts_positive_bits(tensor: BinaryTensor) -> None:
    assert tensor.popcount() == sum(int(byte).bit_count() for byte in tensor.signs.ravel())


def test_popcount_and_digest_of_many_rows() -> None:
    """More rows than one step takes."""
    tensor = BinaryTensor("t", np.full((9000, 1, 16), 3, np.uint8), np.ones((9000, 1), np.float16))
    assert tensor.popcount() == 9000 * 32
    whole = np.array([9000, 128], "<u8").tobytes() + tensor.signs.tobytes() + tensor.scales.tobytes()
    assert tensor.digest() == hashlib.blake2b(whole, digest_size=8).digest()


def test_digest_sees_bits_scales_and_shape_not_name_nor_strides() -> None:
    tensor = random_binary("a", (4, 256), np.random.default_rng(0))
    blocks = np.zeros((4, 2, 18), np.uint8)
    blocks[:, :, 2:] = tensor.signs
    assert BinaryTensor("b", blocks[:, :, 2:], tensor.scales).digest() == tensor.digest()
    others = [
        BinaryTensor("a", tensor.signs ^ (np.arange(16) == 5).astype(np.uint8), tensor.scales),
        BinaryTensor("a", tensor.signs, -tensor.scales),
        BinaryTensor("a", tensor.signs.reshape(8, 1, 16), tensor.scales.reshape(8, 1)),
    ]
    assert len({tensor.digest(), *(other.digest() for other in others)}) == 4


def test_ill_fitting_arrays_are_refused() -> None:
    signs, scales = np.zeros((2, 1, 16), np.uint8), np.zeros((2, 1), np.float16)
    BinaryTensor("t", signs, scales)
    for bad in (signs[:, :, :8], signs[0], signs.astype(np.int8)):
        with pytest.raises(ValueError, match="signs must be"):
            BinaryTensor("t", bad, scales)
    for bad in (scales[:1], scales.astype(np.float32), scales[:, 0]):
        with pytest.raises(ValueError, match="scales must be"):
            BinaryTensor("t", signs, bad)
