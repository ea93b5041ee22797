"""A library keeps what it was given, refuses what it should, and survives kills, crowds and bit rot."""

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from dataclasses import replace
from itertools import count, islice
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from patches import PATCHES

from bankai.errors import (
    BankaiError,
    LibraryError,
    PatchFormatError,
    SignatureFormatError,
    StoreError,
    TamperedError,
    UnsignedError,
    UntrustedKeyError,
)
from bankai.library import library_file
from bankai.library.library import Library, add_files
from bankai.patch import Binding, Flip, Manifest, Patch, decode, encode, write_patch
from bankai.signing.signature import SecretKey, Signature, key_text, sign, trust, write_signature

KEY, OTHER = SecretKey(b"12345678", bytes(32)), SecretKey(b"87654321", bytes(range(32)))
BASE = Binding(b"basebase", b"before..", b"after...")


@pytest.fixture(autouse=True)
def own_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No trusted keys but those that a test adds."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "settings"))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "patches.library"


def patch_file(number: int, binding: Binding | None = BASE, **manifest: object) -> bytes:
    """A patch of one row, another for every number."""
    return encode(Patch(frozenset([Flip("lm_head", number)]), binding, Manifest(**manifest)))


def fill(path: Path, patches: int = 3) -> None:
    with Library(path, create=True) as library, library.change():
        for number in range(patches):
            data = patch_file(number)
            library.put(data, sign(data, KEY, f"number {number}"), name=f"p{number}", tags=["t"])


def names(path: Path) -> list[str]:
    with Library(path) as library:
        return [entry.name for entry in library.list()]


@given(st.lists(PATCHES, max_size=5, unique_by=encode))
@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_bytes_and_signatures_come_out_as_they_went_in(path: Path, patches: list[Patch]) -> None:
    path.unlink(missing_ok=True)
    files = {f"p{number}": encode(patch) for number, patch in enumerate(patches)}
    with Library(path, create=True) as library, library.change():
        for name, data in files.items():
            library.put(data, sign(data, KEY, name), name=name)
    with Library(path) as library:
        for name, data in files.items():
            stored = library.get(name)
            assert (stored.data, stored.signature) == (data, sign(data, KEY, name))
            assert library.holder(data) == name
        assert [entry.name for entry in library.list()] == sorted(files)
        checked = library.check([KEY.public])
        assert (checked.patches, checked.verified, checked.findings) == (len(files), len(files), ())


def test_an_entry_follows_from_the_bytes(path: Path) -> None:
    data = patch_file(3)
    with Library(path, create=True) as library:
        before = int(time.time())
        entry = library.put(data, sign(data, KEY, "x"), name="three", tags=["b", "a", "b"])
        assert library.list() == (entry,) == (library.get("three").entry,)
    assert (entry.name, entry.flips, entry.file_bytes, entry.tags) == ("three", 1, len(data), ("a", "b"))
    assert (entry.fingerprint, entry.key) == (b"basebase".hex(), key_text(b"12345678"))
    assert before <= time.mktime(time.strptime(entry.added, "%Y-%m-%dT%H:%M:%S+00:00")) - time.timezone
    with Library(path, writable=True) as library:
        other = library.put(patch_file(4, None), name="unbound")
    assert (other.fingerprint, other.key, other.tags) == (None, None, ())


def test_a_file_goes_in_with_its_signature_and_comes_out_again(path: Path, tmp_path: Path) -> None:
    source, target = tmp_path / "calculus.bankai", tmp_path / "out.bankai"
    write_patch(Patch.of([Flip("lm_head", 1)]), source)
    write_signature(sign(source.read_bytes(), KEY, "mine"), source)
    with Library(path, create=True) as library:
        assert library.add(source).name == "calculus"  # of the file: the patch itself has none
        library.export("calculus", target)
        with pytest.raises(StoreError, match="exists"):
            library.export("calculus", target)
    assert target.read_bytes() == source.read_bytes()
    signature = Path(f"{target}.minisig").read_text()
    assert Signature.decode(signature) == sign(source.read_bytes(), KEY, "mine")
    target.unlink()  # a signature of another patch is not taken over
    with Library(path) as library, pytest.raises(StoreError, match="minisig exists"):
        library.export("calculus", target)


