"""The folder of a run: what is written comes back, what is cut off is forgotten, what is foreign stays."""

import os
from pathlib import Path

import msgspec
import pytest

from bankai.errors import StoreError
from bankai.patch import Flip
from bankai.search import Best, Ranked, RunFolder, State, Tried

EVENTS = [
    Ranked(evaluations=2.5, seconds=0.1),
    Tried(flip=Flip("a.b", 3, 1, 7), kept=True, fitness=0.1, flips=1, evaluations=3.5, seconds=0.2),
]


class Question(msgspec.Struct):
    text: str


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder.create(tmp_path / "deep/run", Question("why"))


def test_state_and_events_come_back(folder: RunFolder) -> None:
    standing = State(flips=(Flip("a.b", 3),), evaluations=0.1 + 0.2, best=Best((Flip("a.b", 3),), 0.5))
    rng = standing.rng(5)
    rng.random()
    standing.drawn = rng.getstate()
    for event in EVENTS:
        folder.add(event)
    folder.save(standing)
    _, asked, found, events = RunFolder.open(folder.path, Question)
    assert asked == Question("why") and events == EVENTS
    assert (found.flips, found.evaluations, found.best) == (
        standing.flips,
        standing.evaluations,
        standing.best,
    )
    assert found.rng(5).random() == rng.random()


def test_a_folder_without_a_saved_round_starts_anew(folder: RunFolder) -> None:
    folder.add(EVENTS[0])
    *_, standing, events = RunFolder.open(folder.path, Question)
    assert standing == State() and events == []


def test_what_follows_the_saved_state_is_forgotten(folder: RunFolder) -> None:
    folder.add(EVENTS[0])
    folder.save(State())
    with (folder.path / "events.jsonl").open("ab") as file:
        file.write(b'{"type":"Tried","fl')  # a kill in the middle of the next round
    again, _, standing, events = RunFolder.open(folder.path, Question)
    assert events == EVENTS[:1]
    again.add(EVENTS[1])
    again.save(standing)
    assert RunFolder.open(folder.path, Question)[3] == EVENTS


@pytest.mark.parametrize("left", [b'{"type":"Ran', b'{"type":"Ranked","evaluations":9.0,"seconds":9.0}\n'])
def test_events_of_a_first_round_that_was_cut_off_are_forgotten(folder: RunFolder, left: bytes) -> None:
    (folder.path / "events.jsonl").write_bytes(left)  # a kill before the first state
    again, *_ = RunFolder.open(folder.path, Question)
    again.add(EVENTS[0])
    again.save(State())
    assert RunFolder.open(folder.path, Question)[3] == EVENTS[:1]


def test_opening_a_run_changes_nothing(folder: RunFolder) -> None:
    folder.add(EVENTS[0])
    folder.save(State())
    with (folder.path / "events.jsonl").open("ab") as file:
        file.write(b"of a process that still runs")
    before = (folder.path / "events.jsonl").read_bytes()
    RunFolder.open(folder.path, Question)
    assert (folder.path / "events.jsonl").read_bytes() == before


def test_what_a_kill_left_while_writing_is_ours(folder: RunFolder) -> None:
    folder.save(State(reason="budget spent"))
    (folder.path / ".state.json.1a2b3c4d.tmp").write_bytes(b"{")
    again = RunFolder.create(folder.path, Question("again"))
    assert [entry.name for entry in again.path.iterdir()] == ["run.json"]


def test_an_ended_run_is_replaced_and_an_unfinished_one_kept(folder: RunFolder) -> None:
    with pytest.raises(StoreError, match="--resume"):
        RunFolder.create(folder.path, Question("again"))
    folder.save(State(reason="budget spent"))
    again = RunFolder.create(folder.path, Question("again"))
    assert RunFolder.open(again.path, Question)[1:] == (Question("again"), State(), [])


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    for place in (tmp_path, tmp_path / "notes.txt"):
        with pytest.raises(StoreError, match="something else"):
            RunFolder.create(place, Question("x"))
    assert (tmp_path / "notes.txt").read_text() == "mine"
    with pytest.raises(StoreError, match="not the folder of a search"):
        RunFolder.open(tmp_path, Question)


@pytest.mark.parametrize("name", ["run.json", "state.json", "events.jsonl"])
@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[1, 2]", b'{"events": 9}'])
def test_damaged_files_are_told(folder: RunFolder, name: str, content: bytes) -> None:
    folder.add(EVENTS[0])
    folder.save(State())
    (folder.path / name).write_bytes(content)
    with pytest.raises(StoreError, match="start the search anew"):
        RunFolder.open(folder.path, Question)


@pytest.mark.parametrize("name", ["state.json", "events.jsonl"])
def test_a_pipe_in_the_place_of_a_file_is_not_waited_for(folder: RunFolder, name: str) -> None:
    folder.save(State())
    (folder.path / name).unlink()
    os.mkfifo(folder.path / name)
    with pytest.raises(StoreError, match=f"{name} is not a regular file; start the search anew"):
        RunFolder.open(folder.path, Question)
