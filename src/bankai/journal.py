"""Bytes of a model changed in place: all of them or none, whatever happens meanwhile.

Contract: before the first byte changes, the old bytes are on the disk in a journal beside the model; the journal is
removed when the new bytes are on the disk. A change that did not get so far is undone by `recover`, which whoever opens
the model calls first. Bytes that are neither the old nor the new ones stop it: nothing else is undone. One process
changes a model at a time; the lock is advisory.

The journal of `FILE` is `FILE.bankai-journal`; of a directory, `bankai-journal` inside: a mark, 16 bytes of BLAKE2b
over the rest, and a MessagePack of `_Journal`.
"""

import hashlib
import os
import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np

from bankai.errors import ModelFormatError, StoreError
from bankai.io import RefusedFileError, read_bounded, sweep, sync, writing

__all__ = ["Edit", "change", "check_unclaimed", "journal_path", "locked", "recover", "xor_files"]

_MARK = b"\xb1JRN"
_DIGEST = 16
_HEAD = len(_MARK) + _DIGEST


@dataclass(frozen=True, slots=True)
class Edit:
    """Bytes of `file`, from `offset` on, to be XORed with `mask`."""

    file: Path
    offset: int
    mask: bytes


class _Part(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    """One file: its size, where spans begin and how long they are, their old bytes, their masks in zlib."""

    name: str
    size: int
    spans: list[tuple[int, int]]
    old: bytes
    masks: bytes


class _Journal(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    version: Literal[1]
    parts: list[_Part]


def journal_path(model: Path) -> Path:
    """Where the journal of a model file or directory is."""
    return model / "bankai-journal" if model.is_dir() else model.with_name(f"{model.name}.bankai-journal")


@contextmanager
def locked(model: Path) -> Iterator[None]:
    """Hold a model, and undo on entry what a killed change of it left. Raises StoreError when another holds it."""
    try:
        # Opening a pipe would block; where there is no such flag, nothing is changed in place.
        handle = os.open(model, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    except FileNotFoundError:
        raise ModelFormatError(f"{model} does not exist; check the path") from None
    except OSError as error:
        raise ModelFormatError(f"{model} cannot be opened: {error}; check path and permissions") from error
    try:
        _lock(handle, "flock", f"{model} is being changed by another process; wait for it, or stop it")
        _recover(model)
        yield
    finally:
        os.close(handle)


def recover(model: Path) -> bool:
    """Undo a change that was cut short, and return whether there was one.

    Raises StoreError when the change is still being made, and when the journal does not fit the model.
    """
    model = Path(os.path.realpath(model))  # beside a link there is no journal
    if not os.path.lexists(journal_path(model)):
        return False
    with locked(model):
        return True


def check_unclaimed(model: Path) -> None:
    """Raises StoreError when a new model file of that name would have the journal of one that is gone."""
    journal = journal_path(model)
    if os.path.lexists(journal):
        raise StoreError(f"{journal} is left of a model that is gone; put that back, or remove it")


def change(model: Path, edits: Sequence[Edit], check: Callable[[], None]) -> None:
    """XOR bytes of a model that is `locked`, and call `check` before they count.

    All is undone when `check` or anything else raises. Raises StoreError when the files cannot be written; should
    undoing fail as well, the journal stays for `recover`.
    """
    edits = sorted(edits, key=lambda edit: (edit.file, edit.offset))
    try:
        with ExitStack() as files:
            _change(model, edits, check, files)
    except OSError as error:
        raise StoreError(f"{model} cannot be changed in place: {error}; write a copy with -o") from error


def xor_files(edits: Sequence[Edit]) -> None:
    """XOR bytes of files that nobody else has, such as a copy that is being made; without a journal."""
    with ExitStack() as files:
        handles = {edit.file: _opened(edit.file, files) for edit in edits}
        for edit in edits:
            old = _read(handles[edit.file], edit.offset, len(edit.mask))
            _write(handles[edit.file], edit.offset, _xor(old, edit.mask))


def _change(model: Path, edits: Sequence[Edit], check: Callable[[], None], files: ExitStack) -> None:
    """:func:`change` with edits sorted by file and offset; the files are closed with `files`."""
    handles = {edit.file: _opened(edit.file, files) for edit in edits}
    old = [_read(handles[edit.file], edit.offset, len(edit.mask)) for edit in edits]
    journal = journal_path(model)
    try:
        with writing(journal) as temporary:
            _write_new(temporary, _encode(edits, old))
        for edit, before in zip(edits, old, strict=True):
            _write(handles[edit.file], edit.offset, _xor(before, edit.mask))
        for handle in handles.values():
            os.fsync(handle)
        check()
        os.unlink(journal)
    except BaseException:
        with suppress(OSError):  # then the journal stays
            _undo(
                journal,
                [(handles[edit.file], edit.offset, data) for edit, data in zip(edits, old, strict=True)],
            )
        raise
    sync(journal.parent)


def _undo(journal: Path, spans: Sequence[tuple[int, int, bytes]]) -> None:
    """Write old bytes back (handle, offset, bytes), and remove the journal."""
    for handle, offset, data in spans:
        _write(handle, offset, data)
    for handle in {handle for handle, *_ in spans}:
        os.fsync(handle)
    os.unlink(journal)
    sync(journal.parent)


def _recover(model: Path) -> None:
    """Undo what the journal tells of, and clear what a killed process was writing beside the model."""
    journal = journal_path(model)
    try:
        if os.path.lexists(journal):
            with ExitStack() as files:
                _undo(journal, _half_made(model, journal, files))
        sweep(journal)
    except OSError as error:
        raise StoreError(
            f"{model} cannot be recovered: {error}; mend that, then run `bankai recover`"
        ) from error


def _half_made(model: Path, journal: Path, files: ExitStack) -> list[tuple[int, int, bytes]]:
    """Handle, offset and old bytes of every span, once all are found to be old or new."""
    spans = []
    for part in _decode(model, journal):
        file = model / part.name if model.is_dir() else model
        handle = _opened(file, files)
        if os.fstat(handle).st_size != part.size:
            raise _unfit(journal, f"{file.name} has another size")
        masks, start = _inflate(journal, part), 0
        for offset, length in part.spans:
            old, mask = (data[start : start + length] for data in (part.old, masks))
            changed = np.frombuffer(_xor(_read(handle, offset, length), old), np.uint8)
            if ((changed != 0) & (changed != np.frombuffer(mask, np.uint8))).any():
                raise _unfit(journal, f"{file.name} was changed by something else since")
            spans.append((handle, offset, old))
            start += length
    return spans


def _encode(edits: Sequence[Edit], old: Sequence[bytes]) -> bytes:
    """The journal of edits, sorted by file, whose places hold these old bytes."""
    parts = []
    for file, some in groupby(zip(edits, old, strict=True), key=lambda pair: pair[0].file):
        pairs = list(some)
        spans = [(edit.offset, len(edit.mask)) for edit, _ in pairs]
        masks = zlib.compress(b"".join(edit.mask for edit, _ in pairs), 1)
        parts.append(_Part(file.name, file.stat().st_size, spans, b"".join(data for _, data in pairs), masks))
    body = msgspec.msgpack.encode(_Journal(1, parts))
    return _MARK + hashlib.blake2b(body, digest_size=_DIGEST).digest() + body


def _decode(model: Path, journal: Path) -> list[_Part]:
    """The parts of a journal, checked to name files inside this model only. Raises StoreError."""
    if journal.is_symlink():  # what it tells would be another's
        raise _unfit(journal, "it is not a regular file")
    try:
        data = read_bounded(journal, 2 * _size(model) + (1 << 20))
    except RefusedFileError as error:
        raise _unfit(journal, f"it is {error.strerror}") from None
    if (
        data[: len(_MARK)] != _MARK
        or hashlib.blake2b(data[_HEAD:], digest_size=_DIGEST).digest() != data[len(_MARK) : _HEAD]
    ):
        raise _unfit(journal, "it is damaged")
    try:
        parts = msgspec.msgpack.decode(data[_HEAD:], type=_Journal).parts
    except (msgspec.DecodeError, ValueError) as error:
        raise _unfit(journal, f"it is malformed: {error}") from None
    for part in parts:
        # A model file may have been renamed: sizes and bytes tell whether the journal is its own.
        known = model.is_file() or re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]*", part.name)
        ends = [offset + length for offset, length in part.spans]
        sound = (
            all(offset >= 0 and length > 0 for offset, length in part.spans)
            and max(ends, default=0) <= part.size
        )
        if not known or not sound or sum(length for _, length in part.spans) != len(part.old):
            raise _unfit(journal, "it tells of places that the model does not have")
    return parts


def _inflate(journal: Path, part: _Part) -> bytes:
    """The masks of a part, as long as its old bytes. Raises StoreError."""
    inflater = zlib.decompressobj()
    try:
        masks = inflater.decompress(part.masks, len(part.old) + 1)
    except zlib.error as error:
        raise _unfit(journal, f"it is malformed: {error}") from None
    if len(masks) != len(part.old):
        raise _unfit(journal, "it is malformed: masks of another length")
    return masks


def _unfit(journal: Path, why: str) -> StoreError:
    return StoreError(
        f"{journal} tells of a change that was cut short and cannot be undone: {why}; "
        "get the model again, or delete the journal if you know the model to be sound"
    )


def _xor(data: bytes, mask: bytes) -> bytes:
    """Bytes of equal length, XORed."""
    return bytes(np.frombuffer(data, np.uint8) ^ np.frombuffer(mask, np.uint8))


def _size(model: Path) -> int:
    """Bytes of a model file, or of all files in a directory."""
    files = model.iterdir() if model.is_dir() else [model]
    return sum(file.stat().st_size for file in files if file.is_file())


def _opened(file: Path, files: ExitStack) -> int:
    """A handle to read and write; no link is followed. Raises StoreError when another process has locked it."""
    handle = os.open(file, os.O_RDWR | os.O_NOFOLLOW)
    files.callback(os.close, handle)
    _lock(handle, "lockf", f"{file} is locked by another process; stop it, or write a copy with -o")
    return handle


def _lock(handle: int, kind: Literal["flock", "lockf"], held: str) -> None:
    """Both kinds are in use, and neither sees the other: `flock` is of the open file, `lockf` of the process."""
    try:
        import fcntl
    except ModuleNotFoundError:  # reading works there
        raise StoreError(
            "models are changed in place on Linux and macOS only; write a copy with -o"
        ) from None
    try:
        (fcntl.flock if kind == "flock" else fcntl.lockf)(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        raise StoreError(held) from None
    except OSError:  # some network file systems have no locks
        pass


def _read(handle: int, offset: int, length: int) -> bytes:
    data = b""
    while len(data) < length:
        more = os.pread(handle, length - len(data), offset + len(data))
        if not more:
            raise OSError("the file ends early")
        data += more
    return data


def _write(handle: int, offset: int, data: bytes) -> None:
    """All of it: a short write is followed by another."""
    done = 0
    while done < len(data):
        done += os.pwrite(handle, data[done:], offset + done)


def _write_new(path: Path, data: bytes) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        _write(handle, 0, data)
    finally:
        os.close(handle)