def test_what_a_file_must_be(path: Path, tmp_path: Path) -> None:
    file = tmp_path / "p.bankai"
    with Library(path, create=True) as library:
        write_patch(Patch.of([Flip("model.layers.0.mlp.up_proj", 1)]), tmp_path / "p.json")
        with pytest.raises(PatchFormatError, match=r"p\.json: not a \.bankai file"):
            library.add(tmp_path / "p.json")
        with pytest.raises(PatchFormatError, match="No such file"):
            library.add(file)
        file.write_bytes(patch_file(1)[:-1])
        with pytest.raises(PatchFormatError, match=r"p\.bankai: .* damaged"):
            library.add(file)
        file.write_bytes(patch_file(1))
        Path(f"{file}.minisig").write_text("nonsense")
        with pytest.raises(SignatureFormatError, match="minisig"):
            library.add(file)
        assert library.list() == ()


def test_no_patch_twice_and_no_name_twice(path: Path) -> None:
    first, second = patch_file(1), patch_file(2)
    with Library(path, create=True) as library:
        library.put(first, name="a", tags=["kept"])
        with pytest.raises(LibraryError, match="this patch already, as a"):
            library.put(first, name="b")
        with pytest.raises(LibraryError, match="this patch already, as a"):
            library.put(first, name="b", replace=True)
        with pytest.raises(LibraryError, match="another patch named a; give --replace"):
            library.put(second, name="a")
        assert library.get("a").data == first
        assert library.put(second, name="a", replace=True).tags == ("kept",)
        assert library.put(second, sign(second, KEY, ""), name="a", replace=True, tags=[]).tags == ()
        assert library.get("a").signature and len(library.list()) == 1
        library.remove("a")
        for gone in (library.get, library.remove):
            with pytest.raises(LibraryError, match="no patch named a"):
                gone("a")


@pytest.mark.parametrize("name", ["", " a", "a\n", "a\x1b[2J", "x" * 201])
def test_names_can_be_typed_and_shown(path: Path, name: str) -> None:
    with Library(path, create=True) as library:
        with pytest.raises(LibraryError, match="--name"):
            library.put(patch_file(1), name=name)
        with pytest.raises(LibraryError, match="no tag"):
            library.put(patch_file(1), name="a", tags=[f"{name},"])


def test_search(path: Path) -> None:
    with Library(path, create=True) as library:
        library.put(patch_file(1, description="Integrals, by PARTS"), name="calculus", tags=["math", "good"])
        library.put(patch_file(2, replace(BASE, fingerprint=b"otherone")), name="Integers", tags=["math"])
        library.put(patch_file(3, None), name="words")

        def found(*words: str, **others: object) -> list[str]:
            return [entry.name for entry in library.search(words, **others)]

        assert found() == ["Integers", "calculus", "words"]
        assert found("integ") == ["Integers", "calculus"]
        assert found("parts", "calc") == ["calculus"]
        assert found("integ", base=b"basebase".hex()) == ["calculus"]
        assert found(tags=["math"]) == ["Integers", "calculus"]
        assert found(tags=["math", "good"]) == ["calculus"]
        assert found("integ", tags=["bad"]) == []


def test_a_library_of_signed_patches(path: Path) -> None:
    data, keys = patch_file(1), [KEY.public]
    good = sign(data, KEY, "x")
    forged = replace(good, trusted_comment="y")
    with Library(path, create=True) as library:
        assert library.policy == "any"
        with pytest.raises(TamperedError):  # a trusted key's signature must fit, whatever the policy
            library.put(patch_file(2), good, name="a", keys=keys)
        library.put(data, forged, name="a", keys=[])  # of nobody that is known
        library.remove("a")
        with pytest.raises(LibraryError, match="any, signed"):
            library.policy = "some"
        library.policy = "signed"
    with Library(path, writable=True) as library:
        refusals = [
            (UnsignedError, "not signed, and the library is for signed patches", None, keys),
            (UntrustedKeyError, "not trusted", good, [OTHER.public]),
            (UntrustedKeyError, "not trusted", good, None),  # the user's own keys
            (TamperedError, "does not fit", forged, keys),
            (TamperedError, "does not fit", sign(patch_file(2), KEY, "x"), keys),
        ]
        for error, message, signature, trusted in refusals:
            with pytest.raises(error, match=message):
                library.put(data, signature, name="a", keys=trusted)
        assert library.list() == ()
        trust(KEY.public)
        assert library.put(data, good, name="a").name == "a"


