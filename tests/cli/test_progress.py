"""Progress: what a search has told, as rare lines or one live line."""

import io

import pytest
from rich.console import Console
from rich.progress import Progress, TextColumn

from bankai.cli import progress
from bankai.cli.progress import Display, search_progress
from bankai.patch import Flip
from bankai.search import Finished, Joined, Pruned, Ranked, SearchSettings, Started, Tried, Validated

SETTINGS = SearchSettings(budget=30)
FLIP = Flip("model.layers.0.mlp.up_proj", 3)
STARTED = Started(
    targets=10,
    solved_targets=1,
    controls=20,
    validation=8,
    solved_validation=2,
    texts=4,
    places=512,
    seconds_per_evaluation=0.5,
)
EVENTS = [
    STARTED,
    Ranked(evaluations=5.4, seconds=1.0),
    Tried(flip=FLIP, kept=True, fitness=0.25, flips=1, evaluations=6.4, seconds=2.0),
    Validated(solved=5, total=8, best=True, evaluations=7.0),
    Joined(change=(FLIP,), fitness=0.5, flips=2, evaluations=8.0, seconds=3.0),
    Pruned(change=(FLIP,), fitness=0.49, flips=1, evaluations=9.0, seconds=3.5),
    Finished(flips=(FLIP,), fitness=0.49, evaluations=9.0, seconds=4.0, reason="nothing left that helps"),
]


def test_lines_are_rare(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])
    with search_progress() as display:
        display.show("guided", SETTINGS, STARTED)
        for step in range(300):
            clock[0] += 0.1
            display.show("guided", SETTINGS, EVENTS[2 + step % 3])
        display.show("guided", SETTINGS, EVENTS[-1])
    captured = capsys.readouterr()
    lines = captured.err.splitlines()
    assert captured.out == "" and 4 <= len(lines) <= 5  # the start, one per ten seconds, the end
    assert lines[0].startswith("guided: 1 of 10 targets solved, 20 controls")
    assert lines[-1].endswith("nothing left that helps")


def test_live_line_in_a_terminal() -> None:
    output = io.StringIO()
    console = Console(file=output, force_terminal=True, width=140)
    with Progress(TextColumn("{task.description} {task.fields[state]}"), console=console) as bars:
        display = Display(progress._Live(bars))
        for event in EVENTS:
            display.show("guided", SETTINGS, event)
        display.show("greedy", SETTINGS, STARTED)
        assert [task.description for task in bars.tasks] == ["guided", "greedy"]
        assert bars.tasks[0].finished and not bars.tasks[1].finished
    assert "1 flip, fitness 0.490" in output.getvalue()


def test_a_run_that_goes_on_tells_its_old_events_first(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])
    console = Console(file=io.StringIO(), force_terminal=True, width=140)
    with Progress(TextColumn("{task.description} {task.fields[state]}"), console=console) as bars:
        display = Display(progress._Live(bars))
        for event in (*EVENTS[1:5], STARTED):
            display.show("guided", SETTINGS, event)
        assert len(bars.tasks) == 1
        state = display.searches["guided"]
        assert state.solved == 5 and state.seconds_left is None  # not those of the base
        clock[0] = 105.0
        display.show("guided", SETTINGS, Ranked(evaluations=10.0, seconds=8.0))
        assert state.seconds_left == pytest.approx(50.0)  # 2 evaluations in 5 s, 20 to go
