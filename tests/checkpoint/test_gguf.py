"""GGUF: golden bytes, round trips, the gguf package as a witness, and hostile files."""

import os
import struct
import time
import tracemalloc
from pathlib import Path

import gguf
import hostile
import numpy as np
import pytest
from builders import random_one_bit
from hypothesis import given, settings
from hypothesis import strategies as st
from quantized import NAMES, tensors

from bankai.checkpoint.gguf import GGUFFile, gguf_size, stream_gguf, write_gguf
from bankai.errors import BankaiError, ModelFormatError, StoreError, UnsupportedModelError
from bankai.quantization import PackedTensor, quantization
from bankai.quantization.floats import F32
from bankai.quantization.one_bit import Q1_0, one_bit_blocks


@pytest.fixture
def put(tmp_path: Path):  # type: ignore[no-untyped-def]
    """Write bytes to a file and return its path."""

    def write(data: bytes) -> Path:
        path = tmp_path / "file.gguf"
        path.write_bytes(data)
        return path

    return write


def test_golden_file(tmp_path: Path) -> None:
    """A whole small file, byte by byte, written by hand in hostile.py's own writer."""
    path = tmp_path / "golden.gguf"
    blocks = one_bit_blocks(np.array([[0.5], [2]], np.float16), np.full((2, 1, 16), 0xA5, np.uint8))
    tensor = PackedTensor("w", Q1_0, blocks)
    write_gguf(
        path,
        {"general.architecture": "x", "n": 7, "names": ["a", "bc"]},
        {"norm": np.array([1, 2], np.float32), "w": tensor},
    )
    expected = hostile.gguf(
        [
            hostile.pair(b"general.architecture", 8, hostile.text(b"x")),
            hostile.pair(b"n", 4, b"\7\0\0\0"),
            hostile.pair(b"names", 9, hostile.array(8, 2, hostile.text(b"a") + hostile.text(b"bc"))),
        ],
        [hostile.tensor(b"norm", [2], 0, 0), hostile.tensor(b"w", [128, 2], 41, 32)],
        struct.pack("<ff", 1, 2)
        + bytes(24)
        + b"\x00\x38"
        + b"\xa5" * 16
        + b"\x00\x40"
        + b"\xa5" * 16
        + bytes(28),
    )
    assert path.read_bytes() == expected


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=20)  # each example syncs a file
@given(st.data())
def test_a_matrix_comes_back(
    tmp_path_factory: pytest.TempPathFactory, name: str, data: st.DataObject
) -> None:
    """Any bytes, NaN payloads included."""
    tensor = data.draw(tensors(quantization(name)))
    path = tmp_path_factory.getbasetemp() / "matrix.gguf"
    write_gguf(path, {"general.architecture": "x"}, {"w": tensor})
    with GGUFFile(path) as file:
        assert file.blocks("w").tobytes() == tensor.blocks.tobytes()
        assert file.tensors["w"].quantization is tensor.quantization
        with pytest.raises(ValueError, match="read-only"):
            file.blocks("w")[0] = 0


METADATA = {
    "general.architecture": "qwen3",
    "truth": True,
    "lie": False,
    "text": "Ġé\n",
    "nothing": "",
    "half": 0.5,
    "count": 4_000_000_000,
    "minus": -5,
    "long": 1 << 40,
    "longest": -(1 << 40),
    "texts": ["", "Ġ", "日本"],
    "numbers": [1, -2, 3],
    "large": [1 << 31, 5],
    "fractions": [0.25, -8.0],
    "truths": [True, False],
}


def test_metadata_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    write_gguf(path, METADATA, {})
    with GGUFFile(path) as file:
        assert dict(file.metadata) == METADATA
        assert len(file.metadata) == len(METADATA)
        assert "absent" not in file.metadata
        assert type(file.metadata["truths"][0]) is bool