def test_check_under_a_policy(path: Path) -> None:
    fill(path, 2)
    with Library(path, writable=True) as library:
        library.put(patch_file(7), name="unsigned")
        assert library.check().findings == () and library.check().verified == 0
        assert library.check([KEY.public]).verified == 2
        library.policy = "signed"
        problems = {finding.name: finding.problem for finding in library.check([KEY.public]).findings}
        assert list(problems) == ["unsigned"] and "not signed" in problems["unsigned"]
        assert [finding.name for finding in library.check([OTHER.public]).findings] == [
            "p0",
            "p1",
            "unsigned",
        ]


CHANGES = {
    "digest": ("UPDATE patches SET digest = zeroblob(16) WHERE name = 'p1'", "not those that were put in"),
    "bytes": (f"UPDATE patches SET patch = x'{patch_file(9).hex()}' WHERE name = 'p1'", "not those"),
    "flips": ("UPDATE patches SET flips = 2 WHERE name = 'p1'", "flips are not those of the bytes"),
    "base": ("UPDATE patches SET fingerprint = NULL WHERE name = 'p1'", "base or number"),
    "tags": ("UPDATE patches SET tags = 'a b' WHERE name = 'p1'", "no tag"),
    "name": ("UPDATE patches SET name = ' p1' WHERE name = 'p1'", "no name"),
    "signature": ("UPDATE patches SET signature = x'00' WHERE name = 'p1'", "line of 'p1' is damaged"),
    "swapped": (
        "UPDATE patches SET signature = (SELECT signature FROM patches WHERE name = 'p0') WHERE name = 'p1'",
        "does not fit",
    ),
    "a text": ("UPDATE patches SET patch = 'text' WHERE name = 'p1'", "line of p1 is damaged"),
    "types": ("UPDATE patches SET flips = 'many' WHERE name = 'p1'", "line of 'p1' is damaged"),
    "long": ("UPDATE patches SET digest = zeroblob(17) WHERE name = 'p1'", "line of 'p1' is damaged"),
    "time": (f"UPDATE patches SET added = {2**62} WHERE name = 'p1'", "line of 'p1' is damaged"),
    "twice": (
        "INSERT INTO patches SELECT 'q', digest, fingerprint, flips, tags, added, signature, patch "
        "FROM patches WHERE name = 'p1'",
        "the same patch as p1",
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_check_names_a_line_that_does_not_fit_its_bytes(path: Path, change: str) -> None:
    fill(path)
    statement, problem = CHANGES[change]
    with sqlite3.connect(path) as raw:
        raw.execute(statement)
    raw.close()
    with Library(path, writable=True) as library:
        (finding,) = library.check([KEY.public]).findings
        assert finding.name.strip() in ("p1", "q") and problem in finding.problem
        if change in ("digest", "bytes", "flips", "base", "tags", "name"):
            with pytest.raises(LibraryError):
                library.export(finding.name, path.with_name("out.bankai"))
        library.remove(finding.name)  # the way out
        assert library.check([KEY.public]).findings == ()


def test_files_of_a_directory(path: Path, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    with Library(path, create=True) as library:
        with pytest.raises(LibraryError, match=r"has no \.bankai files"):
            add_files(library, [folder])
        for number in range(3):
            (folder / f"p{number}.bankai").write_bytes(patch_file(number))
        (folder / "readme.txt").write_text("no patch")
        assert [entry.name for entry in add_files(library, [folder], tags=["t"]).added] == ["p0", "p1", "p2"]
        (folder / "new.bankai").write_bytes(patch_file(3))
        again = add_files(library, [folder])
        assert [entry.name for entry in again.added] == ["new"]
        assert again.known == {str(folder / f"p{number}.bankai"): f"p{number}" for number in range(3)}
        with pytest.raises(LibraryError, match="already"):  # asked for by name
            add_files(library, [folder / "p1.bankai"])


def test_hidden_files_and_folders_are_no_patches(path: Path, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    (folder / "sub.bankai").mkdir(parents=True)
    (folder / "._p.bankai").write_bytes(b"\0\5\26\7\0\2\0\0Mac OS X")
    (folder / ".p.bankai.0123abcd.tmp").write_bytes(b"half")
    with Library(path, create=True) as library:
        with pytest.raises(LibraryError, match=r"has no \.bankai files"):
            add_files(library, [folder])
        (folder / "p.bankai").write_bytes(patch_file(1))
        assert [entry.name for entry in add_files(library, [folder]).added] == ["p"]
        os.mkfifo(folder / "pipe.bankai")  # neither hidden nor a folder: it is told what it is
        with pytest.raises(PatchFormatError, match=r"pipe\.bankai: not a regular file"):
            add_files(library, [folder])


def test_a_patch_that_was_signed_since(path: Path, tmp_path: Path) -> None:
    """By its name or in a directory: who adds it again learns of --replace, which takes the signature alone."""
    folder = tmp_path / "folder"
    folder.mkdir()
    file = folder / "p.bankai"
    file.write_bytes(patch_file(1))
    (folder / "q.bankai").write_bytes(patch_file(2))
    with Library(path, create=True) as library:
        library.add(file, name="mine", tags=["t"])
        library.add(folder / "q.bankai")
        write_signature(sign(file.read_bytes(), KEY, "since"), file)
        with pytest.raises(LibraryError, match="already, as mine; add it by that --name"):
            library.add(file, replace=True)
        with pytest.raises(LibraryError, match="already, as mine; give --replace to renew its signature"):
            library.add(file, name="mine")
        skipped = add_files(library, [folder])
        assert (skipped.added, skipped.signed) == ((), (str(file),))
        assert skipped.known == {str(file): "mine", str(folder / "q.bankai"): "q"}
        assert library.get("mine").signature is None

        renewed = add_files(library, [folder], replace=True)
        assert [(entry.name, entry.tags, entry.key) for entry in renewed.added] == [
            ("mine", ("t",), key_text(KEY.key_id))
        ]
        assert (renewed.known, renewed.signed) == ({str(folder / "q.bankai"): "q"}, ())
        assert add_files(library, [folder], replace=True).added == ()  # nothing is new
        Path(f"{file}.minisig").write_text("damaged since")
        assert add_files(library, [folder], replace=True).added == ()
        assert library.get("mine").signature is not None


def test_files_go_in_all_or_none(path: Path, tmp_path: Path) -> None:
    sources = [tmp_path / f"{number}.bankai" for number in range(3)]
    for number, source in enumerate(sources):
        source.write_bytes(patch_file(number))
    with Library(path, create=True) as library:
        with pytest.raises(LibraryError, match="one --name"):
            add_files(library, sources, name="x")
        sources[2].write_bytes(b"no patch")
        with pytest.raises(PatchFormatError):
            add_files(library, sources)
        assert library.list() == ()


# Concurrency and kills. The parent imports once and forks, so that there is time for many kills.
WORKER = """
import os, sys
from bankai.patch import Flip, Patch, encode
from bankai.library.library import Library
number = 0
for line in sys.stdin:
    pid = os.fork()
    if pid == 0:
        number = int(line)
        os.write(1, b"pid %d\\n" % os.getpid())
        with Library(sys.argv[1], create=True) as library:
            while True:
                with library.change():  # two lines at once, or none
                    library.put(encode(Patch.of([Flip("lm_head", number)])), name=f"p{number}")
                    library.put(encode(Patch.of([Flip("other", number)])), name=f"q{number}")
                os.write(1, b"put %d\\n" % number)
                number += 1
    os.waitpid(pid, 0)
    os.write(1, b"gone\\n")
"""


def test_killed_at_any_moment(path: Path) -> None:
    """40 real kills, some of them while the library is made. What was told to be in is in, whole, and all is sound."""
    worker = subprocess.Popen(
        [sys.executable, "-c", WORKER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    delays, told, next_number, journals = random.Random(0), set(), 0, 0
    for _ in range(40):
        print(next_number, file=worker.stdin, flush=True)
        pid = int(worker.stdout.readline().removeprefix("pid "))
        for _ in range(delays.randrange(3)):  # so that a slow machine gets somewhere too
            told.add(int(worker.stdout.readline().removeprefix("put ")))
        time.sleep(delays.uniform(0, 0.01))
        os.kill(pid, signal.SIGKILL)
        while (line := worker.stdout.readline()) != "gone\n":
            told.add(int(line.removeprefix("put ")))
        journals += path.with_name(f"{path.name}-journal").exists()
        present = names(path) if path.exists() else []
        found = {int(name[1:]) for name in present}
        assert told <= found and len(found - told) <= 1
        assert sorted(present) == sorted(f"{letter}{number}" for letter in "pq" for number in found)
        told, next_number = found, max(found, default=-1) + 1
    worker.stdin.close()
    assert worker.wait() == 0
    worker.stdout.close()
    assert journals > 0, "no kill came within a change"
    with Library(path) as library:
        assert library.check().findings == ()


SPILL = """
import os, signal, sqlite3, sys
raw = sqlite3.connect(sys.argv[1], isolation_level=None)
raw.execute("PRAGMA cache_size = 2")
raw.execute("BEGIN IMMEDIATE")
raw.execute("UPDATE patches SET patch = randomblob(3000)")
raw.execute("DELETE FROM patches WHERE name < 'p5'")
os.kill(os.getpid(), signal.SIGKILL)
"""


def killed_within_a_change(path: Path) -> Path:
    """A library of which pages are already changed in the file; its journal."""
    fill(path, 60)
    sound = path.read_bytes()
    subprocess.run([sys.executable, "-c", SPILL, path], check=False)
    assert path.read_bytes() != sound
    return path.with_name(f"{path.name}-journal")


def test_a_reader_undoes_what_a_killed_writer_began(path: Path) -> None:
    journal = killed_within_a_change(path)
    assert journal.exists()
    with Library(path) as library:
        assert len(library.list()) == 60
        assert library.check([KEY.public]).verified == 60
    assert not journal.exists()


def test_a_journal_that_would_delete_another_file(path: Path, tmp_path: Path) -> None:
    """SQLite deletes the file that the end of a journal names; this one names the victim."""
    journal = killed_within_a_change(path)
    victim = tmp_path / "victim"
    victim.write_text("precious\n")
    name = os.fsencode(victim)
    numbers = (len(name), sum(name))
    end = b"".join(number.to_bytes(4, "big") for number in numbers)
    journal.write_bytes(
        journal.read_bytes()
        + (2**30 // 8192 + 1).to_bytes(4, "big")
        + name
        + end
        + library_file._SUPER_JOURNAL
    )
    for writable in (False, True):
        with pytest.raises(LibraryError, match="was not written by bankai"):
            Library(path, writable=writable)
    assert victim.exists()
    sqlite3.connect(path).execute("SELECT count(*) FROM patches")
    assert not victim.exists(), "the attack does not work any more; is the refusal still needed?"


READERS = """
import os, sys, time
from bankai.library.library import Library
children = []
for _ in range(3):
    if pid := os.fork():
        children.append(pid)
        continue
    seen, until = 0, time.monotonic() + 0.6
    while time.monotonic() < until:
        with Library(sys.argv[1]) as library:
            found = library.list()
            assert seen <= len(found) and len(found) % 2 == 0, (seen, len(found))
            seen = len(found)
    os._exit(0 if seen > 4 else 9)
print("reading", flush=True)
sys.exit(max(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children))
"""


def test_readers_beside_a_writer(path: Path) -> None:
    fill(path, 2)
    readers = subprocess.Popen([sys.executable, "-c", READERS, path], stdout=subprocess.PIPE, text=True)
    assert readers.stdout.readline() == "reading\n"
    with Library(path, writable=True) as library:
        numbers = count(2)
        while readers.poll() is None:
            with library.change():
                for number in islice(numbers, 2):
                    library.put(patch_file(number), name=f"p{number}")
            time.sleep(0.02)
    readers.stdout.close()
    assert readers.returncode == 0


HOLDER = """
import sys
from bankai.library.library import Library
with Library(sys.argv[1], writable=True) as library, library.change():
    library.remove("p0")
    print("held", flush=True)
    sys.stdin.readline()
"""


def test_a_second_writer_waits_and_is_told(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(path)
    monkeypatch.setattr(library_file, "WAIT", 0.3)
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout.readline() == "held\n"
    with Library(path, writable=True) as library:
        start = time.monotonic()
        with pytest.raises(LibraryError, match="another process is changing .*; try again"):
            library.put(patch_file(9), name="late")
        assert 0.2 < time.monotonic() - start < 5
        assert len(library.list()) == 3  # readers do not mind
        holder.communicate("done\n")
        assert library.put(patch_file(9), name="late").name == "late"
        assert [entry.name for entry in library.list()] == ["late", "p1", "p2"]


def test_a_reader_that_does_not_end(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(path)
    monkeypatch.setattr(library_file, "WAIT", 0.2)
    reader = sqlite3.connect(path, isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT * FROM patches").fetchone()
    with Library(path, writable=True) as library:
        with pytest.raises(LibraryError, match="another process"):
            library.remove("p0")
        assert len(library.list()) == 3
        reader.close()
        library.remove("p0")
        assert len(library.list()) == 2


FULL = """
import resource, sys
from pathlib import Path
from bankai.errors import LibraryError
from bankai.patch import Flip, Patch, encode
from bankai.library.library import Library
path = Path(sys.argv[1])
with Library(path, writable=True) as library:
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size,) * 2)
    try:
        with library.change():
            for number in range(10, 200):
                library.put(encode(Patch.of([Flip("lm_head", number)])), name=f"p{number}")
    except LibraryError as error:
        print(error)
    print(len(library.list()))
"""


def test_a_disk_without_room(path: Path) -> None:
    """A file that may not grow: the change is told and undone, and the library goes on."""
    fill(path)
    before = path.read_bytes()
    done = subprocess.run([sys.executable, "-c", FULL, path], capture_output=True, text=True, check=True)
    told, left = done.stdout.splitlines()
    assert "cannot be changed" in told and "it stays as it was" in told and left == "3"
    with Library(path) as library:
        assert library.check([KEY.public]).verified == 3
    assert path.read_bytes()[8192:] == before[8192:]


CROWD = """
import os, sys
from bankai.patch import Flip, Patch, encode
from bankai.library.library import Library
children = []
for number in range(8):
    if pid := os.fork():
        children.append(pid)
        continue
    with Library(sys.argv[1], create=True) as library:
        library.put(encode(Patch.of([Flip("lm_head", number)])), name=f"p{number}")
    os._exit(0)
sys.exit(max(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children))
"""


def test_writers_that_begin_a_library_together(path: Path) -> None:
    assert subprocess.run([sys.executable, "-c", CROWD, path], check=False).returncode == 0
    assert names(path) == [f"p{number}" for number in range(8)]
    assert os.listdir(path.parent) == [path.name]


def test_a_change_is_undone_by_any_error(path: Path) -> None:
    fill(path)
    with Library(path, writable=True) as library:
        with pytest.raises(ZeroDivisionError), library.change():
            library.remove("p0")
            raise ZeroDivisionError
        assert len(library.list()) == 3
        with library.change():
            library.remove("p0")
    assert names(path) == ["p1", "p2"]


def test_a_closed_library_is_a_bug_of_the_caller(path: Path) -> None:
    with Library(path, create=True) as library:
        pass
    with pytest.raises(sqlite3.ProgrammingError):
        library.list()


def test_reading_changes_nothing(path: Path) -> None:
    fill(path)
    before, time_before = path.read_bytes(), path.stat().st_mtime_ns
    with Library(path) as library:
        library.check()
        with pytest.raises(LibraryError, match="cannot be opened or written"):
            library.remove("p0")
    assert (path.read_bytes(), path.stat().st_mtime_ns) == (before, time_before)
    assert os.listdir(path.parent) == [path.name]


# Files from strangers.


def test_a_missing_library(path: Path) -> None:
    for writable in (False, True):
        with pytest.raises(LibraryError, match="there is no library .*; `bankai library add` makes one"):
            Library(path, writable=writable)
    assert not path.exists()
    with pytest.raises(LibraryError, match="cannot be made: .*; choose another place"):
        Library(path / "deep" / "x", create=True)


@pytest.mark.parametrize("suffix", ["-journal", "-wal"])
def test_what_is_left_of_another_library(path: Path, suffix: str) -> None:
    """SQLite would play it back into the new one."""
    path.with_name(path.name + suffix).write_bytes(b"left")
    with pytest.raises(LibraryError, match=f"{suffix} is left of a library that is gone"):
        Library(path, create=True)
    assert not path.exists()


def other_database(path: Path, *statements: str) -> None:
    raw = sqlite3.connect(path)
    for statement in statements:
        raw.execute(statement)
    raw.commit()
    raw.close()


STRANGERS = {
    "text": lambda path: path.write_text("hello " * 100),
    "empty": lambda path: path.write_bytes(b""),
    "a patch": lambda path: path.write_bytes(patch_file(1)),
    "another database": lambda path: other_database(path, "CREATE TABLE t (a)"),
    "a pipe": lambda path: os.mkfifo(path),
    "a directory": lambda path: path.mkdir(),
}


@pytest.mark.parametrize("stranger", STRANGERS)
def test_what_is_no_library(path: Path, stranger: str) -> None:
    STRANGERS[stranger](path)
    for options in ({}, {"writable": True}, {"create": True}):
        with pytest.raises(LibraryError, match="is not a (library|regular file)"):
            Library(path, **options)


ALTERATIONS = {
    "a trigger": "CREATE TRIGGER t AFTER INSERT ON patches BEGIN DELETE FROM patches; END",
    "a view": "CREATE VIEW v AS SELECT * FROM patches",
    "a table": "CREATE TABLE more (a)",
    "an index": "CREATE INDEX i ON patches (hex(patch))",
    "a column": "ALTER TABLE patches ADD COLUMN more GENERATED ALWAYS AS (length(patch))",
    "a table less": "DROP TABLE settings",
    "a view in the place of a table": "ALTER TABLE settings RENAME TO other",
}


@pytest.mark.parametrize("alteration", ALTERATIONS)
def test_a_schema_that_is_not_ours(path: Path, alteration: str) -> None:
    fill(path)
    other_database(path, ALTERATIONS[alteration])
    for writable in (False, True):
        with pytest.raises(LibraryError, match="has other tables than a library"):
            Library(path, writable=writable)


def test_a_newer_version(path: Path) -> None:
    fill(path)
    other_database(path, "PRAGMA user_version = 2")
    with pytest.raises(LibraryError, match="version 2, not 1; update bankai"):
        Library(path)


def test_a_write_ahead_log(path: Path) -> None:
    fill(path)
    path.with_name(f"{path.name}-wal").write_bytes(b"")
    with pytest.raises(LibraryError, match="-wal is not of a library; remove it"):
        Library(path)
    path.with_name(f"{path.name}-wal").unlink()
    other_database(path, "PRAGMA journal_mode = WAL")
    with pytest.raises(LibraryError, match="is not a library"):
        Library(path)


def test_a_policy_that_is_none(path: Path) -> None:
    fill(path)
    other_database(path, "UPDATE settings SET value = 'whatever'")
    with Library(path, writable=True) as library:
        for work in (library.check, lambda: library.put(patch_file(9), name="a")):
            with pytest.raises(LibraryError, match="no sound policy"):
                work()
        library.policy = "any"
        assert library.check().findings == ()


def test_a_patch_larger_than_any(path: Path) -> None:
    fill(path)
    other_database(path, f"UPDATE patches SET patch = zeroblob({17 << 20})")
    with Library(path) as library, pytest.raises(LibraryError, match="more in one place than a patch may"):
        library.get("p0")


def test_a_name_that_is_no_text(path: Path) -> None:
    fill(path)
    other_database(path, "UPDATE patches SET name = CAST(x'ff' AS TEXT) WHERE name = 'p0'")
    with Library(path) as library, pytest.raises(LibraryError, match="damaged .*; take it from a copy"):
        library.list()


def interior(child: int, page: int, cells: int = 900) -> bytes:
    """A page of a table whose every pointer leads to the same page."""
    start = page - 5 * cells
    head = (
        b"\x05\0\0" + cells.to_bytes(2, "big") + start.to_bytes(2, "big") + b"\0" + child.to_bytes(4, "big")
    )
    pointers = b"".join((start + 5 * cell).to_bytes(2, "big") for cell in range(cells))
    return (head + pointers).ljust(start, b"\0") + (child.to_bytes(4, "big") + b"\x01") * cells


def append_levels(data: bytearray, leaf: int, levels: int = 8) -> int:
    """Pages over pages over `leaf`, and the number of the uppermost: 900^8 ways to it."""
    page, count = library_file._PAGE, len(data) // library_file._PAGE
    below = leaf
    for level in range(levels):
        data += interior(below, page)
        below = count + 1 + level
    data[28:32] = (len(data) // page).to_bytes(4, "big")
    return below


@pytest.mark.parametrize("where", ["patches", "schema"])
def test_pages_without_end(path: Path, where: str) -> None:
    """A small file of which a scan would take years."""
    fill(path, 1)
    page, data = library_file._PAGE, bytearray(path.read_bytes())
    if where == "patches":
        raw = sqlite3.connect(path)
        root = raw.execute("SELECT rootpage FROM sqlite_master WHERE name = 'patches'").fetchone()[0]
        raw.close()
        leaf = bytes(data[(root - 1) * page : root * page])
        data += leaf
        top = append_levels(data, len(data) // page)
        data[(root - 1) * page : root * page] = interior(top, page)
    else:
        # Page 1 leads to a copy of itself, then over and over to the one line that may be repeated: an automatic index.
        first = bytes(data[:page])
        lines = int.from_bytes(first[103:105], "big")
        pointers = [first[108 + 2 * line : 110 + 2 * line] for line in range(lines)]
        index = next(
            at for at in pointers if b"autoindex_patches" in first[(o := int.from_bytes(at, "big")) : o + 60]
        )
        data += _leaf(first, pointers) + _leaf(first, [index])
        copy, top = len(data) // page - 1, append_levels(data, len(data) // page)
        cell = page - 5
        head = (
            b"\x05\0\0\0\x01"
            + cell.to_bytes(2, "big")
            + b"\0"
            + top.to_bytes(4, "big")
            + cell.to_bytes(2, "big")
        )
        root_cell = copy.to_bytes(4, "big") + b"\x05"
        data[100:page] = head.ljust(page - 105, b"\0") + root_cell
    path.write_bytes(data)
    start = time.monotonic()
    with pytest.raises(LibraryError, match="damaged"):
        Library(path)
    assert time.monotonic() - start < 1


def _leaf(first: bytes, pointers: list[bytes]) -> bytes:
    """A page with these lines of page 1, where they are."""
    start = int.from_bytes(min(pointers), "big")
    head = b"\x0d\0\0" + len(pointers).to_bytes(2, "big") + min(pointers) + b"\0" + b"".join(pointers)
    return head.ljust(start, b"\0") + first[start:]


def test_any_damage_is_told(path: Path) -> None:
    """Bytes changed anywhere, pages lost: an error of ours or a sound answer, and never a hang."""
    fill(path, 12)
    sound, rng = path.read_bytes(), random.Random(0)
    places = [*range(100), *range(8192, 8192 + 64), *rng.sample(range(len(sound)), 150)]
    damaged = [sound[:size] for size in range(0, len(sound), 1999)]
    for place in places:
        bit = 1 << rng.randrange(8)
        damaged.append(sound[:place] + bytes([sound[place] ^ bit]) + sound[place + 1 :])
    refused = 0
    for data in damaged:
        path.write_bytes(data)
        start = time.monotonic()
        refused += is_refused(path)
        assert time.monotonic() - start < 1
    assert refused > 100


def test_a_schema_that_is_no_text_is_told(path: Path) -> None:
    """SQLite cannot even quote it in its message, which then has no name."""
    fill(path, 1)
    sound, refused = path.read_bytes(), 0
    words = sound.index(b"CREATE TABLE")
    for place in range(words, words + 120):
        path.write_bytes(sound[:place] + bytes([sound[place] ^ 0x80]) + sound[place + 1 :])
        refused += is_refused(path)
    assert refused > 100


def is_refused(path: Path) -> bool:
    try:
        with Library(path) as library:
            library.list()
            return bool(library.check([KEY.public]).findings)
    except BankaiError:
        return True


def test_writing_to_what_is_damaged(path: Path) -> None:
    """Whatever the check of the pages lets pass is written to, or told."""
    fill(path, 12)
    sound, rng, done = path.read_bytes(), random.Random(1), 0
    for place in rng.sample(range(100, len(sound)), 20):
        path.write_bytes(sound[:place] + bytes([sound[place] ^ 0x80]) + sound[place + 1 :])
        try:
            with Library(path, writable=True) as library:
                library.put(patch_file(99), name="new")
            done += 1
        except BankaiError:
            pass
        path.with_name(f"{path.name}-journal").unlink(missing_ok=True)
    assert done > 5


def test_patches_are_data(path: Path) -> None:
    """What a manifest holds is neither SQL nor a path."""
    evil = "x'); DROP TABLE patches; --"
    with Library(path, create=True) as library:
        data = patch_file(1, name=evil, description="../../etc/passwd")
        assert library.put(data, name=evil, tags=["%27"]).name == evil
        assert decode(library.get(evil).data).manifest.name == evil
        assert [entry.name for entry in library.search(["drop table"])] == [evil]
