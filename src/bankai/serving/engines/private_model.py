"""A private copy of a GGUF model, whose bits change while an engine that has it mapped computes with them.

Contract: the model is only read. Its copy has no name (on Linux never, elsewhere from the moment it is open), so that
nothing is left of it however the process ends. A swap proves by digest that the bits are those of base or patch before
and after; when one fails, nothing may be computed with the copy any more. From patch to patch it goes through the base,
so that they need not know each other. Runs on Linux and macOS.
"""

import mmap
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from bankai.checkpoint.model_file import GGUFCheckpoint, open_checkpoint
from bankai.errors import EngineError, StoreError, UnsupportedModelError, WrongBaseError
from bankai.journal import Edit
from bankai.patch import Flip, Patch, bind, digest
from bankai.patching.edits import edits
from bankai.patching.transition import Transition

__all__ = ["PrivateModel"]

_REMEMBERED = 64  # patches that were on, ready to go on again in microseconds
_PIECE = 1 << 30  # bytes copied by one call


@dataclass(frozen=True, slots=True)
class _Way:
    """From the base to the patch, and back."""

    flips: frozenset[Flip]
    there: Transition
    back: Transition


class PrivateModel:
    """A copy of `source` in `folder`; by default beside it, where copying may cost nothing, or in the temporary folder.

    `path` is for an engine to map; `checkpoint` shows what the copy holds. Raises StoreError when there is no room,
    UnsupportedModelError for what is not GGUF, and what opening a model raises.
    """

    def __init__(self, source: str | Path, folder: str | Path | None = None) -> None:
        with open_checkpoint(source) as model:
            if model.format != "gguf":
                raise UnsupportedModelError(
                    f"{source} is not GGUF, which llama.cpp reads; run `bankai convert {source} model.gguf` first"
                )
            self._file = _copy(model.path, folder)
        self.path = f"/dev/fd/{self._file.fileno()}"
        self.checkpoint = GGUFCheckpoint(self.path)
        self._bytes: NDArray[np.uint8] = np.frombuffer(mmap.mmap(self._file.fileno(), 0), np.uint8)
        self._ways: dict[frozenset[Flip], _Way] = {}
        self._on: _Way | None = None  # None: the base
        self._sound = True

    @property
    def on(self) -> frozenset[Flip]:
        """What is flipped now."""
        return self._on.flips if self._on else frozenset()

    def check(self, patch: Patch) -> None:
        """Raises WrongBaseError and PlaceError unless the patch may go on the base."""
        if patch.flips in self._ways:
            return
        bound = bind(patch, self.checkpoint, self.on)
        if patch.binding and patch.binding != bound.binding:
            raise WrongBaseError(
                "the patch was made on other bits than the model's; serve the base that it fits"
            )

    def put_on(self, patch: Patch) -> None:
        """Have exactly this patch on, which was checked. Raises EngineError when bits are not what they should be."""
        if not self._sound:
            raise EngineError(
                "an earlier swap of patches failed, so nothing is computed any more; start again"
            )
        if patch.flips == self.on:
            return
        self._sound = False  # an interrupt may come at any moment
        try:
            if self._on:
                self._on.back.make()
            self._on = None
            if patch.flips:
                self._on = self._go(patch)
        except WrongBaseError as error:
            raise EngineError(
                f"a swap of patches failed, so nothing is computed any more: {error}"
            ) from error
        self._sound = True

    def close(self) -> None:
        """Let go of the copy, which is gone when the engine has let go of it too."""
        self._ways.clear()
        self._on, self._sound = None, False
        self._bytes = np.empty(0, np.uint8)
        self.checkpoint.close()
        self._file.close()

    def _go(self, patch: Patch) -> _Way:
        """From the base. The first time it takes longer: the bits are also compared with what the patch expects."""
        if patch.flips in self._ways:
            way = self._ways[patch.flips] = self._ways.pop(patch.flips)  # the last to be forgotten
            way.there.make()
            return way
        places = edits(self.checkpoint, patch.flips)
        there = Transition(places, self._view, self._proof(patch))
        there.make()
        if len(self._ways) == _REMEMBERED:
            del self._ways[next(iter(self._ways))]
        way = self._ways[patch.flips] = _Way(patch.flips, there, Transition(places, self._view))
        return way

    def _view(self, edit: Edit) -> NDArray[np.uint8]:
        return self._bytes[edit.offset : edit.offset + len(edit.mask)]

    def _proof(self, patch: Patch) -> Callable[[], None]:
        """Compares the bits with the digest of the patch, or one made now, on the base, where it has none."""
        after = patch.binding.after if patch.binding else digest(self.checkpoint, patch.flips, patch.flips)

        def prove() -> None:
            if digest(self.checkpoint, patch.flips) != after:
                raise WrongBaseError("the bits are not those of the patch; start from a fresh copy")

        return prove


def _copy(source: Path, folder: str | Path | None) -> IO[bytes]:
    """A file without a name."""
    size = source.stat().st_size
    choices = [Path(folder)] if folder else [source.parent, Path(tempfile.gettempdir())]
    place = _roomy(choices, size)
    try:
        with open(source, "rb") as original:
            copy = tempfile.TemporaryFile(dir=place)  # noqa: SIM115  (it lives as long as the model)
            _fill(original, copy, size)
            return copy
    except OSError as error:
        raise StoreError(
            f"{source} cannot be copied to {place}: {error}; give another folder by TMPDIR"
        ) from error


def _roomy(choices: Sequence[Path], size: int) -> Path:
    for folder in choices:
        if os.access(folder, os.W_OK) and shutil.disk_usage(folder).free >= size:
            return folder
    names = " nor ".join(str(folder) for folder in choices)
    raise StoreError(
        f"a private copy of the model needs {size:,} bytes, which neither {names} has; make room, or set TMPDIR to a "
        "folder on a larger disk"
    )


def _fill(original: IO[bytes], copy: IO[bytes], size: int) -> None:
    """By the system, which on some disks shares the blocks until they change, or by hand."""
    done = 0
    try:
        while done < size and hasattr(os, "copy_file_range"):
            took = os.copy_file_range(original.fileno(), copy.fileno(), _PIECE, done, done)
            if not took:
                break
            done += took
    except OSError:  # not between these two disks
        pass
    original.seek(done)
    copy.seek(done)
    shutil.copyfileobj(original, copy, 1 << 20)
    copy.flush()
