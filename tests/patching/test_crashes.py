"""Bits are those of before or of after, whatever happens while a model is changed in place."""

import errno
import hashlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from builders import build_tiny_gguf

from bankai.checkpoint.convert import convert
from bankai.checkpoint.model_file import open_checkpoint
from bankai.errors import StoreError
from bankai.journal import journal_path, recover
from bankai.patch import Flip, Manifest, Patch, write_patch
from bankai.patching import (
    LiveModel,
    apply_in_place,
    apply_patch,
    bind_patch,
    revert_in_place,
    sidecar_path,
    status,
)
from bankai.patching.edits import edits

FIRST = [
    Flip("model.layers.1.mlp.up_proj", 3),
    Flip("lm_head", 7),
    Flip("model.embed_tokens", 2, 0),
    Flip("model.embed_tokens", 3, 0, 100),
]
SECOND = [Flip("lm_head", 7), Flip("model.layers.0.mlp.up_proj", 5)]  # shares a place with the first


def data_file(model: Path) -> Path:
    return model / "model.safetensors" if model.is_dir() else model


def sha(model: Path) -> str:
    return hashlib.sha256(data_file(model).read_bytes()).hexdigest()


def left_over(model: Path) -> list[Path]:
    return [path for path in model.parent.rglob("*") if path.suffix == ".tmp" or "journal" in path.name]


