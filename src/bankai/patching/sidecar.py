"""The sidecar of a model file: which patches were put on it. A note only; the digests of the bits decide.

Contract: `load` reads any file of that name without failing and says in words why it ignored one; `save`
writes it whole or not at all. The sidecar of `FILE` is `FILE.bankai.json`; of an MLX directory,
`bankai.json` inside. This module does not look at the model's bits.
"""

import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec

from bankai.errors import PatchFormatError, StoreError
from bankai.io import RefusedFileError, decode_text, read_bounded, sync, writing
from bankai.patch import Flip, Patch, decode, encode

__all__ = ["Applied", "combined", "load", "save", "sidecar_path"]

_MAX_BYTES = 4 << 20
_MAX_PATCHES = 256
_MAX_FLIPS = 2**18
_MAX_MANIFESTS = 2 << 20  # bytes of all manifests, unpacked


@dataclass(frozen=True, slots=True)
class Applied:
    """A patch that is listed as on since `time` (ISO 8601, UTC); `pending`: one that may be on or off."""

    patch: Patch
    time: str
    pending: bool = False

    @property
    def name(self) -> str:
        """The patch's name in its manifest, or ""."""
        return self.patch.manifest.name


class _Line(msgspec.Struct, omit_defaults=True):
    name: str
    time: str
    patch: bytes  # base64 in JSON
    pending: bool = False


class _File(msgspec.Struct):
    version: Literal[1]
    patches: list[_Line]


def sidecar_path(model: Path) -> Path:
    """Where the sidecar of a model file or directory is."""
    return model / "bankai.json" if model.is_dir() else model.with_name(f"{model.name}.bankai.json")


def combined(applied: Iterable[Applied]) -> frozenset[Flip]:
    """The flips of all these patches together, under XOR."""
    flips: frozenset[Flip] = frozenset()
    for entry in applied:
        flips ^= entry.patch.flips
    return flips


def load(path: Path) -> tuple[tuple[Applied, ...], str]:
    """The patches that a sidecar lists, and why it is ignored: "" when it is not ignored, or not there.

    However many it lists, reading them takes no more than one patch at the bounds of the format would, and twice
    the largest manifest.
    """
    try:
        return _parse(_read(path)), ""
    except FileNotFoundError:
        return (), ""
    except (OSError, ValueError, RecursionError, msgspec.DecodeError, PatchFormatError) as error:
        return (), f"{path.name} is ignored: {error!s:.200}"  # it may quote the file


def _read(path: Path) -> bytes:
    try:
        return read_bounded(path, _MAX_BYTES)
    except RefusedFileError as error:
        raise ValueError(f"it is {error.strerror}") from None


def _parse(data: bytes) -> tuple[Applied, ...]:
    lines = msgspec.json.decode(decode_text(data), type=_File).patches
    if len(lines) > _MAX_PATCHES:
        raise ValueError(f"it lists more than {_MAX_PATCHES} patches")
    applied: dict[Patch, Applied] = {}
    flips, manifests = _MAX_FLIPS, _MAX_MANIFESTS
    for line in lines:
        try:
            patch = decode(line.patch, flips=flips, manifest=manifests)
        except PatchFormatError as error:
            raise ValueError(f"patch {len(applied) + 1} of {len(lines)}: {error}") from None
        flips, manifests = flips - len(patch), manifests - _manifest_bytes(patch)
        if patch.binding is None or patch in applied:
            raise ValueError("it lists an unbound patch, or one patch twice")
        applied[patch] = Applied(patch, line.time, line.pending)
    return tuple(applied.values())


def _manifest_bytes(patch: Patch) -> int:
    return len(msgspec.msgpack.encode(patch.manifest))


def save(path: Path, applied: Sequence[Applied]) -> None:
    """Write the sidecar, or remove it when nothing is applied; nothing where it says so already.

    Raises StoreError when it cannot be written, or lists more than `load` would read.
    """
    if not applied:
        _remove(path)
        return
    lines = [_Line(entry.name, entry.time, encode(entry.patch), entry.pending) for entry in applied]
    data = msgspec.json.format(msgspec.json.encode(_File(1, lines)), indent=1) + b"\n"
    manifests = sum(_manifest_bytes(entry.patch) for entry in applied)
    flips = sum(len(entry.patch) for entry in applied)
    sizes = (
        (len(lines), _MAX_PATCHES),
        (len(data), _MAX_BYTES),
        (manifests, _MAX_MANIFESTS),
        (flips, _MAX_FLIPS),
    )
    if any(size > limit for size, limit in sizes):
        raise StoreError("too many patches are applied to list; compose them into one with `bankai compose`")
    with suppress(OSError):
        if read_bounded(path, _MAX_BYTES) == data:
            return
    with writing(path) as temporary:
        temporary.write_bytes(data)


def _remove(path: Path) -> None:
    if not os.path.lexists(path):  # on a read-only disk, removing even that would fail
        return
    try:
        path.unlink(missing_ok=True)
        sync(path.parent)
    except OSError as error:
        raise StoreError(f"{path} cannot be removed: {error}; remove it yourself") from error
