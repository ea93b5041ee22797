"""Patch files on disk: either format in, recognised by content; atomic writes out.

Contract: reading is bounded in size and raises PatchFormatError only; a written file is whole or absent, also after a
crash.
"""

import os
from codecs import BOM_UTF8
from pathlib import Path

from bankai.errors import PatchFormatError
from bankai.io import LargeFileError, RefusedFileError, check_fetched, open_regular, read_bounded, writing
from bankai.patch.codec import MAGIC, MAX_FILE, decode, encode
from bankai.patch.json_format import decode_json, encode_json
from bankai.patch.patch import Patch

__all__ = ["is_patch_file", "read_patch", "read_patch_bytes", "write_patch"]

_HEAD = 256  # bytes that tell what a file is
_REMEDY = "give a patch (for a model file: `bankai model`)"


def read_patch(path: str | Path) -> Patch:
    """The patch in a `.bankai` or `bankai_row_xor_v1` file, whatever its name. Raises PatchFormatError."""
    data = read_patch_bytes(path)
    check_fetched(data, str(path), PatchFormatError)
    try:
        if data.startswith(MAGIC):
            return decode(data)
        if _begins_object(data):
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


def is_patch_file(path: str | Path) -> bool:
    """Whether a regular file begins as a patch of either format does, and so not as a model; False for no such file."""
    try:
        with open_regular(path) as file:
            head = file.read(_HEAD)
    except OSError:
        return False
    return head.startswith(MAGIC) or _begins_object(head)


def _begins_object(data: bytes) -> bool:
    """Whether JSON text begins with an object."""
    return data.removeprefix(BOM_UTF8).lstrip(b" \t\r\n").startswith(b"{")


def write_patch(patch: Patch, path: str | Path, *, manifest: bool = True) -> int:
    """Write a patch, as JSON when `path` ends in ".json", and return the file's size in bytes.

    Raises PatchFormatError when the format cannot hold the patch, StoreError when the file cannot be written.
    """
    path = Path(path)
    data = encode_json(patch) if path.suffix == ".json" else encode(patch, manifest=manifest)
    with writing(path) as temporary:
        temporary.write_bytes(data)
    return len(data)
