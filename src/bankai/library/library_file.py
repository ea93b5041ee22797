"""The SQLite file of a library: made, opened, proven sound. What it holds may come from anybody.

Contract: a connection is given out only once header, schema and pages are proven to be those of a library; nothing that
a file says is ever executed, and everything else is a LibraryError that names the way out. Opening for reading changes
nothing, except that it rolls back what a killed writer left.

Changes go through SQLite's rollback journal, not its write-ahead log: people copy a library about as one file, and a
log keeps the latest changes in a second file, which a copy or a read-only folder would lose. The journal is removed
when a change is whole, and its folder synced (EXTRA), so that a killed or powerless writer leaves all or nothing.
Readers and the one writer wait for each other for seconds at most; a writer that commits without a pause can make
readers wait in vain, so put many patches in as one change.
"""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from functools import cache
from pathlib import Path

from bankai.errors import LibraryError
from bankai.io import RefusedFileError, open_regular, sync
from bankai.patch.codec import MAGIC, MAX_FILE

__all__ = ["POLICIES", "WAIT", "connect", "make", "told"]

WAIT = 5.0
"""Seconds that a reader or writer waits for another one."""
POLICIES = ("any", "signed")

_VERSION = 1
_PAGE = 8192  # 4,096 and 16,384 took 9 and 4 % more for 1,000 signed patches of 93 flips
_SCHEMA = (
    "CREATE TABLE patches ("
    "name TEXT NOT NULL UNIQUE, digest BLOB NOT NULL, fingerprint BLOB, flips INTEGER NOT NULL, "
    "tags TEXT NOT NULL, added INTEGER NOT NULL, signature BLOB, patch BLOB NOT NULL)",
    "CREATE TABLE settings (name TEXT NOT NULL PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
)
# `digest` is unique too; no index holds it, because that takes 4 % of a library and saves a millisecond in an `add`.

_OPS = 10_000  # instructions of SQLite between two looks at the budget of the checks
_SUPER_JOURNAL = bytes.fromhex("d9d505f920a163d7")  # ends a journal that names a further file


@contextmanager
def told(path: Path) -> Iterator[None]:
    """Around work on a library: what SQLite refuses becomes a LibraryError with the way out."""
    try:
        yield
    except sqlite3.ProgrammingError:  # a bug of the caller, such as a library used after it was closed
        raise
    except (sqlite3.Error, UnicodeDecodeError) as error:  # the latter where a message quotes damaged bytes
        raise LibraryError(_why(path, error)) from error


def _name(error: Exception) -> str:
    """SQLite's name of it; "" for one of Python's own, as when a message cannot be decoded."""
    return getattr(error, "sqlite_errorname", "")


def _why(path: Path, error: Exception) -> str:
    match _name(error).split("_")[1:2]:
        case ["BUSY"]:
            return f"another process is changing {path}; try again when it is done"
        case ["READONLY" | "PERM" | "CANTOPEN"]:
            return f"{path} cannot be opened or written ({error}); give yourself permission, or use a copy"
        case ["FULL" | "IOERR"]:
            return f"{path} cannot be changed ({error}); it stays as it was, make room and try again"
        case ["TOOBIG"]:
            return f"{path} holds more in one place than a patch may have; get it from a source you trust"
        case _:
            return f"{path} is damaged ({error}); take it from a copy"


def make(path: Path) -> None:
    """Make an empty library, whole or not at all; one that is there stays. Raises LibraryError."""
    leftovers = _beside(
        path
    )  # before the library itself: another process may be making it, and write to it at once
    if os.path.lexists(path):
        return
    for leftover in leftovers:
        raise LibraryError(f"{leftover} is left of a library that is gone; put that back, or remove it")
    temporary = path.with_name(f".{path.name}.{os.urandom(4).hex()}.tmp")
    try:
        temporary.write_bytes(_empty()[0])
        sync(temporary)
        with suppress(FileExistsError):  # another process was quicker
            os.link(temporary, path)  # unlike a rename, never in the place of a file
        sync(path.parent)
    except OSError as error:
        raise LibraryError(f"{path} cannot be made: {error.strerror}; choose another place") from error
    finally:
        with suppress(OSError):
            temporary.unlink()


def connect(path: Path, writable: bool) -> sqlite3.Connection:
    """A connection to a library, each statement its own transaction unless one is begun. Raises LibraryError."""
    with told(path):
        try:
            return _open(path, writable)
        except sqlite3.OperationalError as error:
            if _name(error) != "SQLITE_READONLY_ROLLBACK":
                raise
        _open(path, True).close()  # rolls back what a killed writer left
        return _open(path, writable)


