"""File work that all formats share: read, map, parse JSON, write so that a file appears whole or not at all.

Only regular files are read, and none is opened before that is known: opening a pipe would block, and opening a device
may set it going.
"""

import errno
import mmap
import os
import re
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from reprlib import Repr
from typing import IO, Any

from bankai.errors import FormatError, ModelFormatError, StoreError

__all__ = [
    "LargeFileError",
    "RefusedFileError",
    "check_absent",
    "check_fetched",
    "check_space",
    "decode_text",
    "map_file",
    "open_regular",
    "parse_object",
    "quote",
    "read_bounded",
    "release",
    "sweep",
    "sync",
    "visible_files",
    "writing",
    "writing_directory",
]


# Source: https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md
_LFS = b"version https://git-lfs.github.com/spec/"


class RefusedFileError(OSError):
    """A file that is there and is not read; `strerror` says what it is, in words that fit after "it is".

    It is not a BankaiError: the caller knows what kind of file it wants, and says what to give instead.
    """


class LargeFileError(RefusedFileError):
    """A file that has more bytes than are allowed."""


def open_regular(path: str | Path) -> IO[bytes]:
    """Open a regular file to be read. Raises RefusedFileError for anything else, and OSError."""
    _check_regular(os.stat(path), path)
    file = open(path, "rb", opener=_open_at_once)  # noqa: SIM115  (the caller closes it)
    try:
        _check_regular(os.fstat(file.fileno()), path)  # another file may have taken its name
    except BaseException:
        file.close()
        raise
    return file


def _check_regular(status: os.stat_result, path: str | Path) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise RefusedFileError(errno.EINVAL, "not a regular file", os.fspath(path))


def _open_at_once(path: str, flags: int) -> int:
    """An opener that does not wait for the other end of a pipe."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def read_bounded(path: str | Path, limit: int) -> bytes:
    """The content of a regular file of at most `limit` bytes. Takes as much memory as the file has bytes.

    Raises LargeFileError, RefusedFileError for what is no regular file, and OSError.
    """
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > limit:
            raise LargeFileError(errno.EFBIG, f"larger than {limit} bytes", os.fspath(path))
        return file.read(size)


def decode_text(data: bytes) -> str:
    """The text in a file that somebody wrote: UTF-8 without its byte-order mark, every line ended by a newline alone.

    So the same words are the same text, whichever editor and system saved them. Raises UnicodeDecodeError.
    """
    return data.decode("utf-8").removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")


def visible_files(folder: Path, suffix: str) -> list[Path]:
    """What a folder holds under names with that ending, sorted; without hidden files, such as macOS's `._NAME`, and
    without folders.
    """
    found = (path for path in folder.iterdir() if path.name.endswith(suffix))
    return sorted(path for path in found if not path.name.startswith(".") and not path.is_dir())


def map_file(path: Path, minimum: int) -> mmap.mmap:
    """Map the regular file ``path`` to be read.

    Raises ModelFormatError for a missing file, one that is not regular, cannot be opened, is shorter than ``minimum``
    bytes (at least 1) or only points at a file elsewhere.
    """
    try:
        with open_regular(path) as file:
            check_fetched(file.read(len(_LFS)), str(path))
            size = os.fstat(file.fileno()).st_size
            if size < minimum:
                raise ModelFormatError(f"{path} has only {size} bytes; get the file again")
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except RefusedFileError as error:
        raise ModelFormatError(f"{path} is {error.strerror}; give a model file") from None
    except (OSError, ValueError) as error:
        raise ModelFormatError(f"{path} cannot be opened: {error}; check path and permissions") from error


def check_fetched(data: bytes, what: str, kind: type[FormatError] = ModelFormatError) -> None:
    """Raises an error of that kind for what Git leaves in place of a large file that it has not fetched."""
    if data.startswith(_LFS):
        raise kind(f"{what} is not here yet, only a pointer to it; get it with `git lfs pull`")


def release(mapped: mmap.mmap) -> None:
    """Let the system take back the pages that were read; views stay sound, a page is read again when needed."""
    if hasattr(mmap, "MADV_DONTNEED"):  # not on Windows
        mapped.madvise(mmap.MADV_DONTNEED)


def parse_object(data: bytes, what: str) -> dict[str, Any]:
    """The JSON object in ``data``. Raises ModelFormatError for anything else, duplicate keys and NaN included."""
    import json  # here, so that what reads patches only starts without it

    check_fetched(data, what)

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        parsed = dict(pairs)
        if len(parsed) != len(pairs):
            raise ValueError("a key occurs twice")
        return parsed

    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is not JSON")

    try:
        parsed = json.loads(decode_text(data), object_pairs_hook=unique, parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        raise ModelFormatError(f"{what} is not sound JSON ({error}); get the model again") from error
    if not isinstance(parsed, dict):
        raise ModelFormatError(f"{what} is not a JSON object; get the model again")
    return parsed


def quote(value: object) -> str:
    """A name or value of a file as a message shows it: cut short, because a hostile one may be long or nested."""
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

    Raises StoreError when the file cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.urandom(4).hex()}.tmp")
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

    Raises StoreError when it cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.urandom(4).hex()}.tmp")
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
    """Remove temporary files of killed processes that were to become ``path``. Nobody may be writing ``path`` now."""
    leftover = re.compile(rf"\.{re.escape(path.name)}\.[0-9a-f]{{8}}\.tmp")
    for entry in path.parent.iterdir():
        if leftover.fullmatch(entry.name):
            entry.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Make a file's bytes, or a directory's names, survive a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