def test_the_gguf_package_reads_what_we_write(tmp_path: Path) -> None:
    path = tmp_path / "w.gguf"
    rng = np.random.default_rng(1)
    binary = random_one_bit("w", (5, 384), rng)
    half, single = rng.normal(size=(3, 2)).astype(np.float16), rng.normal(size=7).astype(np.float32)
    write_gguf(path, METADATA, {"w": binary, "half": half, "single": single})
    witness = gguf.GGUFReader(path)
    for key, value in METADATA.items():
        assert witness.fields[key].contents() == value, key
    seen = {tensor.name: tensor for tensor in witness.tensors}
    assert seen["w"].tensor_type == gguf.GGMLQuantizationType.Q1_0
    assert seen["w"].shape.tolist() == [384, 5]
    assert seen["w"].data.tobytes() == binary.blocks.tobytes()
    assert np.array_equal(seen["half"].data, half) and np.array_equal(seen["single"].data, single)
    with GGUFFile(path) as file:
        for name, tensor in seen.items():
            assert (file.tensors[name].offset, file.tensors[name].nbytes) == (
                tensor.data_offset,
                tensor.n_bytes,
            )
        assert np.array_equal(file.vector("half"), half)
        assert np.array_equal(file.vector("single"), single)


@pytest.mark.parametrize(
    ("metadata", "tensors", "error"),
    [
        ({"bad": None}, {}, TypeError),
        ({"bad": []}, {}, TypeError),
        ({"bad": [1, "a"]}, {}, TypeError),
        ({"bad": [-1, 1 << 31]}, {}, TypeError),
        ({}, {"t": np.zeros(2, np.complex64)}, UnsupportedModelError),
    ],
)
def test_a_failed_write_leaves_the_old_file(tmp_path: Path, metadata, tensors, error) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "m.gguf"
    path.write_bytes(b"old")
    with pytest.raises(error):
        write_gguf(path, {"general.architecture": "x"} | metadata, tensors)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_size_is_known_before_writing(tmp_path: Path) -> None:
    layout = {"w": (Q1_0, (5, 384)), "halé": (quantization("F16"), (3,)), "single": (F32, (7, 2))}
    arrays = [random_one_bit("w", (5, 384), np.random.default_rng(0)), np.ones(3, np.float16)]
    stream_gguf(tmp_path / "m.gguf", METADATA, layout, [*arrays, np.ones((7, 2), np.float32)])
    assert (tmp_path / "m.gguf").stat().st_size == gguf_size(METADATA, layout)


def test_a_disk_too_small_is_told_before_the_first_tensor(tmp_path: Path) -> None:
    layout = {"w": (F32, (1 << 60,))}
    with pytest.raises(StoreError, match="free; choose another place"):
        stream_gguf(tmp_path / "m.gguf", METADATA, layout, [])
    assert list(tmp_path.iterdir()) == []


def test_writing_into_no_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot be written"):
        write_gguf(tmp_path / "none" / "m.gguf", {"general.architecture": "x"}, {})


def test_sound_file_by_hand(put) -> None:  # type: ignore[no-untyped-def]
    for version in (2, 3):
        with GGUFFile(put(hostile.SOUND_GGUF[:4] + bytes([version]) + hostile.SOUND_GGUF[5:])) as file:
            assert dict(file.metadata) == {"a": 1, "s": "hi", "l": ["x"]}
            assert file.tensors["w"].shape == (2, 128) and file.tensors["w"].quantization is Q1_0
            assert file.vector("norm").tolist() == [0, 0, 0, 0]
            assert file.blocks("w").tobytes() == bytes(range(36))


@pytest.mark.parametrize("name", hostile.GGUF_ATTACKS)
def test_attack(put, name: str) -> None:  # type: ignore[no-untyped-def]
    """Refused as damaged, at once, without much memory."""
    data = hostile.GGUF_ATTACKS[name]
    path = put(data)
    tracemalloc.start()
    started = time.monotonic()
    with pytest.raises(ModelFormatError):
        GGUFFile(path)
    seconds, (_, peak) = time.monotonic() - started, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert seconds < 1  # generous: they take under a millisecond
    assert peak < 200_000 + 20 * len(data)  # the constant is Python's own: modules, tracebacks


