"""The folder of a fix: what was asked, and the outcome of every step, so that it can go on after any kill.

asked.json     what was asked; written once
STEP.json      the outcome of a step; a step that has one is not done again
SEARCH.jsonl   the probes of a search, SEARCH.run its run, SEARCH.bankai its patch
"""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from bankai.errors import ProbeFormatError, StoreError
from bankai.io import read_bounded, sweep, writing

__all__ = ["FixFolder"]

Outcome = TypeVar("Outcome")
ASKED, LAST = "asked", "outcome"
MAX_BYTES = 2**28
RUN = ".run"
OURS = (".json", ".bankai", RUN)


class FixFolder:
    """:meth:`create` makes one, :meth:`open` finds it again."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def create(cls, path: Path, asked: msgspec.Struct) -> "FixFolder":
        """A new one, in the place of one that has ended or has not begun to search.

        Raises StoreError for anything else there.
        """
        if path.exists():
            cls._clear(path)
        path.mkdir(parents=True, exist_ok=True)
        folder = cls(path)
        folder.keep(ASKED, asked)
        return folder

    @classmethod
    def open(cls, path: Path, kind: type[Outcome]) -> tuple["FixFolder", Outcome]:
        """One that is there, with what was asked. Raises StoreError when it is none, or is damaged."""
        folder = cls(path)
        asked = folder.kept(ASKED, kind)
        if asked is None:
            raise StoreError(f"{path} is not the folder of a fix; give the one that the fix named")
        return folder, asked

    def file(self, name: str) -> Path:
        return self.path / name

    def step(self, name: str, kind: type[Outcome], make: Callable[[], Outcome]) -> Outcome:
        """The outcome of a step, which is done now if it has not been done before."""
        found = self.kept(name, kind)
        if found is None:
            found = make()
            self.keep(name, found)
        return found

    def kept(self, name: str, kind: type[Outcome]) -> Outcome | None:
        """The outcome of a step, if it has been done. Raises StoreError for a file that is damaged."""
        path = self.file(f"{name}.json")
        if not path.is_file():
            return None
        try:
            return msgspec.json.decode(read_bounded(path, MAX_BYTES), type=kind)
        except (msgspec.MsgspecError, ProbeFormatError, RecursionError, OSError) as error:
            raise StoreError(f"{path} is damaged; delete it, and that step is done again") from error

    def keep(self, name: str, outcome: Any) -> None:
        with writing(self.file(f"{name}.json")) as beside:
            beside.write_bytes(msgspec.json.format(msgspec.json.encode(outcome), indent=1))

    @classmethod
    def _clear(cls, path: Path) -> None:
        """Remove a fix that has ended or has not begun to search, and nothing else."""
        if path.is_dir():
            sweep(path / f"{ASKED}.json")
        entries = list(path.iterdir()) if path.is_dir() else [path]
        names = {entry.name for entry in entries}
        if entries and (f"{ASKED}.json" not in names or not all(entry.suffix in OURS for entry in entries)):
            raise StoreError(f"{path} holds something else; choose another folder with --run")
        if f"{LAST}.json" not in names and any(entry.suffix == RUN for entry in entries):
            raise StoreError(f"{path} holds an unfinished fix; go on with --resume {path}, or delete it")
        for entry in sorted(
            entries, key=lambda entry: entry.name == f"{ASKED}.json"
        ):  # that last: a kill may come
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
