"""A model file is the old one or the new one, whatever happens while it is changed."""

import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from builders import build_tiny_gguf

from bankai.errors import StoreError
from bankai.formats.convert import convert
from bankai.patch import Flip, Manifest, Patch, write_patch
from bankai.store import apply_in_place, apply_patch, bind_patch, revert_in_place, sidecar_path, status

FLIPS = [
    Flip("model.layers.1.mlp.up_proj", 3),
    Flip("lm_head", 7),
    Flip("model.embed_tokens", 2, 0),
    Flip("model.embed_tokens", 3, 0, 100),
]

# Changes in place for ever: on, off, on, off; says when it begins.
WORKER = """
import sys
from bankai.patch import read_patch
from bankai.store import apply_in_place, revert_in_place, status
model, patch = sys.argv[1], read_patch(sys.argv[2])
print("ready", flush=True)
while True:
    (apply_in_place if status(model, patch).state == "base" else revert_in_place)(model, patch)
"""


def sha(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def model_file(model: Path) -> Path:
    return model / "model.safetensors" if model.is_dir() else model


@pytest.fixture(params=["gguf", "mlx"])
def model(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """2 MB, so that copying takes a while; alone in its directory."""
    (tmp_path / "home").mkdir()
    path = build_tiny_gguf(tmp_path / "home" / "m.gguf", vocab_size=40_000)
    if request.param == "mlx":
        convert(path, path.with_suffix(""))
        path.unlink()
        path = path.with_suffix("")
    return path


def test_killed_at_any_moment(model: Path, tmp_path: Path) -> None:
    """25 real kills. The bits are of one state or the other, and `status` tells which, sidecar or not."""
    patch = bind_patch(model, Patch.of(FLIPS, Manifest(name="p")))
    write_patch(patch, tmp_path / "p.bankai")
    off = sha(model_file(model))
    apply_in_place(model, patch)
    on = sha(model_file(model))
    delays = random.Random(0)
    for _ in range(25):
        worker = subprocess.Popen(
            [sys.executable, "-c", WORKER, str(model), str(tmp_path / "p.bankai")], stdout=subprocess.PIPE
        )
        assert worker.stdout is not None and worker.stdout.readline() == b"ready\n"
        time.sleep(delays.uniform(0, 0.06))
        worker.send_signal(signal.SIGKILL)
        assert worker.wait() == -signal.SIGKILL
        worker.stdout.close()
        now = sha(model_file(model))
        assert now in (off, on)
        state = "applied" if now == on else "base"
        assert (status(model, patch).state, status(model).state) == (state, state)
    (revert_in_place if state == "applied" else apply_in_place)(model, patch)
    assert not [name for name in os.listdir(model.parent) if name.endswith(".tmp")]


class Failing:
    """Stands before a system call and lets the one numbered `fail_at` fail, counting over all of them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, fail_at: int) -> None:
        self.count, self.fail_at = 0, fail_at
        for name in ("fsync", "replace", "rename", "chmod", "link"):
            monkeypatch.setattr(os, name, self._wrapped(getattr(os, name)))
        monkeypatch.setattr(shutil, "copyfile", self._wrapped(shutil.copyfile))

    def _wrapped(self, call):  # type: ignore[no-untyped-def]
        def failing(*arguments, **options):  # type: ignore[no-untyped-def]
            self.count += 1
            if self.count == self.fail_at:
                raise OSError(5, "Input/output error")
            return call(*arguments, **options)

        return failing


def test_a_call_that_fails_in_place(model: Path) -> None:
    """Each call in turn. Before the model is replaced nothing is changed; after it, everything is."""
    patch = bind_patch(model, Patch.of(FLIPS, Manifest(name="p")))
    off, home = sha(model_file(model)), sorted(os.listdir(model.parent))
    seen = []
    for fail_at in range(1, 100):
        with pytest.MonkeyPatch.context() as monkeypatch:
            failing = Failing(monkeypatch, fail_at)
            try:
                apply_in_place(model, patch)
            except StoreError as error:
                assert "Input/output error" in str(error)
                seen.append("failed")
            else:
                seen.append("done")
        assert not [path for path in model.parent.rglob("*.tmp")]
        on = sha(model_file(model)) != off
        assert (status(model, patch).state, status(model).state) == (
            ("applied",) * 2 if on else ("base",) * 2
        )
        if on:
            revert_in_place(model, patch)
        else:
            assert sorted(os.listdir(model.parent)) == home and not sidecar_path(model).exists()
        assert sha(model_file(model)) == off
        if failing.count < fail_at:
            break
    assert seen[-1] == "done" and seen.count("failed") >= 6


def test_a_call_that_fails_on_a_new_file(model: Path) -> None:
    patch = bind_patch(model, Patch.of(FLIPS))
    off, home = sha(model_file(model)), sorted(os.listdir(model.parent))
    out, failures = model.parent / "out", 0
    for fail_at in range(1, 100):
        with pytest.MonkeyPatch.context() as monkeypatch:
            failing = Failing(monkeypatch, fail_at)
            try:
                apply_patch(model, patch, out)
            except StoreError:
                failures += 1
        assert sha(model_file(model)) == off
        assert not [path for path in model.parent.rglob("*.tmp")]
        if not out.exists():
            assert sorted(os.listdir(model.parent)) == home
            continue
        assert status(out, patch).state == status(out).state == "applied"
        sidecar_path(out).unlink()
        shutil.rmtree(out) if out.is_dir() else out.unlink()
        if failing.count < fail_at:
            break
    assert failures >= 4 and failing.count < fail_at


def test_a_model_that_changes_meanwhile(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between check and copy another program flips a touched bit: the digest of the copy gives it away."""
    patch = bind_patch(model, Patch.of(FLIPS))
    copyfile = shutil.copyfile

    def meddling(source: Path, target: Path) -> None:
        copyfile(source, target)
        with open(target, "r+b") as file:
            data = bytearray(file.read())
            row = data.find(needle)
            assert row > 0
            file.seek(row)
            file.write(bytes([data[row] ^ 1]))

    from bankai.formats.checkpoint import open_checkpoint

    with open_checkpoint(model) as checkpoint:
        needle = checkpoint.binary("lm_head").signs[7, 0].tobytes()
    before = sha(model_file(model))
    monkeypatch.setattr("bankai.store.in_place.shutil.copyfile", meddling)
    with pytest.raises(StoreError, match="did the model change"):
        apply_in_place(model, patch)
    assert sha(model_file(model)) == before and status(model).state == "base"


def test_leavings_of_a_killed_change_are_cleared(model: Path) -> None:
    patch = bind_patch(model, Patch.of(FLIPS))
    (model.parent / f".{model.name}.0123abcd.tmp").write_bytes(b"half a model")
    (model.parent / f".{model.name}.0123abce.tmp").mkdir()
    other = model.parent / f".other{model.name}.0123abcd.tmp"
    other.write_bytes(b"not ours")
    apply_in_place(model, patch)
    assert [name for name in os.listdir(model.parent) if name.endswith(".tmp")] == [other.name]


def test_changes_at_the_same_time_wait_for_each_other(model: Path, tmp_path: Path) -> None:
    """Six processes, each with its own patch: none is lost."""
    code = "import sys; from bankai.patch import *; from bankai.store import *; "
    code += "apply_in_place(sys.argv[1], read_patch(sys.argv[2]))"
    patches = [bind_patch(model, Patch.of([Flip("lm_head", row)])) for row in range(6)]
    workers = []
    for number, patch in enumerate(patches):
        write_patch(patch, tmp_path / f"{number}.bankai")
        command = [sys.executable, "-c", code, str(model), str(tmp_path / f"{number}.bankai")]
        workers.append(subprocess.Popen(command))
    assert [worker.wait() for worker in workers] == [0] * 6
    assert {entry.patch for entry in status(model).patches} == set(patches)
    assert all(status(model, patch).state == "applied" for patch in patches)
