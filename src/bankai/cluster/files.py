"""A model's files as bytes: to tell whether another machine has the same ones, and to send them there.

A model is one file or a directory of them.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bankai.io import map_file

__all__ = ["Files", "digest", "pack", "unpack"]

Files = dict[str, NDArray[np.uint8]]
BLOCK = 2**22


def _paths(source: Path) -> Iterator[tuple[str, Path]]:
    """Name and path of every file, sorted; the one file of a model has its own name."""
    if not source.is_dir():
        yield source.name, source
        return
    for path in sorted(source.iterdir()):
        if path.is_file() and not path.name.startswith("."):
            yield path.name, path


def digest(source: Path) -> str:
    """Over all bytes of a model; "" when there is none."""
    if not source.exists():
        return ""
    found = hashlib.sha256()
    for name, path in _paths(source):
        found.update(f"{name if source.is_dir() else ''}\0{path.stat().st_size}\0".encode())
        with path.open("rb") as file:
            while block := file.read(BLOCK):
                found.update(block)
    return found.hexdigest()


def pack(source: Path) -> Files:
    """The bytes of every file by its name; mapped, not read. Raises ModelFormatError for an empty one."""
    return {name: np.frombuffer(map_file(path, minimum=1), np.uint8) for name, path in _paths(source)}


def unpack(files: Files, folder: Path) -> Path:
    """Write the files of a model into a folder; returns the path to open."""
    for name, content in files.items():
        with (folder / Path(name).name).open("wb") as file:
            file.write(np.ascontiguousarray(content).data)
    return folder / next(iter(files)) if len(files) == 1 else folder
