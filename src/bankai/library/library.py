"""A library: thousands of patches with names, tags and signatures in one SQLite file.

Contract: a patch is kept as the exact bytes of its file, so that digests and signatures hold when it comes out again;
the rest of its line follows from them, but for name, tags and time. A change is whole or not made, whatever kills it;
any number of processes read while one writes. What a library holds is judged as if a stranger had written it: every
patch is decoded anew, and no name becomes a path. The policy "signed" binds who adds through this module, not who
writes the file by other means: `check` names what breaks it.
"""

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec

from bankai.errors import (
    BankaiError,
    LibraryError,
    PatchFormatError,
    SignatureError,
    SignatureFormatError,
    UnsignedError,
)
from bankai.io import check_absent, visible_files, writing
from bankai.library.entries import (
    COLUMNS,
    Entry,
    Stored,
    digest_of,
    fingerprint_of,
    parse_line,
    prove,
    sound_name,
    sound_tags,
    vouched,
)
from bankai.library.library_file import POLICIES, connect, make, told
from bankai.patch import decode
from bankai.patch.codec import MAGIC
from bankai.patch.files import read_patch_bytes
from bankai.signing.signature import (
    PublicKey,
    Signature,
    read_signature,
    signature_path,
    trusted_keys,
    write_signature,
)

__all__ = ["Added", "Checked", "Finding", "Library", "add_files"]


class Added(msgspec.Struct, frozen=True):
    """What was put in, and by path the name under which the library had what was skipped.

    `signed`: the paths of those skipped that have another signature beside them than the library has.
    """

    added: tuple[Entry, ...]
    known: dict[str, str]
    signed: tuple[str, ...] = ()


class Finding(msgspec.Struct, frozen=True):
    """What is wrong with the patch of that name."""

    name: str
    problem: str


class Checked(msgspec.Struct, frozen=True):
    """Of so many patches, how many a known key signed, and what is wrong."""

    patches: int
    verified: int
    findings: tuple[Finding, ...]


