"""Plain file work shared by the formats: map, read JSON, write so that a file appears whole or not at all.

Knows no model format.
"""

import json
import mmap
import os
import re
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from reprlib import Repr
from typing import Any

from bankai.errors import ModelFormatError, StoreError

__all__ = [
    "check_absent",
    "check_space",
    "map_file",
    "parse_object",
    "quote",
    "release",
    "sweep",
    "sync",
    "writing",
    "writing_directory",
]


def map_file(path: Path, minimum: int) -> mmap.mmap:
    """Map the regular file ``path`` to be read.

    Raises ModelFormatError for a missing file, one that is not regular, cannot be opened or is shorter than
    ``minimum`` bytes (at least 1).
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # before opening: a pipe would block
            raise ModelFormatError(f"{path} is not a regular file; give a model file")
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size < minimum:
                raise ModelFormatError(f"{path} has only {size} bytes; get the file again")
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError) as error:
        raise ModelFormatError(f"{path} cannot be opened: {error}; check path and permissions") from error


def release(mapped: mmap.mmap) -> None:
    """Let the system take back the pages that were read; views stay sound, a page is read again when needed."""
    if hasattr(mmap, "MADV_DONTNEED"):  # not on Windows
        mapped.madvise(mmap.MADV_DONTNEED)


def parse_object(data: bytes, what: str) -> dict[str, Any]:
    """The JSON object in ``data``; ModelFormatError for anything else, duplicate keys and NaN included."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        parsed = dict(pairs)
        if len(parsed) != len(pairs):
            raise ValueError("a key occurs twice")
        return parsed

    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is not JSON")

    try:
        parsed = json.loads(data.decode("utf-8"), object_pairs_hook=unique, parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        raise ModelFormatError(f"{what} is not sound JSON ({error}); get the model again") from error
    if not isinstance(parsed, dict):
        raise ModelFormatError(f"{what} is not a JSON object; get the model again")
    return parsed


def quote(value: object) -> str:
    """A name or value of a file as a message shows it: cut short, for a hostile one may be endless or nested."""
    shortener = Repr()
    shortener.maxstring = 100
    return shortener.repr(value)


def check_absent(path: Path) -> None:
    """Raises StoreError when ``path`` exists, if only as a link to nowhere."""
    if os.path.lexists(path):
        raise StoreError(f"{path} exists; give another name, or delete it first")


def check_space(path: Path, size: int) -> None:
    """Raises StoreError when the disk that ``path`` is to lie on has less than ``size`` bytes free."""
    free = shutil.disk_usage(path.parent).free
    if free < size:
        raise StoreError(f"{path} needs {size:,} bytes, its disk has {free:,} free; choose another place")


@contextmanager
def writing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``: on success synced and renamed over ``path``, else removed.

    Raises StoreError when the directory does not take files.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        yield temporary
        sync(temporary)
        os.replace(temporary, path)
        sync(path.parent)
    except OSError as error:
        raise StoreError(f"{path} cannot be written: {error}; choose another place") from error
    finally:
        with suppress(OSError):
            temporary.unlink()


@contextmanager
def writing_directory(path: Path) -> Iterator[Path]:
    """Yield a new temporary directory that becomes ``path``, which must not exist; removed on failure.

    Raises StoreError when that cannot be done.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        temporary.mkdir()
        yield temporary
        for file in sorted(temporary.iterdir()):
            sync(file)
        sync(temporary)
        os.rename(temporary, path)
        sync(path.parent)
    except OSError as error:
        raise StoreError(f"{path} cannot be written: {error}; choose another place") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def sweep(path: Path) -> None:
    """Remove temporary files of killed processes that were to become ``path``. No other may be writing it now."""
    left_over = re.compile(rf"\.{re.escape(path.name)}\.[0-9a-f]{{8}}\.tmp")
    for entry in path.parent.iterdir():
        if left_over.fullmatch(entry.name):
            entry.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Make a file's bytes, or a directory's names, survive a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