def _open(path: Path, writable: bool) -> sqlite3.Connection:
    size = _check_files(path, writable)
    uri = f"{path.absolute().as_uri()}?mode={'rw' if writable else 'ro'}"
    connection = sqlite3.connect(uri, timeout=WAIT, isolation_level=None, uri=True)
    try:
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MAX_FILE + (64 << 10))  # a line
        connection.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
        budget = iter(range(20 + size // _OPS))
        connection.set_progress_handler(lambda: next(budget, None) is None, _OPS)
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.execute("PRAGMA cell_size_check = ON")
        connection.execute("BEGIN")  # one lock for all of it
        _check_pages(connection, path)
        connection.execute("COMMIT")
        connection.set_progress_handler(None, 0)
        connection.execute("PRAGMA synchronous = EXTRA")
    except BaseException:
        connection.close()
        raise
    return connection


def _check_files(path: Path, writable: bool) -> int:
    """The file's size, once its header is a library's. SQLite has not seen anything of it yet."""
    try:
        with open_regular(path) as file:
            size, head = os.fstat(file.fileno()).st_size, file.read(100)
    except RefusedFileError as error:
        raise LibraryError(f"{path} is {error.strerror}; give the file of a library") from None
    except FileNotFoundError:
        raise LibraryError(f"there is no library {path}; `bankai library add` makes one") from None
    except OSError as error:
        raise LibraryError(f"{path} cannot be opened: {error.strerror}; check path and permissions") from None
    # Bytes 18 and 19 are 1 for a rollback journal; 60 holds the version, 68 whose file it is.
    if head[:16] != b"SQLite format 3\0" or head[18:20] != b"\1\1" or head[68:72] != MAGIC:
        raise LibraryError(f"{path} is not a library of patches; `bankai library add` makes one")
    if (version := int.from_bytes(head[60:64], "big")) != _VERSION:
        raise LibraryError(f"{path} is a library of version {version}, not {_VERSION}; update bankai")
    for leftover in _beside(path):
        if leftover.name.endswith("-wal"):  # SQLite would read it in place of the file
            raise LibraryError(f"{leftover} is not of a library; remove it")
        if writable and _tail(leftover) == _SUPER_JOURNAL:
            # Rolling back would delete the file that it names, whatever that is.
            raise LibraryError(f"{leftover} was not written by bankai; do not use this library")
    return size


def _tail(path: Path) -> bytes:
    """The last 8 bytes of a file; none when it has gone meanwhile, as a journal does."""
    try:
        with open(path, "rb") as file:
            file.seek(-len(_SUPER_JOURNAL), os.SEEK_END)
            return file.read()
    except OSError:
        return b""


def _beside(path: Path) -> list[Path]:
    """The files beside a library that SQLite would take for a part of it."""
    places = (path.with_name(path.name + suffix) for suffix in ("-journal", "-wal"))
    return [place for place in places if os.path.lexists(place)]


def _check_pages(connection: sqlite3.Connection, path: Path) -> None:
    """Raise LibraryError unless the schema is ours and every page is used once.

    Only then does a scan end: pages that point at one page over and over make a small file endless, the schema too,
    which any statement reads first. So far SQLite may take an instruction per byte and no more.
    """
    if _schema(connection) != _empty()[1]:
        raise LibraryError(f"{path} has other tables than a library; get it from a source you trust")
    found = connection.execute("PRAGMA quick_check(1)").fetchall()
    if found != [("ok",)]:
        raise LibraryError(f"{path} is damaged ({found[0][0]}); take it from a copy")


def _schema(connection: sqlite3.Connection) -> list[tuple[str, ...]]:
    query = "SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY name"
    return connection.execute(query).fetchall()


@cache
def _empty() -> tuple[bytes, list[tuple[str, ...]]]:
    """The bytes of an empty library, and its schema."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        connection.execute(f"PRAGMA page_size = {_PAGE}")
        connection.execute(f"PRAGMA application_id = {int.from_bytes(MAGIC, 'big', signed=True)}")
        connection.execute(f"PRAGMA user_version = {_VERSION}")
        for statement in _SCHEMA:
            connection.execute(statement)
        connection.execute("INSERT INTO settings VALUES ('policy', ?)", POLICIES[:1])
        return connection.serialize(), _schema(connection)
