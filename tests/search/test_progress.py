"""How far a search is, from its events."""

import pytest

from bankai.patch import Flip
from bankai.search import (
    Joined,
    Pruned,
    Ranked,
    SearchProgress,
    SearchSettings,
    Staffed,
    Started,
    Tried,
    Validated,
    progress,
)

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
]


def test_state_follows_the_events() -> None:
    state = SearchProgress("guided", SETTINGS)
    for event in EVENTS[:4]:
        state.take(event)
    assert str(state).startswith("1 flip, fitness 0.250, validation 5/8, 7/30 evaluations, ")
    assert str(state).endswith(" s left")
    state.take(EVENTS[5])
    assert (state.flips, state.fitness, state.evaluations) == (1, 0.49, 9.0)


def test_time_left_is_pace_times_what_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])
    state = SearchProgress("guided", SETTINGS)
    state.take(STARTED)
    assert state.seconds_left is None
    clock[0] = 108.0
    state.take(EVENTS[4])  # 8 evaluations in 8 seconds
    assert state.seconds_left == pytest.approx(22.0)


def test_a_budget_in_minutes_counts_time(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])
    state = SearchProgress("guided", SearchSettings(budget=None, minutes=1))
    state.take(STARTED)
    clock[0] = 115.0
    state.take(EVENTS[4])
    assert (state.share, state.seconds_left) == (0.25, pytest.approx(45.0))
    assert "8 evaluations, at most 45 s left" in str(state)


def test_workers_and_their_pace_are_shown(monkeypatch) -> None:
    clock = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])
    state = SearchProgress("guided", SearchSettings(budget=48))
    for event in (Staffed(1, 0, ("a",)), STARTED, Staffed(3, 0, ("a",))):
        state.take(event)
    clock[0] = 110.0
    state.take(Tried(FLIP, True, 0.5, 1, 24.0, 9.0))
    assert str(state).endswith("24/48 evaluations, at most 10 s left, 3 workers, 2.4 evaluations/s")
    state.take(Staffed(2, 1, ("a",)))
    assert ", 2 workers (1 lost), " in str(state)
