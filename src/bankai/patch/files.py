"""Patch files on disk: either format in, recognised by content; atomic writes out.

Contract: reading is bounded in size and raises PatchFormatError only; a written file is whole or absent, also after a
crash.
"""

import os
from pathlib import Path

from bankai.errors import PatchFormatError
from bankai.io import LargeFileError, RefusedFileError, read_bounded, writing
from bankai.patch.codec import MAGIC, MAX_FILE, decode, encode
from bankai.patch.json_format import decode_json, encode_json
from bankai.patch.patch import Patch

__all__ = ["read_patch", "read_patch_bytes", "write_patch"]


_REMEDY = "give a patch (for a model file: `bankai model`)"


def read_patch(path: str | Path) -> Patch:
    """The patch in a `.bankai` or `bankai_row_xor_v1` file, whatever its name. Raises PatchFormatError."""
    data = read_patch_bytes(path)
    try:
        if data.startswith(MAGIC):
            return decode(data)
        if data.lstrip(b" \t\r\n").startswith(b"{"):
            return decode_json(data)
        raise PatchFormatError(f"neither a .bankai patch nor a bankai_row_xor_v1 JSON file; {_REMEDY}")
    except PatchFormatError as error:
        raise PatchFormatError(f"{path}: {error}") from None


def read_patch_bytes(path: str | Path) -> bytes:
    """The bytes of a file that may be a patch of either format. Raises PatchFormatError."""
    if os.path.isdir(path):
        raise PatchFormatError(f"cannot read patch {path}: Is a directory; give a patch file")
    try:
        return read_bounded(path, MAX_FILE)
    except LargeFileError as error:
        raise PatchFormatError(f"{path} is no patch: {error.strerror}; {_REMEDY}") from None
    except RefusedFileError as error:
        raise PatchFormatError(f"cannot read patch {path}: {error.strerror}; give a patch file") from None
    except OSError as error:
        raise PatchFormatError(
            f"cannot read patch {path}: {error.strerror}; check path and permissions"
        ) from None


def write_patch(patch: Patch, path: str | Path, *, manifest: bool = True) -> int:
    """Write a patch, as JSON when `path` ends in ".json", and return the file's size in bytes.

    Raises PatchFormatError when the format cannot hold the patch, StoreError when the file cannot be written.
    """
    path = Path(path)
    data = encode_json(patch) if path.suffix == ".json" else encode(patch, manifest=manifest)
    with writing(path) as temporary:
        temporary.write_bytes(data)
    return len(data)
