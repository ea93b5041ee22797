"""Plain file work shared by the formats: mapping a file, and writing one so that it appears whole or not at all.

Knows no format.
"""

import mmap
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from bankai.errors import ModelFormatError

__all__ = ["map_file", "replacing", "sync_directory"]


def map_file(path: Path, writable: bool, minimum: int) -> mmap.mmap:
    """Map the regular file ``path``, shared with the disk when ``writable``.

    Raises ModelFormatError for a missing file, one that is not regular, cannot be opened or is shorter than
    ``minimum`` bytes.
    """
    try:
        with open(path, "r+b" if writable else "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise ModelFormatError(f"{path} is not a regular file; give a model file")
            if status.st_size < max(minimum, 1):
                raise ModelFormatError(f"{path} has only {status.st_size} bytes; download it again")
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_WRITE if writable else mmap.ACCESS_READ)
    except (OSError, ValueError) as error:
        raise ModelFormatError(
            f"{path} cannot be opened: {error}; check the path and its permissions"
        ) from error


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; on success it is synced and renamed over ``path``, else removed."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    temporary = Path(name)
    try:
        umask = os.umask(0)
        os.umask(umask)
        os.fchmod(handle, 0o666 & ~umask)  # mkstemp makes 0600; a model file gets what open() would give
        yield temporary
        os.fsync(handle)
        os.replace(temporary, path)
        sync_directory(path.parent)
    finally:
        os.close(handle)
        with suppress(FileNotFoundError):
            temporary.unlink()


def sync_directory(path: Path) -> None:
    """Make the names in the directory ``path`` survive a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
