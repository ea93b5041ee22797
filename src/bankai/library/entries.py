"""What a library knows of a patch: the line of its table, checked when it is read, and when it is written.

Contract: a line from a hostile file becomes an `Entry` or a LibraryError; `prove` compares it with the bytes that it
stands for.
"""

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec

from bankai.errors import LibraryError, SignatureFormatError, UnsignedError, UntrustedKeyError
from bankai.patch import Patch, decode
from bankai.signing.signature import PublicKey, Signature, key_text, verify

__all__ = [
    "COLUMNS",
    "Entry",
    "Stored",
    "digest_of",
    "fingerprint_of",
    "parse_line",
    "prove",
    "sound_name",
    "sound_tags",
    "vouched",
]

COLUMNS = "name, digest, fingerprint, flips, length(patch), tags, added, signature"
"""What `parse_line` takes, in the words of the table."""

_MAX_NAME = 200
_TAG = re.compile(r"[^\s,]{1,50}")


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """`digest`: 16 bytes of BLAKE2b over the file, in hex; `fingerprint`: that of the base, None for an unbound patch;
    `key`: who says to have signed it, as minisign shows it, None for nobody. Only verifying proves that.
    """

    name: str
    digest: str
    fingerprint: str | None
    flips: int
    file_bytes: int
    tags: tuple[str, ...]
    added: str
    key: str | None


@dataclass(frozen=True, slots=True)
class Stored:
    """A patch as it came: the bytes of its file, and their signature."""

    entry: Entry
    data: bytes
    signature: Signature | None

    @property
    def patch(self) -> Patch:
        """Raises PatchFormatError for bytes that are none."""
        return decode(self.data)


class _Line(msgspec.Struct, array_like=True):
    """A line as it stands in the file, and what can stand there."""

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=_MAX_NAME)]
    digest: Annotated[bytes, msgspec.Meta(min_length=16, max_length=16)]
    fingerprint: Annotated[bytes, msgspec.Meta(min_length=8, max_length=8)] | None
    flips: Annotated[int, msgspec.Meta(ge=0)]
    file_bytes: int
    tags: str
    added: Annotated[int, msgspec.Meta(ge=0, le=2**36)]
    signature: bytes | None


def parse_line(row: Sequence[Any]) -> Entry:
    """The entry of a row of COLUMNS. Raises LibraryError."""
    try:
        line = msgspec.convert(row, _Line)
        key = None if line.signature is None else key_text(Signature.unpack(line.signature).key_id)
    except (msgspec.ValidationError, SignatureFormatError) as error:
        raise LibraryError(f"the line of {row[0]!r:.80} is damaged ({error}); remove it") from None
    return Entry(
        name=line.name,
        digest=line.digest.hex(),
        fingerprint=None if line.fingerprint is None else line.fingerprint.hex(),
        flips=line.flips,
        file_bytes=line.file_bytes,
        tags=tuple(filter(None, line.tags.split(","))),
        added=datetime.fromtimestamp(line.added, UTC).isoformat(),
        key=key,
    )


def digest_of(data: bytes) -> bytes:
    """What tells one patch file from another."""
    return hashlib.blake2b(data, digest_size=16).digest()


def fingerprint_of(patch: Patch) -> bytes | None:
    """Of the base, when the patch is bound."""
    return patch.binding.fingerprint if patch.binding else None


def sound_name(name: str) -> str:
    """The name, when a patch can have it. Raises LibraryError."""
    if not name.isprintable() or not 1 <= len(name) <= _MAX_NAME or name != name.strip():
        raise LibraryError(
            f"{name!r:.80} is no name for a patch (1 to {_MAX_NAME} letters); give one by --name"
        )
    return name


def sound_tags(tags: Iterable[str]) -> tuple[str, ...]:
    """The tags, sorted, when they are some. Raises LibraryError."""
    ordered = tuple(sorted(set(tags)))
    for tag in ordered:
        if not tag.isprintable() or not _TAG.fullmatch(tag):
            raise LibraryError(f"{tag!r:.80} is no tag: give at most 50 letters, without blanks or commas")
    return ordered


def prove(stored: Stored) -> None:
    """Raise LibraryError or PatchFormatError unless the line says what the bytes do."""
    entry = stored.entry
    if entry.digest != digest_of(stored.data).hex():
        raise LibraryError("the bytes are not those that were put in; take the library from a copy")
    patch = stored.patch
    base = fingerprint_of(patch)
    if (entry.fingerprint, entry.flips) != (base and base.hex(), len(patch)):
        raise LibraryError("base or number of flips are not those of the bytes; export it and add it again")
    sound_name(entry.name)
    sound_tags(entry.tags)


def vouched(
    data: bytes, signature: Signature | None, keys: Iterable[PublicKey], *, signed_only: bool
) -> bool:
    """Whether one of the keys signed the bytes. Raises TamperedError; UnsignedError and UntrustedKeyError when only
    what they signed is good enough.
    """
    if signature is None:
        if signed_only:
            raise UnsignedError("not signed, and the library is for signed patches; ask its maker to sign it")
        return False
    try:
        verify(data, signature, keys)
    except UntrustedKeyError:
        if signed_only:
            raise
        return False
    return True
