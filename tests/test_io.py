"""Plain file work: regular files only are read, and files and directories appear whole or not at all."""

import os
import socket
import tracemalloc
from pathlib import Path

import pytest

from bankai.errors import ModelFormatError, StoreError
from bankai.io import (
    LargeFileError,
    RefusedFileError,
    map_file,
    open_regular,
    parse_object,
    read_bounded,
    writing,
    writing_directory,
)


def a_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))


IRREGULAR = {
    "a pipe": lambda path: os.mkfifo(path),
    "a directory": lambda path: path.mkdir(),
    "a device": lambda path: path.symlink_to("/dev/zero"),
    "a socket": a_socket,
}


@pytest.mark.parametrize("kind", IRREGULAR)
def test_only_regular_files_are_opened(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # the name of a socket must be short
    path = Path("f")
    IRREGULAR[kind](path)
    for read in (open_regular, lambda path: read_bounded(path, 100)):
        with pytest.raises(RefusedFileError) as refused:
            read(path)
        assert (refused.value.strerror, refused.value.filename) == ("not a regular file", "f")
    with pytest.raises(ModelFormatError, match="f is not a regular file; give a model file"):
        map_file(path, minimum=1)


def test_a_pipe_that_takes_the_place_of_a_file_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "f").write_text("x")
    status = os.stat(tmp_path / "f")
    (tmp_path / "f").unlink()
    os.mkfifo(tmp_path / "f")
    monkeypatch.setattr(os, "stat", lambda path: status)  # as it was
    handles = len(os.listdir("/dev/fd"))
    with pytest.raises(RefusedFileError, match="not a regular file"):
        read_bounded(tmp_path / "f", 100)
    assert len(os.listdir("/dev/fd")) == handles


def test_a_file_is_read_up_to_its_limit(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"12345")
    (tmp_path / "link").symlink_to("f")
    for limit in (5, 6, 1 << 40):
        assert read_bounded(path, limit) == read_bounded(str(tmp_path / "link"), limit) == b"12345"
    with pytest.raises(LargeFileError) as refused:
        read_bounded(path, 4)
    assert refused.value.strerror == "larger than 4 bytes"
    with pytest.raises(FileNotFoundError):
        read_bounded(tmp_path / "absent", 4)


def test_memory_is_that_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(bytes(1 << 20))
    tracemalloc.start()
    try:
        assert len(read_bounded(path, 1 << 40)) == 1 << 20
        assert tracemalloc.get_traced_memory()[1] < 1.2 * (1 << 20)
        os.truncate(path, 1 << 33)  # sparse
        tracemalloc.reset_peak()
        with pytest.raises(LargeFileError):
            read_bounded(path, 1 << 32)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_a_file_appears_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_text("old")
    with writing(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_has_ordinary_permissions(tmp_path: Path) -> None:
    """What open() would give, so that a server under another user can read the model."""
    (tmp_path / "plain").write_text("x")
    with writing(tmp_path / "f") as temporary:
        temporary.write_text("x")
    assert (tmp_path / "f").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_failure_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), writing(tmp_path / "f") as temporary:
        temporary.write_text("half")
        raise KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt), writing_directory(tmp_path / "d") as temporary:
        (temporary / "f").write_text("half")
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_a_directory_appears_at_the_end(tmp_path: Path) -> None:
    with writing_directory(tmp_path / "d") as temporary:
        (temporary / "f").write_text("x")
        assert not (tmp_path / "d").exists()
    assert [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")] == ["d", "d/f"]


def test_a_directory_never_replaces_one_with_content(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "precious").touch()
    with pytest.raises(StoreError), writing_directory(tmp_path / "d"):
        pass
    assert [path.name for path in tmp_path.rglob("*")] == ["d", "precious"]


def test_nowhere_to_write(tmp_path: Path) -> None:
    with pytest.raises(StoreError), writing(tmp_path / "none" / "f") as temporary:
        temporary.write_text("x")
    with pytest.raises(StoreError), writing_directory(tmp_path / "none" / "d"):
        pass


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"[]", b"1", b'{"a":1,"a":2}', b'{"a":Infinity}', b"\xff", b"[" * 9999, b'{"a":' * 9999],
)
def test_unsound_json(data: bytes) -> None:
    with pytest.raises(ModelFormatError):
        parse_object(data, "data")


def test_sound_json() -> None:
    assert parse_object(b' {"a": {"a": [1, 2.5, null]}} ', "data") == {"a": {"a": [1, 2.5, None]}}
