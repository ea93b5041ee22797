"""Plain file work: files and directories appear whole or not at all."""

from pathlib import Path

import pytest

from bankai.errors import ModelFormatError, StoreError
from bankai.io import parse_object, writing, writing_directory


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
