"""Patch files on disk: either format in, recognised by content; atomic writes out.

Contract: reading is bounded in size and raises PatchFormatError only; a written file is whole or absent, also
after a crash. Knows neither models nor what the bytes mean.
"""

import os
import stat
from pathlib import Path

from bankai.errors import PatchFormatError
from bankai.patch.codec import MAGIC, MAX_FILE, decode, encode
from bankai.patch.json_format import decode_json, encode_json
from bankai.patch.patch import Patch

__all__ = ["read_patch", "read_patch_bytes", "write_patch"]


def read_patch(path: str | Path) -> Patch:
    """The patch in a `.bankai` or `bankai_row_xor_v1` file, whatever its name. Raises PatchFormatError."""
    data = read_patch_bytes(path)
    try:
        if data.startswith(MAGIC):
            return decode(data)
        if data.lstrip(b" \t\r\n").startswith(b"{"):
            return decode_json(data)
        raise PatchFormatError("neither a .bankai patch nor a bankai_row_xor_v1 JSON file; give a patch")
    except PatchFormatError as error:
        raise PatchFormatError(f"{path}: {error}") from None


def read_patch_bytes(path: str | Path) -> bytes:
    """What a file holds that may be a patch of either format. Raises PatchFormatError."""
    try:
        found = os.stat(path)
        if not stat.S_ISREG(found.st_mode) and not stat.S_ISDIR(found.st_mode):  # opening a pipe would block
            raise PatchFormatError(f"cannot read patch {path}: not a regular file; give a patch file")
        with open(path, "rb") as file:
            data = file.read(min(found.st_size, MAX_FILE) + 1)  # as many bytes are set aside as are asked for
    except OSError as error:
        raise PatchFormatError(
            f"cannot read patch {path}: {error.strerror}; check path and permissions"
        ) from None
    if len(data) > MAX_FILE:
        raise PatchFormatError(f"{path}: larger than {MAX_FILE} bytes")
    return data


def write_patch(patch: Patch, path: str | Path, *, manifest: bool = True) -> int:
    """Write a patch, as JSON when `path` ends in ".json", and return the file's size in bytes.

    PatchFormatError when the format cannot hold the patch, StoreError when the file cannot be written.
    """
    from bankai.io import writing  # reading a patch must start fast

    path = Path(path)
    data = encode_json(patch) if path.suffix == ".json" else encode(patch, manifest=manifest)
    with writing(path) as temporary:
        temporary.write_bytes(data)
    return len(data)
