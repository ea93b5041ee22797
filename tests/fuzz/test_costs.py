"""Files as costly as can be stay within what `docs/security.md` promises, in memory and in time.

What Python counts is measured for each file; what it does not, and patches, by the limit of a process that reads all.
"""

import json
import subprocess
import sys
import tracemalloc
from pathlib import Path

import pytest
from fuzz.costly import COSTLY, bomb, listing
from fuzz.readers import READERS, check

from bankai.errors import PatchFormatError
from bankai.patch import Flip, Patch, decode, decode_json, encode, encode_json
from bankai.patch.codec import MAX_MANIFEST
from bankai.patching.sidecar import load

SECONDS = 5
"""Allowed for a file at every bound of its format; the dearest took 1.0. Before it was bounded, 9 and more."""

TRACED = [
    case for case in COSTLY if case[0] not in ("patch", "sidecar")
]  # a million objects take too long to trace


@pytest.mark.parametrize(("name", "file"), TRACED)
def test_memory(name: str, file: str) -> None:
    data = COSTLY[name, file]()
    tracemalloc.start()
    try:
        check(READERS[name], data, SECONDS)
    finally:
        tracemalloc.stop()


READ_ALL = """
import json, resource, time
from fuzz.costly import COSTLY
from fuzz.readers import READERS
from bankai.errors import BankaiError

files = {" ".join(case): (READERS[case[0]], make()) for case, make in COSTLY.items()}
with open("/proc/self/statm") as statm:
    now = int(statm.read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (now + (512 << 20),) * 2)
seconds = {}
for file, (reader, data) in files.items():
    started = time.process_time()
    try:
        reader.read(data)
    except BankaiError:
        pass
    seconds[file] = time.process_time() - started
print(json.dumps(seconds))
"""


@pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="only Linux keeps a process to an address space"
)
def test_a_process_of_512_mib_more_reads_them_all_in_time() -> None:
    """MemoryError is no BankaiError: it would end the process."""
    roots = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]
    code = f"import sys; sys.path[:0] = {roots!r}\n{READ_ALL}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    seconds = json.loads(done.stdout)
    assert len(seconds) == len(COSTLY)
    assert {file: took for file, took in seconds.items() if took > SECONDS} == {}


def test_a_sidecar_of_many_bombs_is_ignored_at_the_third(tmp_path: Path) -> None:
    """Each is sound; 256 of them took 19 GB."""
    path = tmp_path / "m.gguf.bankai.json"
    path.write_bytes(listing([bomb(0)]))
    assert len(load(path)[0]) == 1
    path.write_bytes(listing([bomb(row) for row in range(256)]))
    applied, note = load(path)
    assert applied == () and "patch 3 of 256: the manifest is larger than" in note


def test_a_patch_names_at_most_32768_tensors() -> None:
    flips = [Flip(f"a.{number % 10_000}.b{number // 10_000}", 0) for number in range(32_769)]
    assert len(decode(encode(Patch.of(flips[:-1])))) == 32_768
    with pytest.raises(PatchFormatError, match="more than 32768 tensors; split it"):
        encode(Patch.of(flips))


def test_a_file_that_names_more_tensors_is_refused_too(monkeypatch: pytest.MonkeyPatch) -> None:
    data = encode(Patch.of([Flip("a", 0), Flip("b", 0), Flip("c", 0)]))
    monkeypatch.setattr("bankai.patch.universe._MAX_TENSORS", 2)
    with pytest.raises(PatchFormatError, match="more than 2 tensors"):
        decode(data)


def test_a_caller_may_allow_less() -> None:
    data = bomb(0)
    assert len(decode(data, flips=1, manifest=MAX_MANIFEST).manifest.results["a"]) > 10**6
    with pytest.raises(PatchFormatError, match="more than 0 flips"):
        decode(data, flips=0)
    with pytest.raises(PatchFormatError, match="larger than 1000 bytes"):
        decode(data, manifest=1000)


def test_a_manifest_at_its_bound_survives_json(tmp_path: Path) -> None:
    """The bound on `stats` counts values, for JSON is longer than MessagePack, and indented more so."""
    patch = decode(bomb(0, b"\x90"))
    again = decode_json(encode_json(Patch(frozenset(), None, patch.manifest)))
    assert again.manifest == patch.manifest
