"""`bankai fix` from the outside: its words, its JSON, its exit codes, and an interruption."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from bankai.patch import read_patch
from bankai.probes import load_probe_set


def run(*args, cwd):
    command = [sys.executable, "-m", "bankai", *map(str, args)]
    return subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=300
    )


def write_table(path, known, passing):
    probes = [probe for probe in load_probe_set("elicitable") if probe.prompt]
    failing = [
        one for one in probes if one.category == "trigonometry" and one.split not in ("control", "unseen")
    ]
    right = [one for one in probes if one.split in ("control", "unseen")]
    rows = [{"prompt": one.prompt, "answer": one.answers[0]} for one in [*failing[:known], *right[:passing]]]
    path.write_text("\n".join(map(json.dumps, rows)))


def test_the_whole_path(tmp_path):
    write_table(tmp_path / "rows.jsonl", 34, 12)
    done = run("fix", "nano", "rows.jsonl", "-o", "mine.bankai", "--no-chat", "--budget", 24, cwd=tmp_path)
    assert "failures are known; a patch can be expected to help with those" in done.stdout
    assert "3 searches (the patch, and one on each half" in done.stderr and "minutes" in done.stderr
    assert "failing rows fixed" in done.stdout and "mine.html" in done.stdout
    last = done.stdout.splitlines()[-1]
    assert done.returncode == (0 if last.startswith("probably helps: ") else 1), done.stderr
    assert read_patch(tmp_path / "mine.bankai") and (tmp_path / "mine.html").is_file()
    applied = run("apply", "nano", "mine.bankai", "-o", "patched.gguf", cwd=tmp_path)
    assert applied.returncode == 0, applied.stderr


def test_nothing_known_is_said_before_any_search(tmp_path):
    rows = "".join(f"Say {number} in words.,xq{number}\n" for number in range(6))
    (tmp_path / "rows.csv").write_text(f"prompt,answer\n{rows}")
    done = run("fix", "nano", "rows.csv", "-o", "mine.bankai", "--no-chat", cwd=tmp_path)
    assert done.returncode == 1 and not (tmp_path / "mine.bankai").exists()
    assert "the model knows the answer to none of the 6 rows that it fails" in done.stderr
    told = run("fix", "nano", "rows.csv", "-o", "b.bankai", "--no-chat", "--json", cwd=tmp_path)
    assert told.returncode == 1 and json.loads(told.stdout)["knowledge"]["known"] == 0


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (["nano"], "Missing MODEL, FAILURES or -o FILE; or give --resume DIR"),
        (["--resume", "none.fix"], "is not the folder of a fix"),
        (["--resume", "none.fix", "--seed", "3"], "goes on with what was asked; give no seed"),
        (["nano", "none.csv", "-o", "a.bankai"], "no such file"),
        (["nano", "rows.csv", "-o", "a.bankai", "--grade", "fuzzy"], "row 2: no grader 'fuzzy'"),
        (["nano", "rows.csv", "-o", "a.bankai", "--answer-column", "right"], "no column 'right' among"),
    ],
)
def test_refusals(tmp_path, args, told):
    (tmp_path / "rows.csv").write_text("prompt,answer\n2+2=,4\n")
    done = run("fix", *args, cwd=tmp_path)
    assert done.returncode == 2 and told in done.stderr and done.stderr.count("\n") == 1
    assert {path.name for path in tmp_path.iterdir()} == {"rows.csv"}


@pytest.mark.skipif(os.name != "posix", reason="sends a signal")
def test_an_interruption_leaves_the_best_patch_and_the_way_on(tmp_path):
    write_table(tmp_path / "rows.jsonl", 34, 12)
    args = ["fix", "nano", "rows.jsonl", "-o", "mine.bankai", "--no-chat", "--budget", "4000"]
    process = subprocess.Popen(
        [sys.executable, "-m", "bankai", *args], cwd=tmp_path, stderr=subprocess.PIPE, text=True
    )
    events = tmp_path / "mine.fix" / "patch.run" / "events.jsonl"
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not (events.exists() and "Validated" in events.read_text()):
        time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    told = process.communicate(timeout=60)[1]
    assert process.returncode == 130, told
    assert "interrupted; mine.bankai written; go on with: bankai fix --resume mine.fix" in told
    assert read_patch(tmp_path / "mine.bankai")
