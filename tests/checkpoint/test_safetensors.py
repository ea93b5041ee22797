"""safetensors: the reference package as a witness both ways, and hostile files."""

import time
from pathlib import Path

import hostile
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from bankai.checkpoint.safetensors import SafetensorsFile, write_safetensors
from bankai.errors import BankaiError, ModelFormatError, UnsupportedModelError

ARRAYS = {
    "words": np.arange(6, dtype=np.uint32).reshape(2, 3),
    "half": np.array([[0.5], [-2]], np.float16),
    "scalar": np.array(3.5, np.float32),
    "none": np.zeros((0, 4), np.float32),
    "byte": np.array([7], np.uint8),
}


def test_the_package_reads_what_we_write(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    types = {"words": "U32", "half": "F16", "scalar": "F32", "none": "F32", "byte": "U8"}
    layout = {name: (types[name], array.shape) for name, array in ARRAYS.items()}
    write_safetensors(path, layout, ARRAYS.values(), {"format": "mlx"})
    with safe_open(path, "np") as witness:
        assert witness.metadata() == {"format": "mlx"}
        assert set(witness.keys()) == set(ARRAYS)
        for name, array in ARRAYS.items():
            assert np.array_equal(witness.get_tensor(name), array), name


def test_we_read_what_the_package_writes(tmp_path: Path) -> None:
    path = tmp_path / "r.safetensors"
    save_file(ARRAYS, path)
    file = SafetensorsFile(path)
    for name, array in ARRAYS.items():
        assert np.array_equal(file.array(name), array), name
        assert file.array(name).dtype == array.dtype
        assert not file.array(name).flags.writeable
    file.close()


@pytest.mark.parametrize("name", hostile.SAFETENSORS_ATTACKS)
def test_attack(tmp_path: Path, name: str) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(hostile.SAFETENSORS_ATTACKS[name])
    started = time.monotonic()
    with pytest.raises(ModelFormatError):
        SafetensorsFile(path)
    assert time.monotonic() - started < 1  # generous: they take milliseconds


def test_unknown_dtype(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(hostile.safetensors({"t": hostile.entry(0, 8, dtype="C64", shape=[1])}, bytes(8)))
    with pytest.raises(UnsupportedModelError, match="C64"):
        SafetensorsFile(path)


def test_header_limit(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(hostile.safetensors("{}" + " " * (16 << 20)))
    with pytest.raises(ModelFormatError, match="header"):
        SafetensorsFile(path)


@given(st.integers(0, 8 * len(hostile.SOUND_SAFETENSORS) - 1))
def test_a_flipped_bit_is_refused_or_harmless(tmp_path_factory: pytest.TempPathFactory, place: int) -> None:
    """What we still read, the reference package reads too, with the same bytes."""
    data = bytearray(hostile.SOUND_SAFETENSORS)
    data[place // 8] ^= 1 << place % 8
    path = tmp_path_factory.getbasetemp() / "flip.safetensors"
    path.write_bytes(data)
    try:
        file = SafetensorsFile(path)
    except BankaiError:
        return
    with safe_open(path, "np") as witness:
        assert set(witness.keys()) == set(file.tensors)
        for name in file.tensors:
            assert witness.get_tensor(name).tobytes() == file.array(name).tobytes()


@given(st.integers(0, len(hostile.SOUND_SAFETENSORS) - 1))
def test_truncated_anywhere(tmp_path_factory: pytest.TempPathFactory, size: int) -> None:
    path = tmp_path_factory.getbasetemp() / "cut.safetensors"
    path.write_bytes(hostile.SOUND_SAFETENSORS[:size])
    with pytest.raises(ModelFormatError):
        SafetensorsFile(path)
    with pytest.raises(SafetensorError):
        safe_open(path, "np")
