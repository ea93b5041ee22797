"""Which patches there are for a base, by name, and what a stack of them is: one patch, proven to fit the base.

Contract: a name stands for a patch only when its bytes are those that were put into the library, the library's policy
on signatures holds, and the base has the bits that the patch was made on. Everything else is an UnknownModelError that
says why, never the base instead. A library that has changed is read again, so what is added is there at once. May be
used from several threads.
"""

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import xor
from pathlib import Path
from threading import Lock
from typing import TypeVar

from bankai.errors import (
    AlreadyAppliedError,
    BankaiError,
    LibraryError,
    SignatureFormatError,
    UnknownModelError,
    WrongBaseError,
)
from bankai.io import open_regular
from bankai.library.entries import Entry, Stored, prove, vouched
from bankai.library.library import Library
from bankai.patch import Patch, bind, fingerprint, state
from bankai.quantization import Matrices
from bankai.signing.signature import PublicKey, trusted_keys, trusted_keys_path

__all__ = ["SEPARATOR", "Catalog", "Served"]

SEPARATOR = "+"
"""Between the names of a stack. A patch with it in its own name is not served."""

T = TypeVar("T")

_HEAD = 100  # bytes of SQLite's header, a counter of changes among them
_MOST = 64  # in a stack
_KEPT = 1000  # stacks


@dataclass(frozen=True, slots=True)
class Served:
    """A base with patches: their XOR, bound to the base, and without flips for the base itself.

    `digests` are those that `bankai library list --json` shows, sorted; `key` is the base's fingerprint and these,
    joined by "+": equal keys, equal bits.
    """

    patch: Patch
    key: str
    names: tuple[str, ...]
    digests: tuple[str, ...]