@pytest.fixture(params=["gguf", "mlx"])
def model(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Alone in its directory."""
    (tmp_path / "home").mkdir()
    path = build_tiny_gguf(tmp_path / "home" / "m.gguf")
    if request.param == "mlx":
        convert(path, path.with_suffix(""))
        path.unlink()
        path = path.with_suffix("")
    return path


@pytest.fixture
def patches(model: Path) -> tuple[Patch, Patch]:
    first, second = (Patch.of(flips, Manifest(name=name)) for flips, name in ((FIRST, "p"), (SECOND, "q")))
    return bind_patch(model, first), bind_patch(model, second)


@contextmanager
def faults(
    at: int, fault: Callable[[Callable[[], object], Callable[[], object]], object]
) -> Iterator[list[str]]:
    """Every write, sync, rename and removal is counted; the one numbered `at` goes to `fault`.

    That is given the call and, of a write, the same of half the bytes. Yields the names of the calls so far.
    """
    seen: list[str] = []

    def wrapped(name: str, call: Callable[..., object], halved: Callable[..., tuple[object, ...]] | None):  # type: ignore[no-untyped-def]
        def counted(*arguments: object, **options: object) -> object:
            seen.append(name)
            if len(seen) != at:
                return call(*arguments, **options)
            half = halved(*arguments) if halved else arguments
            return fault(lambda: call(*arguments, **options), lambda: call(*half, **options))

        return counted

    with pytest.MonkeyPatch.context() as patching:
        for name in ("fsync", "replace", "unlink"):
            patching.setattr(os, name, wrapped(name, getattr(os, name), None))
        half_write = lambda handle, data, offset: (handle, data[: len(data) // 2], offset)  # noqa: E731
        patching.setattr(os, "pwrite", wrapped("pwrite", os.pwrite, half_write))
        half_file = lambda path, data: (path, data[: len(data) // 2])  # noqa: E731
        patching.setattr(Path, "write_bytes", wrapped("write_bytes", Path.write_bytes, half_file))
        yield seen


def kills(model: Path, operation: Callable[[], object], fault: Callable[..., object]) -> Iterator[int]:
    """A forked process that dies at every counted call in turn; yields after each death."""
    for at in range(1, 1000):
        child = os.fork()
        if child == 0:
            try:
                with faults(at, fault):
                    operation()
            finally:  # the child must not go on with the tests
                os._exit(0 if sys.exc_info()[0] is None else 1)
        _, result = os.waitpid(child, 0)
        code = os.waitstatus_to_exitcode(result)
        if code == 0:
            return
        assert code == 9
        yield at


def die_before(_: Callable[[], object], __: Callable[[], object]) -> None:
    os._exit(9)


def die_half_way(_: Callable[[], object], half: Callable[[], object]) -> None:
    try:
        half()
    finally:  # a file to remove may be gone
        os._exit(9)


def die_after(whole: Callable[[], object], _: Callable[[], object]) -> None:
    try:
        whole()
    finally:
        os._exit(9)


def swap(model: Path, *patches: Patch) -> None:
    with LiveModel(model) as live:
        live.swap(*patches)


@pytest.mark.parametrize("fault", [die_before, die_half_way, die_after])
def test_killed_at_every_call(
    model: Path, patches: tuple[Patch, Patch], fault: Callable[..., object]
) -> None:
    """Of apply, revert and swap. Opening the model recovers it, and `status` tells what is on."""
    first, second = patches
    operations: list[tuple[tuple[Patch, ...], tuple[Patch, ...], Callable[[], object]]] = [
        ((), (first,), lambda: apply_in_place(model, first)),
        ((first,), (), lambda: revert_in_place(model, first)),
        ((first,), (second,), lambda: swap(model, second)),
    ]
    for before, after, operation in operations:
        swap(model, *after)
        on = sha(model)
        swap(model, *before)
        off, outcomes = sha(model), []
        for _ in kills(model, operation, fault):
            found = {patch for patch in patches if status(model, patch).state == "applied"}
            assert sha(model) == (on if found == set(after) else off) and found in (set(before), set(after))
            assert {entry.patch for entry in status(model).patches} == found
            outcomes.append(sha(model))
            swap(model, *before)
            assert sha(model) == off and not left_over(model)
        assert len(outcomes) >= 15 and set(outcomes) == {
            off,
            on,
        }  # journal, bits and sidecar are each written and synced


def test_killed_while_recovering(model: Path, patches: tuple[Patch, Patch]) -> None:
    first, _ = patches
    off = sha(model)
    torn = None
    for _ in kills(model, lambda: apply_in_place(model, first), die_half_way):
        if sha(model) != off:  # the journal stands, half of a span is written
            torn = sha(model)
            for _ in kills(model, lambda: recover(model), die_half_way):
                assert journal_path(model).exists() or sha(model) == off
            break
        recover(model)
    assert torn is not None and sha(model) == off
    assert not recover(model)
    apply_in_place(model, first)
    assert status(model).state == "applied" and not left_over(model)


def test_killed_at_any_moment(model: Path, patches: tuple[Patch, Patch]) -> None:
    """100 real kills of each format, of a process that applies, swaps and reverts for ever.

    On a busy machine, where it may not have come to all three states, more and later ones.
    """
    first, second = patches
    expected = {}
    for state in ((), (first,), (second,)):
        swap(model, *state)
        expected[sha(model)] = state
    swap(model)
    start = time.perf_counter()
    for _ in range(3):
        swap(model, first)
        swap(model)
    longest = (time.perf_counter() - start) / 2  # as long as the three changes below, on a slow disk too
    delays, seen, killed = random.Random(0), set(), 0
    while killed < 100 or (len(seen) < 3 and killed < 500):
        killed += 1
        child = os.fork()
        if child == 0:
            while True:
                apply_in_place(model, first)
                swap(model, second)
                revert_in_place(model, second)
        time.sleep(delays.uniform(0, longest * max(1, killed / 100)))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        recover(model)
        on = expected[sha(model)]  # bit for bit one of the three
        assert {entry.patch for entry in status(model).patches} == set(on)
        seen.add(on)
        swap(model)
    assert len(seen) == 3 and not left_over(model)


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC])
def test_a_call_that_fails(model: Path, patches: tuple[Patch, Patch], code: int) -> None:
    """Each in turn, a write after half of its bytes: an error is told, the bits are of before or of after."""
    first, _ = patches
    apply_in_place(model, first)
    on = sha(model)
    revert_in_place(model, first)
    off, home, failures = sha(model), sorted(os.listdir(model.parent)), 0

    def fail(_: Callable[[], object], half: Callable[[], object]) -> None:
        if code != errno.ENOSPC:
            half()
        raise OSError(code, os.strerror(code))

    for at in range(1, 100):
        with faults(at, fail) as seen:
            try:
                apply_in_place(model, first)
            except StoreError as error:
                assert os.strerror(code) in str(error)
                failures += 1
        recover(model)
        state = status(model, first).state
        assert sha(model) == {"base": off, "applied": on}[state] and status(model).state == state
        if state == "applied":
            revert_in_place(model, first)
        assert sha(model) == off and not left_over(model)
        if model.is_file():
            assert sorted(os.listdir(model.parent)) == home
        if len(seen) < at:
            break
    assert failures >= 10


def test_a_failure_that_lasts(model: Path, patches: tuple[Patch, Patch]) -> None:
    """When undoing fails as well, the journal stays, nobody opens a torn model, and recovery makes it whole."""
    first, _ = patches
    other = bind_patch(model, Patch.of([Flip("lm_head", 1)], Manifest(name="other")))
    apply_in_place(model, other)
    off = sha(model)
    with pytest.MonkeyPatch.context() as patching:
        write, calls = os.pwrite, []

        def failing(handle: int, data: bytes, offset: int) -> int:
            calls.append(offset)
            if len(calls) < 3:  # the journal, and the first span
                return write(handle, data, offset)
            raise OSError(errno.EIO, "Input/output error")

        patching.setattr(os, "pwrite", failing)
        with pytest.raises(StoreError, match="Input/output error"):
            apply_in_place(model, first)
        assert sha(model) != off and journal_path(model).exists()
        with pytest.raises(StoreError, match="then run `bankai recover`"):
            open_checkpoint(model)
    assert recover(model) and sha(model) == off
    assert [entry.patch for entry in status(model).patches] == [other]


@pytest.mark.parametrize("failing", [1, 2])
def test_a_failure_does_not_forget_volatile_swaps(
    model: Path, patches: tuple[Patch, Patch], failing: int
) -> None:
    first, second = patches
    with LiveModel(model) as live, pytest.MonkeyPatch.context() as patching:
        live.swap(first, volatile=True)
        replace, calls = os.replace, []

        def full(*paths: Path) -> None:
            calls.append(paths)
            if len(calls) == failing:
                raise OSError(errno.ENOSPC, "No space left on device")
            replace(*paths)

        patching.setattr(os, "replace", full)
        with pytest.raises(StoreError, match="No space left"):
            live.swap(second)
        assert live.applied == (first,)
    assert [entry.patch for entry in status(model).patches] == [first]


def test_a_volatile_swap_that_cannot_be_recorded_says_so(model: Path, patches: tuple[Patch, Patch]) -> None:
    live = LiveModel(model)
    live.swap(patches[0], volatile=True)
    with pytest.MonkeyPatch.context() as patching:

        def full(*_: Path) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        patching.setattr(os, "replace", full)
        with pytest.raises(StoreError, match="has p on, but that could not be recorded: .*No space left"):
            live.close()
    assert status(model, patches[0]).state == "applied"


def test_short_writes(model: Path, patches: tuple[Patch, Patch], monkeypatch: pytest.MonkeyPatch) -> None:
    first, _ = patches
    apply_patch(model, first, out := model.parent / "out")
    write = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda handle, data, offset: write(handle, data[:7], offset))
    apply_in_place(model, first)
    assert sha(model) == hashlib.sha256(data_file(out).read_bytes()).hexdigest()


def test_a_call_that_fails_on_a_new_file(model: Path, patches: tuple[Patch, Patch]) -> None:
    off, home = sha(model), sorted(os.listdir(model.parent))
    out, failures = model.parent / "out", 0

    def fail(_: Callable[[], object], half: Callable[[], object]) -> None:
        half()
        raise OSError(errno.EIO, "Input/output error")

    for at in range(1, 100):
        with faults(at, fail):
            try:
                apply_patch(model, patches[0], out)
            except StoreError:
                failures += 1
        assert sha(model) == off and not left_over(model)
        if not out.exists():
            assert sorted(os.listdir(model.parent)) == home
            continue
        assert status(out, patches[0]).state == status(out).state == "applied"
        break
    assert failures >= 3


def test_a_model_that_changes_meanwhile(
    model: Path, patches: tuple[Patch, Patch], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between check and change another program flips a touched bit: the digest gives it away."""
    first, _ = patches
    with open_checkpoint(model) as checkpoint:
        (edit,) = edits(checkpoint, [Flip("lm_head", 7, 0, 0)])
    sync = os.fsync

    def meddling(handle: int) -> None:
        monkeypatch.setattr(os, "fsync", sync)
        with open(data_file(model), "r+b") as file:
            file.seek(edit.offset)
            byte = file.read(1)
            file.seek(-1, os.SEEK_CUR)
            file.write(bytes([byte[0] ^ 1]))
        sync(handle)

    monkeypatch.setattr(os, "fsync", meddling)
    with pytest.raises(StoreError, match="did something else change it"):
        apply_in_place(model, first)
    assert status(model, first).state == "foreign" and not left_over(model)


def test_leavings_of_a_killed_change_are_cleared(model: Path, patches: tuple[Patch, Patch]) -> None:
    for path in (journal_path(model), sidecar_path(model)):
        path.with_name(f".{path.name}.0123abcd.tmp").write_bytes(b"half of it")
    other = model.parent / f".other{model.name}.0123abcd.tmp"
    other.write_bytes(b"not ours")
    apply_in_place(model, patches[0])
    assert left_over(model) == [other]


# Two writers


def test_a_second_writer_is_told(model: Path, patches: tuple[Patch, Patch], tmp_path: Path) -> None:
    first, _ = patches
    write_patch(first, tmp_path / "p.bankai")
    command = [sys.executable, "-m", "bankai", "apply", str(model), str(tmp_path / "p.bankai"), "--in-place"]
    with LiveModel(model):
        with pytest.raises(StoreError, match="being changed by another process"):
            apply_in_place(model, first)
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 2 and "being changed by another process" in done.stderr
        assert status(model, first).state == "base"  # looking is allowed
    assert subprocess.run(command, capture_output=True).returncode == 0
    assert status(model, first).state == "applied"


def test_writers_at_once(model: Path, tmp_path: Path) -> None:
    """Four processes, each with its own patch, some at the same moment: each wins or is told, and none is lost."""
    code = "import sys; from bankai.errors import StoreError\n"
    code += "from bankai.patch import *; from bankai.patching import *\n"
    code += "try: apply_in_place(sys.argv[1], read_patch(sys.argv[2]))\nexcept StoreError: sys.exit(3)"
    patches = [bind_patch(model, Patch.of([Flip("lm_head", row)])) for row in range(4)]
    for number, patch in enumerate(patches):
        write_patch(patch, tmp_path / f"{number}.bankai")
    waiting = set(range(4))
    for _ in range(4):  # the last is alone at the latest in the fourth round
        commands = {
            n: [sys.executable, "-c", code, str(model), str(tmp_path / f"{n}.bankai")] for n in waiting
        }
        workers = {number: subprocess.Popen(command) for number, command in commands.items()}
        results = {number: worker.wait() for number, worker in workers.items()}
        assert set(results.values()) <= {0, 3} and 0 in results.values()
        waiting -= {number for number, result in results.items() if result == 0}
        applied = {entry.patch for entry in status(model).patches}
        assert applied == {patches[number] for number in set(range(4)) - waiting}
        if not waiting:
            break
    assert not waiting


def test_a_file_that_another_process_has_locked(model: Path, patches: tuple[Patch, Patch]) -> None:
    code = "import fcntl, sys; f = open(sys.argv[1], 'r+b'); fcntl.lockf(f, fcntl.LOCK_SH | fcntl.LOCK_NB)\n"
    code += "print('held', flush=True); sys.stdin.read()"
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(data_file(model))], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert holder.stdin is not None and holder.stdout is not None
    with holder:
        assert holder.stdout.readline() == b"held\n"
        before = sha(model)
        with pytest.raises(StoreError, match="locked by another process; stop it, or write a copy"):
            apply_in_place(model, patches[0])
        assert sha(model) == before and not left_over(model)
        holder.stdin.close()
    apply_in_place(model, patches[0])
