"""Searches that are killed or interrupted in their own process, and go on to the result they would have had."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest

from bankai.checkpoint.model_file import open_checkpoint
from bankai.errors import StateError, StoreError
from bankai.jobs.search import Asked, resume_search
from bankai.patch import read_patch, state
from bankai.probes import load_probe_set
from bankai.search import RunFolder

BUDGETS = {"guided": "90", "greedy": "60"}


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set small enough for rounds of half a second."""
    probes, path = load_probe_set("elicitable"), tmp_path_factory.mktemp("sets") / "few.jsonl"
    some = [probe for split in ("target", "validation", "control") for probe in probes.split(split)[::12]]
    path.write_bytes(b"\n".join(msgspec.json.encode(probe) for probe in some))
    return path


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    # The same threads everywhere: they are part of what a run depends on.
    return subprocess.Popen(
        [sys.executable, "-m", "bankai", "search", *arguments],
        cwd=folder,
        env=os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        # What is started by a background job ignores Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def search(folder: Path, few: Path, strategy: str) -> subprocess.Popen[str]:
    asked = (
        "nano",
        "--target",
        str(few),
        "-o",
        "p.bankai",
        "--budget",
        BUDGETS[strategy],
        "--strategy",
        strategy,
    )
    return start(folder, *asked)


def wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    """Until the file is there or the search is over."""
    until = time.monotonic() + 120
    while not path.exists() and process.poll() is None:
        assert time.monotonic() < until
        time.sleep(0.02)


@pytest.mark.parametrize("strategy", ["guided", "greedy"])
def test_a_killed_search_goes_on_to_the_same_patch(tmp_path: Path, few: Path, strategy: str) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    whole.mkdir(), cut.mkdir()
    began = time.monotonic()
    uninterrupted = search(whole, few, strategy)
    assert uninterrupted.wait(300) == 0, uninterrupted.stderr.read()
    seconds, rng, kills = time.monotonic() - began, random.Random(), 0
    process = search(cut, few, strategy)
    wait_for(cut / "p.run/run.json", process)
    for _ in range(2):
        try:
            process.wait(rng.uniform(0.02, 0.2) * seconds)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            kills += 1
            process = start(cut, "--resume", "p.run")
    assert process.wait(300) == 0, process.stderr.read()
    assert kills
    assert (cut / "p.bankai").read_bytes() == (whole / "p.bankai").read_bytes()
    assert flips_of(cut) == flips_of(whole)


def flips_of(folder: Path) -> list[object]:
    """What every event of a run did, without the times."""
    *_, events = RunFolder.open(folder / "p.run", Asked)
    return [
        [getattr(event, name) for name in event.__struct_fields__ if name != "seconds"] for event in events
    ]


def test_ctrl_c_leaves_the_best_patch_and_a_run_to_resume(tmp_path: Path, few: Path) -> None:
    process = search(tmp_path, few, "guided")
    wait_for(tmp_path / "p.run/state.json", process)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    told = process.stderr.read()
    assert "p.bankai written" in told and "--resume p.run" in told
    best = read_patch(tmp_path / "p.bankai")
    assert best and best.manifest.results["stopped"] == "interrupted"
    with open_checkpoint("nano") as checkpoint:
        assert state(checkpoint, best) == "base"
    resumed = start(tmp_path, "--resume", "p.run")
    assert resumed.wait(300) == 0
    assert read_patch(tmp_path / "p.bankai").manifest.results["fitness"] >= best.manifest.results["fitness"]


def test_a_run_of_another_model_is_refused(tmp_path: Path, few: Path, tiny_gguf: Path) -> None:
    process = search(tmp_path, few, "guided")
    wait_for(tmp_path / "p.run/run.json", process)
    process.kill()
    process.wait()
    asked = msgspec.json.decode((tmp_path / "p.run/run.json").read_bytes(), type=Asked)
    other = msgspec.structs.replace(asked, model=str(tiny_gguf), output=str(tmp_path / "p.bankai"))
    (tmp_path / "p.run/run.json").write_bytes(msgspec.json.encode(other))
    with pytest.raises(StateError, match="not the model"):
        resume_search(tmp_path / "p.run")
    (tmp_path / "p.run/run.json").write_text("{}")
    with pytest.raises(StoreError, match="damaged"):
        resume_search(tmp_path / "p.run")