class Catalog:
    """The patches of a `library` that fit `model`, whose name is `base`. Without library only the base.

    `model` is what the engine computes with, or its file: its bits stay as they are. `keys` are those to trust, by
    default those of the user's trusted-keys file. Raises LibraryError for no sound library.
    """

    def __init__(
        self,
        model: Matrices,
        base: str,
        library: str | Path | None = None,
        keys: Iterable[PublicKey] | None = None,
    ) -> None:
        self.base = base
        self._model, self._fingerprint = model, fingerprint(model)
        self._path = None if library is None else Path(library)
        self._keys = None if keys is None else tuple(keys)
        self._lock = Lock()
        self._stamp: object = None
        self._found: dict[str, Stored | BankaiError] = {}
        self._proven: dict[str, Patch | BankaiError] = {}
        self._stacks: dict[tuple[str, ...], Patch] = {}
        self._plain = Served(bind(Patch.empty(), model), self._fingerprint.hex(), (), ())
        self._refresh()

    def entries(self) -> tuple[Entry, ...]:
        """What can be asked for, by name. Raises LibraryError when the library cannot be read."""
        with self._lock:
            self._refresh()
            sound = [one for one in self._found.values() if isinstance(one, Stored)]
            return tuple(one.entry for one in sound if isinstance(_judged(self._fitting, one), Patch))

    def names(self, model: str) -> tuple[str, ...]:
        """The patches that a model name asks for: none in "nano", two in "nano+math+style".

        Raises UnknownModelError for another base; the patches themselves are for `resolve` to judge.
        """
        if model == self.base:
            return ()
        head = self.base + SEPARATOR
        if not model.startswith(head):
            raise UnknownModelError(f"there is no model {model!r:.80}; ask for {self.base!r}")
        return tuple(model.removeprefix(head).split(SEPARATOR))

    def resolve(self, names: Sequence[str]) -> Served:
        """The base with all patches of these names; their order never matters.

        Raises UnknownModelError for a name that stands for no fitting patch, and for patches that take each other off;
        LibraryError when the library cannot be read.
        """
        if not names:
            return self._plain  # at once, whoever changes the library
        if len(names) > _MOST:
            raise UnknownModelError(f"{len(names)} patches are too many; ask for at most {_MOST}")
        if len(set(names)) < len(names):
            raise UnknownModelError("a patch asked for twice would be taken off again; ask for it once")
        with self._lock:
            self._refresh()
            entries, parts = zip(*map(self._get, names), strict=True)
            whole = reduce(xor, parts, Patch.empty())
            if len(set(parts)) < len(parts) or (any(parts) and not whole):
                raise UnknownModelError("these patches take each other off; ask for fewer of them")
            digests = tuple(sorted(entry.digest for entry in entries))
            key = SEPARATOR.join((self._fingerprint.hex(), *digests))
            return Served(self._bound(digests, whole), key, tuple(names), digests)

    def _bound(self, digests: tuple[str, ...], whole: Patch) -> Patch:
        """Bound once, for every request with it: that reads all tensors of the base."""
        if digests not in self._stacks:
            if len(self._stacks) >= _KEPT:
                del self._stacks[next(iter(self._stacks))]
            self._stacks[digests] = bind(whole, self._model)
        return self._stacks[digests]

    def _get(self, name: str) -> tuple[Entry, Patch]:
        found = self._found.get(name, LibraryError("the library has no patch of that name"))
        try:
            if isinstance(found, BankaiError):
                raise found
            return found.entry, self._fitting(found)
        except BankaiError as error:
            raise UnknownModelError(f"the patch {name!r:.80} is not served: {error}") from None

    def _fitting(self, stored: Stored) -> Patch:
        """The patch, when the base is what it was made on; judged once. Raises BankaiError."""
        digest = stored.entry.digest
        if digest not in self._proven:
            self._proven[digest] = _judged(self._judge, stored)
        found = self._proven[digest]
        if isinstance(found, BankaiError):
            raise found
        return found

    def _judge(self, stored: Stored) -> Patch:
        if stored.entry.fingerprint not in (None, self._fingerprint.hex()):
            raise WrongBaseError("it was made for another model")
        patch = stored.patch
        match state(self._model, patch):
            case "base":
                return patch
            case "applied":
                raise AlreadyAppliedError(
                    "the model file has it already; serve the base, see `bankai status`"
                )
            case _:
                raise WrongBaseError(
                    "its bits are not those of this model; serve the base that it was made on"
                )

    def _refresh(self) -> None:
        """Read the library when it is not what it was at the last time."""
        if self._path is None:
            return
        stamp = _stamp(self._path), _stamp(trusted_keys_path())
        if stamp == self._stamp:
            return
        keys = _trusted() if self._keys is None else self._keys
        with Library(self._path) as library:
            signed_only = library.policy == "signed"
            names = [entry.name for entry in library.list()]
            found = {
                name: _judged(_sound, library, name, self._found.get(name), keys, signed_only)
                for name in names
            }
        kept = {one.entry.digest for one in found.values() if isinstance(one, Stored)}
        self._found, self._stamp = (
            found,
            stamp,
        )  # read after the stamp was taken: a change meanwhile shows next time
        self._proven = {digest: patch for digest, patch in self._proven.items() if digest in kept}


def _sound(
    library: Library, name: str, known: object, keys: Sequence[PublicKey], signed_only: bool
) -> Stored:
    """The patch of that name, as the library's policy wants it; `known` is proven already. Raises BankaiError."""
    if SEPARATOR in name:
        raise LibraryError(
            f"{SEPARATOR} stands between the names of a stack; give it another name in the library"
        )
    stored = library.get(name)
    if stored != known:
        prove(stored)
    vouched(stored.data, stored.signature, keys, signed_only=signed_only)
    return stored


def _trusted() -> tuple[PublicKey, ...]:
    """The keys of the user. Without sound ones nobody knows what the library's policy allows."""
    try:
        return trusted_keys()
    except SignatureFormatError as error:
        raise LibraryError(str(error)) from None


def _judged(judge: Callable[..., T], *about: object) -> T | BankaiError:
    """What it finds, or why not: one bad patch does not keep the others from being served."""
    try:
        return judge(*about)
    except BankaiError as error:
        return error


def _stamp(path: Path) -> object:
    """Differs when a file has changed; the counter of changes in a library's head is finer than any clock."""
    try:
        with open_regular(path) as file:
            status = os.fstat(file.fileno())
            return status.st_ino, status.st_size, status.st_mtime_ns, file.read(_HEAD)
    except OSError:
        return None
