import os
from pathlib import Path

import pytest
from patches import random_rows

from bankai.errors import PatchFormatError, StoreError
from bankai.patch import Manifest, Patch, encode, read_patch, write_patch
from bankai.patch.codec import MAX_FILE

PATCH = Patch(random_rows(9, [0, 1], {"up": 64}, 0).flips, None, Manifest(name="nine"))


@pytest.mark.parametrize("name", ["p.bankai", "p.json", "p"])
def test_either_format_is_recognised_by_content(tmp_path: Path, name: str) -> None:
    size = write_patch(PATCH, tmp_path / name)
    assert (tmp_path / name).stat().st_size == size
    (tmp_path / name).rename(tmp_path / "renamed.txt")
    patch = read_patch(tmp_path / "renamed.txt")
    assert patch == PATCH and patch.manifest.name == "nine"
    assert os.listdir(tmp_path) == ["renamed.txt"]


def test_json_is_recognised_after_white_space(tmp_path: Path) -> None:
    path = tmp_path / "p"
    path.write_bytes(b" \r\n\t" + b'{"format":"bankai_row_xor_v1","flips":[]}')
    assert read_patch(str(path)) == Patch.empty()


def test_without_manifest(tmp_path: Path) -> None:
    assert write_patch(PATCH, tmp_path / "p.bankai", manifest=False) == len(encode(PATCH, manifest=False))
    assert read_patch(tmp_path / "p.bankai").manifest == Manifest()


@pytest.mark.parametrize("data", [b"", b"GGUF", b"[]", b"\xb1XO", b"\xb1XOR"])
def test_other_files_are_refused_by_name(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "wrong.bankai"
    path.write_bytes(data)
    with pytest.raises(PatchFormatError, match=r"wrong\.bankai"):
        read_patch(path)


def test_missing_directory_and_oversized(tmp_path: Path) -> None:
    with pytest.raises(PatchFormatError, match="No such file or directory; check path"):
        read_patch(tmp_path / "absent")
    with pytest.raises(PatchFormatError, match="Is a directory; give a patch file"):
        read_patch(tmp_path)
    with open(tmp_path / "huge", "wb") as file:
        file.truncate(MAX_FILE + 1)
    with pytest.raises(PatchFormatError, match="larger than"):
        read_patch(tmp_path / "huge")


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "p.bankai"
    path.write_bytes(b"old")

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(StoreError, match="No space left"):
        write_patch(PATCH, path)
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["p.bankai"]
    with pytest.raises(StoreError, match="No such file"):
        write_patch(PATCH, tmp_path / "absent" / "p.bankai")