class Library:
    """An open library, closed by `with`; `create` makes one where there is none. Raises LibraryError, as all do.

    `keys` are the keys to trust: those of the user's trusted-keys file unless given.
    """

    def __init__(self, path: str | Path, *, writable: bool = False, create: bool = False) -> None:
        self.path = Path(path)
        if create:
            make(self.path)
        self._connection = connect(self.path, writable or create)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the file back. A change that was begun and not ended is undone."""
        self._connection.close()

    @contextmanager
    def change(self) -> Iterator[None]:
        """Make all changes within together or not at all. Another writer waits for seconds, then is told."""
        if self._connection.in_transaction:
            yield
            return
        with told(self.path):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._connection.execute("COMMIT")
            finally:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")

    def add(
        self,
        path: str | Path,
        *,
        name: str | None = None,
        tags: Iterable[str] | None = None,
        replace: bool = False,
        keys: Iterable[PublicKey] | None = None,
    ) -> Entry:
        """Put in a `.bankai` file, and the signature beside it, under its own name, else its file's.

        Raises as `put`, and SignatureFormatError.
        """
        data = read_patch_bytes(path)
        try:
            if not data.startswith(MAGIC):
                raise PatchFormatError(
                    "not a .bankai file, which is what a library keeps; make one: bankai convert"
                )
            name = name or decode(data).manifest.name or Path(path).stem
            return self.put(data, _signature_of(path), name=name, tags=tags, replace=replace, keys=keys)
        except (LibraryError, PatchFormatError, SignatureError) as error:
            raise type(error)(f"{path}: {error}") from None

    def put(
        self,
        data: bytes,
        signature: Signature | None = None,
        *,
        name: str,
        tags: Iterable[str] | None = None,
        replace: bool = False,
        keys: Iterable[PublicKey] | None = None,
    ) -> Entry:
        """Put in the bytes of a patch file; with `replace` for those of that name, whose tags stay unless given.

        Raises LibraryError when the library has these bytes or that name; PatchFormatError; TamperedError for a
        signature that does not fit its trusted key, and under the policy "signed" UnsignedError and UntrustedKeyError.
        """
        patch, digest, name = decode(data), digest_of(data), sound_name(name)
        packed = None if signature is None else signature.pack()
        trusted = trusted_keys() if keys is None else keys
        with self.change():
            vouched(data, signature, trusted, signed_only=self.policy == "signed")
            holder, old = self.holder(data), self._lines("WHERE name = ?", name)
            if holder is not None and holder != name:
                raise LibraryError(f"{self.path} has this patch already, as {holder}; add it by that --name")
            if holder is not None and not replace:
                raise LibraryError(
                    f"{self.path} has this patch already, as {holder}; give --replace to renew its signature or tags"
                )
            if old and not replace:
                raise LibraryError(
                    f"{self.path} has another patch named {name}; give --replace, or a new --name"
                )
            kept = old[0].tags if old and tags is None else sound_tags(tags or ())
            line = (name, digest, fingerprint_of(patch), len(patch), ",".join(kept), int(time.time()))
            self._execute("DELETE FROM patches WHERE name = ?", name)
            self._execute("INSERT INTO patches VALUES (?, ?, ?, ?, ?, ?, ?, ?)", *line, packed, data)
            return self._lines("WHERE name = ?", name)[0]

    def holder(self, data: bytes) -> str | None:
        """The name under which the library has exactly these bytes."""
        rows = self._execute("SELECT name FROM patches WHERE digest = ?", digest_of(data))
        return str(rows[0][0]) if rows else None

    def get(self, name: str) -> Stored:
        """The patch of that name. Raises LibraryError when there is none."""
        rows = self._execute(f"SELECT {COLUMNS}, patch FROM patches WHERE name = ?", name)
        if not rows:
            raise self._unknown(name)
        *line, data = rows[0]
        entry, packed = parse_line(line), line[-1]
        if not isinstance(data, bytes):
            raise LibraryError(f"the line of {name} is damaged; remove it")
        return Stored(entry, data, None if packed is None else Signature.unpack(packed))

    def list(self) -> tuple[Entry, ...]:
        """All entries, by name."""
        return self._lines("ORDER BY name")

    def search(
        self, words: Iterable[str] = (), *, base: str | None = None, tags: Iterable[str] = ()
    ) -> tuple[Entry, ...]:
        """The entries for the base of that fingerprint (hex) with all the tags and, in name or description, the words.

        Case does not count. Descriptions are decoded, half a millisecond each, where the name is not enough.
        """
        wanted, needles = set(tags), [word.casefold() for word in words]
        found = [entry for entry in self.list() if base in (None, entry.fingerprint)]
        return tuple(
            entry for entry in found if wanted <= set(entry.tags) and self._mentions(entry.name, needles)
        )

    def remove(self, name: str) -> None:
        """Take a patch out. Raises LibraryError when there is none of that name."""
        with self.change():
            if not self._execute("SELECT 1 FROM patches WHERE name = ?", name):
                raise self._unknown(name)
            self._execute("DELETE FROM patches WHERE name = ?", name)

    def export(self, name: str, path: str | Path) -> Stored:
        """Write a patch as it came to the new file `path`, and its signature beside it. Raises StoreError."""
        stored = self.get(name)
        prove(stored)
        for place in (Path(path), signature_path(path)):
            check_absent(place)
        with writing(Path(path)) as temporary:
            temporary.write_bytes(stored.data)
        if stored.signature is not None:
            write_signature(stored.signature, path)
        return stored

    @property
    def policy(self) -> str:
        """Whose patches it takes: "any", or "signed" for those that a trusted key signed."""
        rows = self._execute("SELECT value FROM settings WHERE name = 'policy'")
        if not rows or rows[0][0] not in POLICIES:
            raise LibraryError(f"{self.path} has no sound policy; set one with `bankai library policy`")
        return str(rows[0][0])

    @policy.setter
    def policy(self, policy: str) -> None:
        if policy not in POLICIES:
            raise LibraryError(f"{policy} is no policy; give one of: {', '.join(POLICIES)}")
        with self.change():
            self._execute("INSERT OR REPLACE INTO settings VALUES ('policy', ?)", policy)

    def check(self, keys: Iterable[PublicKey] | None = None) -> Checked:
        """Prove every line against its bytes, and the signatures of known keys.

        No signature, or one of another key, is a finding under the policy "signed" alone.
        """
        trusted = trusted_keys() if keys is None else tuple(keys)
        signed_only = self.policy == "signed"
        names = [row[0] for row in self._execute("SELECT name FROM patches ORDER BY name")]
        findings = [Finding("", row[0]) for row in self._execute("PRAGMA integrity_check") if row[0] != "ok"]
        seen: dict[str, str] = {}
        verified = 0
        for name in names:
            try:
                stored = self.get(name)
                prove(stored)
                if (other := seen.setdefault(stored.entry.digest, name)) != name:
                    raise LibraryError(f"the same patch as {other}; remove one of them")
                verified += vouched(stored.data, stored.signature, trusted, signed_only=signed_only)
            except BankaiError as error:
                findings.append(Finding(str(name), str(error)))
        return Checked(len(names), verified, tuple(findings))

    def _unknown(self, name: str) -> LibraryError:
        return LibraryError(f"{self.path} has no patch named {name}; `bankai library list` shows the names")

    def _mentions(self, name: str, needles: Sequence[str]) -> bool:
        text = name.casefold()
        if not all(needle in text for needle in needles):
            text += "\n" + self.get(name).patch.manifest.description.casefold()
        return all(needle in text for needle in needles)

    def _lines(self, which: str, *values: object) -> tuple[Entry, ...]:
        return tuple(map(parse_line, self._execute(f"SELECT {COLUMNS} FROM patches {which}", *values)))

    def _execute(self, statement: str, *values: object) -> Sequence[Any]:
        with told(self.path):
            return self._connection.execute(statement, values).fetchall()


def _signature_of(path: str | Path) -> Signature | None:
    try:
        return read_signature(path)
    except UnsignedError:
        return None


def add_files(
    library: Library,
    sources: Iterable[str | Path],
    *,
    name: str | None = None,
    tags: Iterable[str] | None = None,
    replace: bool = False,
    keys: Iterable[PublicKey] | None = None,
) -> Added:
    """Put in files, and all `.bankai` files of directories that the library does not have yet: all or none.

    With `replace` also those of directories that it has with another signature. Raises as `Library.add`, and
    LibraryError for a directory without patches or a `name` for more than one file.
    """
    added: list[Entry] = []
    known: dict[str, str] = {}
    signed: list[str] = []
    with library.change():
        for path, named in _files(sources):
            holder = None if named else library.holder(read_patch_bytes(path))
            fresh = holder is not None and _is_signed_anew(path, library.get(holder))
            if holder is not None and not (fresh and replace):
                known[str(path)] = holder
                signed += [str(path)] * fresh
                continue
            if name is not None and added:
                raise LibraryError("one --name cannot be that of several patches; add them one by one")
            added.append(library.add(path, name=holder or name, tags=tags, replace=replace, keys=keys))
    return Added(tuple(added), known, tuple(signed))


def _is_signed_anew(path: Path, stored: Stored) -> bool:
    """Whether a sound signature beside a patch is another than the library has."""
    try:
        return read_signature(path) != stored.signature
    except (UnsignedError, SignatureFormatError):
        return False


def _files(sources: Iterable[str | Path]) -> Iterator[tuple[Path, bool]]:
    """Each file, and whether it was asked for by its own name."""
    for source in map(Path, sources):
        if not source.is_dir():
            yield source, True
            continue
        found = visible_files(source, ".bankai")
        if not found:
            raise LibraryError(f"{source} has no .bankai files; name some, or another directory")
        for path in found:
            yield path, False
