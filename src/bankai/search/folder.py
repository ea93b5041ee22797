"""The folder of a run: what was asked, what happened, and where it stands, so that it can go on after any kill.

    run.json      what was asked; written once
    events.jsonl  one event a line; lines after the saved ones are of a round that was cut off
    state.json    the state after the last whole round and the number of events up to it; replaced atomically

Opening a run changes nothing.
"""

import os
from pathlib import Path
from typing import Annotated, Any

import msgspec

from bankai.errors import StoreError
from bankai.io import RefusedFileError, read_bounded, writing
from bankai.search.events import Event
from bankai.search.state import State

__all__ = ["RunFolder"]

RUN, EVENTS, STATE = "run.json", "events.jsonl", "state.json"
MAX_BYTES = 2**30  # of a file that is read


class _Saved(msgspec.Struct):
    events: Annotated[int, msgspec.Meta(ge=0)]
    state: State


class RunFolder:
    """The folder of one run; :meth:`create` makes it, :meth:`open` finds it again."""

    def __init__(self, path: Path, saved: int, length: int) -> None:
        self.path = path
        self._saved, self._length = saved, length  # events that belong to the state, and their bytes
        self._pending: list[bytes] = []

    @classmethod
    def create(cls, path: Path, asked: Any) -> "RunFolder":
        """A new run. One in its place that has ended is replaced; raises StoreError for anything else there."""
        if path.exists():
            cls._clear(path)
        path.mkdir(parents=True, exist_ok=True)
        with writing(path / RUN) as beside:
            beside.write_bytes(msgspec.json.format(msgspec.json.encode(asked), indent=1))
        return cls(path, 0, 0)

    @staticmethod
    def is_one(path: Path) -> bool:
        """Whether a run has begun in this folder."""
        return (path / RUN).is_file()

    @classmethod
    def open(cls, path: Path, kind: type[Any]) -> tuple["RunFolder", Any, State, list[Event]]:
        """A run with what was asked, the last saved state and the events up to it.

        Raises StoreError when it is none or is damaged.
        """
        if not cls.is_one(path):
            raise StoreError(f"{path} is not the folder of a search; give the one that the search named")
        asked = _decode(_read(path / RUN), kind, path / RUN)
        if not (path / STATE).exists():
            return cls(path, 0, 0), asked, State(), []
        saved: _Saved = _decode(_read(path / STATE), _Saved, path / STATE)
        lines = _read(path / EVENTS).splitlines(keepends=True)[: saved.events]
        if len(lines) < saved.events:
            raise StoreError(f"{path / EVENTS} has lost events that were saved; start the search anew")
        events = [_decode(line, Event, path / EVENTS) for line in lines]
        return cls(path, saved.events, sum(map(len, lines))), asked, saved.state, events

    @classmethod
    def _clear(cls, path: Path) -> None:
        """Remove a run that has ended, and nothing else."""
        entries = list(path.iterdir()) if path.is_dir() else [path]
        if not all(entry.name in (RUN, EVENTS, STATE) or _unfinished(entry) for entry in entries):
            raise StoreError(f"{path} holds something else; choose another folder with --run")
        if entries and not cls.open(path, Any)[2].reason:
            raise StoreError(f"{path} holds an unfinished search; go on with --resume {path}, or delete it")
        for entry in sorted(
            entries, key=lambda entry: entry.name == RUN
        ):  # the run itself last: a kill may come
            entry.unlink()

    def add(self, event: Event) -> None:
        """Keep an event for the next :meth:`save`."""
        self._pending.append(msgspec.json.encode(event) + b"\n")

    def save(self, state: State) -> None:
        """Write the events since the last state, then the state."""
        events = self.path / EVENTS
        with events.open("r+b" if events.exists() else "wb") as file:
            file.seek(self._length)
            file.truncate()  # what a round that was cut off has left
            file.writelines(self._pending)
            file.flush()
            os.fsync(file.fileno())
            self._length = file.tell()
        self._saved += len(self._pending)
        self._pending.clear()
        with writing(self.path / STATE) as beside:
            beside.write_bytes(msgspec.json.encode(_Saved(self._saved, state)))


def _unfinished(path: Path) -> bool:
    """Whether a kill has left it in the middle of writing one of our files."""
    return path.name.startswith((f".{RUN}.", f".{STATE}.")) and path.suffix == ".tmp"


def _read(path: Path) -> bytes:
    try:
        return read_bounded(path, MAX_BYTES)
    except RefusedFileError as error:
        raise StoreError(f"{path} is {error.strerror}; start the search anew") from None


def _decode(content: bytes, kind: Any, path: Path) -> Any:
    try:
        return msgspec.json.decode(content, type=kind)
    except (msgspec.DecodeError, msgspec.ValidationError, ValueError) as error:
        raise StoreError(f"{path} is damaged ({error}); start the search anew") from error
