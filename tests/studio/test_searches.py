"""Searches from a file: what is refused at once, and what names become. A whole search is in test_page."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from bankai.errors import StudioError
from bankai.patch import read_patch
from bankai.probes import Message, Probe, ProbeSet, load_probe_set
from bankai.studio.runs import read_run
from bankai.studio.searches import MOST_BYTES, MOST_EVALUATIONS, Searches, Wanted
from bankai.studio.worker import task_of


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text("prompt,answer\n1 + 1 =, 2\n")
    return path


@pytest.fixture
def searches(tmp_path):
    found = Searches("nano", tmp_path / "runs")
    yield found
    found.close()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"file": "mine.exe"}, "CSV nor JSONL"),
        ({"file": "large.csv"}, "from-failures"),
        ({"file": "gone.csv"}, "drop it again"),
        ({"evaluations": 0}, "evaluations"),
        ({"evaluations": MOST_EVALUATIONS + 1}, "evaluations"),
        ({"minutes": 10**9}, "minutes"),
    ],
)
def test_what_cannot_be_searched_is_refused_and_leaves_nothing(tmp_path, file, searches, change, words):
    (tmp_path / "mine.exe").write_text("prompt,answer\n")
    (tmp_path / "large.csv").write_bytes(b"x" * (MOST_BYTES + 1))
    wanted = {"file": file} | change | ({"file": tmp_path / change["file"]} if "file" in change else {})
    with pytest.raises(StudioError, match=words):
        searches.start(Wanted(**wanted))
    assert searches.status is None and not (tmp_path / "runs").exists()


def test_a_file_in_the_place_of_the_folder_is_told(tmp_path, file, searches):
    (tmp_path / "runs").touch()
    with pytest.raises(StudioError, match="another --runs"):
        searches.start(Wanted(file))
    assert searches.status is None


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("mine", "mine"),
        ("", "mine"),
        ("../../etc/passwd", "etc-passwd"),
        ("a b/c\\d\n", "a-b-c-d"),
        ("-", "search"),
        ("x" * 500, "x" * 60),
        ("<b>é", "b"),
    ],
)
def test_names_become_names_of_files_in_the_folder(tmp_path, file, searches, name, found):
    job = searches._job(Wanted(file, name=name))
    assert Path(job.patch) == tmp_path / "runs" / f"{found}.bankai"
    assert Path(job.probes) == tmp_path / "runs" / f"{found}.jsonl"


def test_nothing_that_is_there_is_replaced(tmp_path, file, searches):
    (tmp_path / "runs").mkdir()
    for name in ("mine.bankai", "mine-2.run", "mine-3.jsonl"):
        (tmp_path / "runs" / name).touch()
    assert Path(searches._job(Wanted(file)).patch).name == "mine-4.bankai"


@pytest.mark.engines
def test_a_refusal_is_told_in_the_words_of_the_visitor(tmp_path, searches):
    """A row without an answer: nothing is searched, and nothing is left behind."""
    file = tmp_path / "secret" / "rows.csv"
    file.parent.mkdir()
    file.write_text("prompt,answer\nThe capital of France is, nothing at all\nAnd?,\n")
    assert searches.start(Wanted(file)) == "rows"
    with pytest.raises(StudioError, match="rows is under way"):
        searches.start(Wanted(file))
    assert searches._process.wait(60) == 0
    wait(lambda: not searches.status.running)
    assert "rows.csv, row 3" in searches.status.news.error and "secret" not in searches.status.news.error
    assert list((tmp_path / "runs").iterdir()) == []


def test_nobody_waits_for_a_search_that_never_began(searches):
    searches.stop()
    searches.close()
    assert searches.status is None


@pytest.mark.engines
def test_a_search_that_is_stopped_keeps_the_best_so_far(tmp_path, failures, searches):
    name = searches.start(Wanted(failures, evaluations=5000, minutes=60))
    wait(lambda: (tmp_path / "runs" / f"{name}.run" / "state.json").exists())  # after the first round
    searches.stop()
    wait(lambda: not searches.status.running)
    assert searches.status.news.what == "stopped"
    check_left(tmp_path / "runs", name)
    again = searches.start(Wanted(failures, evaluations=5000))  # now another may begin
    assert again == f"{name}-2"
    searches.close()
    assert searches._process.poll() is not None


HOLDER = """
import os, sys, time
from pathlib import Path
from bankai.studio.searches import Searches, Wanted
searches = Searches("nano", Path(sys.argv[1]))
searches.start(Wanted(Path(sys.argv[2]), evaluations=5000, minutes=60))
while not (Path(sys.argv[1]) / "derivatives.run" / "state.json").exists():
    time.sleep(0.05)
print(searches._process.pid, flush=True)
os.kill(os.getpid(), 9)
"""


@pytest.mark.engines
def test_a_search_whose_page_was_killed_stops_and_keeps_the_best_so_far(tmp_path, failures):
    command = [sys.executable, "-c", HOLDER, tmp_path / "runs", failures]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    assert done.returncode == -9
    patch = tmp_path / "runs" / "derivatives.bankai"
    wait(lambda: patch.exists() and not Path(f"/proc/{done.stdout.strip()}").exists())
    check_left(tmp_path / "runs", "derivatives")


def check_left(folder, name):
    """A patch, its run and its probes: whole, and nothing besides."""
    assert sorted(path.name for path in folder.iterdir()) == [
        f"{name}.{kind}" for kind in ("bankai", "jsonl", "run")
    ]
    assert not [path for path in folder.rglob("*") if path.suffix == ".tmp"]
    patch = read_patch(folder / f"{name}.bankai")
    assert patch.flips and patch.binding and patch.manifest.results["stopped"] == "interrupted"
    assert load_probe_set(folder / f"{name}.jsonl").split("target")
    run = read_run(folder, name)
    assert not run.reason and run.patch


def wait(until, seconds=90):
    end = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("text", "kept", "others"), [(None, True, False), ("none", False, False), ("neutral-en", True, True)]
)
def test_a_search_for_chats_takes_the_replies_of_the_model(file, searches, tiny_gguf, text, kept, others):
    searches.source = str(tiny_gguf)
    job = searches._job(Wanted(file, text=text, chat=True))
    chat = Probe(
        id="a", item="a", category="c", split="target", messages=(Message("user", "a?"),), answers=("b",)
    )
    ProbeSet("mine", [chat]).save(job.probes)
    task = task_of(job)
    replies = [probe for probe in task.searched.texts if isinstance(probe, Probe)]
    assert bool(replies) == bool(task.unread) == kept
    assert bool(len(task.searched.texts) - len(replies)) == others