@pytest.mark.parametrize("name", hostile.GGUF_UNSUPPORTED)
def test_sound_but_unknown(put, name: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(UnsupportedModelError):
        GGUFFile(put(hostile.GGUF_UNSUPPORTED[name]))


def test_a_scalar_and_an_alignment_of_64_are_sound(put) -> None:  # type: ignore[no-untyped-def]
    tensors = [hostile.tensor(b"s", [], 0, 0), hostile.tensor(b"t", [1], 30, 64)]
    with GGUFFile(
        put(hostile.gguf([hostile.alignment(64)], tensors, struct.pack("<f60xH", 3, 0x40A0), alignment=64))
    ) as file:
        assert file.vector("s").shape == () and file.vector("s") == 3
        assert file.vector("t").tolist() == [5.0]  # bf16 0x40A0


@given(st.integers(0, len(hostile.SOUND_GGUF) - 1))
def test_truncated_anywhere(tmp_path_factory: pytest.TempPathFactory, size: int) -> None:
    path = tmp_path_factory.getbasetemp() / "cut.gguf"
    path.write_bytes(hostile.SOUND_GGUF[:size])
    with pytest.raises(ModelFormatError):
        GGUFFile(path)


def test_every_flipped_bit(put) -> None:  # type: ignore[no-untyped-def]
    """Each bit of a whole small file: refused by one of our errors, or read to the end."""
    outcomes = set()
    path = put(hostile.SOUND_GGUF)
    for place in range(8 * len(hostile.SOUND_GGUF)):
        data = bytearray(hostile.SOUND_GGUF)
        data[place // 8] ^= 1 << place % 8
        with open(path, "r+b") as changed:
            changed.write(data)
        try:
            with GGUFFile(path) as file:
                dict(file.metadata)
                for name in file.tensors:
                    try:
                        file.vector(name)
                    except UnsupportedModelError:
                        file.blocks(name)
            outcomes.add("read")
        except BankaiError as error:
            outcomes.add(type(error).__name__)
    assert outcomes == {"read", "ModelFormatError", "UnsupportedModelError"}


@given(st.binary(max_size=200))
def test_garbage_after_a_header(tmp_path_factory: pytest.TempPathFactory, tail: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "garbage.gguf"
    path.write_bytes(struct.pack("<4sIQQ", b"GGUF", 3, 2, 2) + tail)
    with pytest.raises(BankaiError):
        GGUFFile(path)


def test_values_are_decoded_only_when_asked_for(put) -> None:  # type: ignore[no-untyped-def]
    """A vocabulary that is not UTF-8 and a truth of 2 do not keep a file from opening."""
    pairs = [
        hostile.pair(b"tokens", 9, hostile.array(8, 2, hostile.text(b"ok") + hostile.text(b"\xff"))),
        hostile.pair(b"truth", 7, b"\2"),
        hostile.pair(b"nested", 9, hostile.array(9, 2, hostile.array(0, 2, b"\1\2") + hostile.array(8, 0))),
    ]
    with GGUFFile(put(hostile.gguf(pairs))) as file:
        assert file.metadata["nested"] == [[1, 2], []]
        with pytest.raises(ModelFormatError, match="not UTF-8"):
            file.metadata["tokens"]
        with pytest.raises(ModelFormatError, match="neither true nor false"):
            file.metadata["truth"]


def test_a_large_vocabulary_is_stepped_over(put) -> None:  # type: ignore[no-untyped-def]
    """150,000 tokens: opening allocates nothing like them."""
    tokens = b"".join(hostile.text(b"token%d" % i) for i in range(150_000))
    path = put(hostile.gguf([hostile.pair(b"tokens", 9, hostile.array(8, 150_000, tokens))]))
    tracemalloc.start()
    with GGUFFile(path) as file:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 200_000
        assert file.metadata["tokens"][-1] == "token149999"


def test_wrong_kind_of_tensor_is_named(put) -> None:  # type: ignore[no-untyped-def]
    with GGUFFile(put(hostile.SOUND_GGUF)) as file:
        with pytest.raises(UnsupportedModelError, match="norm is F32"):
            file.blocks("norm")
        with pytest.raises(UnsupportedModelError, match="w is Q1_0"):
            file.vector("w")


def test_not_a_file(tmp_path: Path) -> None:

    with pytest.raises(ModelFormatError, match="not a regular file"):
        GGUFFile(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ModelFormatError, match="not a regular file"):
        GGUFFile(tmp_path / "pipe")
    with pytest.raises(ModelFormatError, match="cannot be opened"):
        GGUFFile(tmp_path / "absent")


def test_arrays_outlive_the_file(put) -> None:  # type: ignore[no-untyped-def]
    with GGUFFile(put(hostile.SOUND_GGUF)) as file:
        blocks = file.blocks("w")
    assert blocks[1, 0, 2] == 20
