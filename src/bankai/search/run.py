"""One search from baseline to result: sets up the problem, drives the strategy round by round, restores the model."""

import math
from collections.abc import Callable, Iterator
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from bankai.errors import AuditError, NotFiniteError
from bankai.model import ModelMatrices
from bankai.patch import Manifest, Patch, bind
from bankai.quantization import Matrices
from bankai.search.budget import Budget
from bankai.search.crew import Hire, alone
from bankai.search.events import Event, Finished, Started
from bankai.search.folder import RunFolder
from bankai.search.guided import guided
from bankai.search.parts import SearchProbes
from bankai.search.problem import Problem
from bankai.search.relaxed import relaxed
from bankai.search.settings import SearchSettings
from bankai.search.state import Best, State
from bankai.search.trials import greedy, random_trials

__all__ = ["STRATEGIES", "make_patch", "run_search"]

Strategy = Callable[[Problem, State, Budget], Iterator[Event]]
STRATEGIES: dict[str, Strategy] = {
    "guided": guided,
    "relaxed": relaxed,
    "greedy": greedy,
    "random": random_trials,
}


def run_search(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    probes: SearchProbes,
    settings: SearchSettings,
    *,
    state: State | None = None,
    folder: RunFolder | None = None,
    hire: Hire = alone,
) -> Iterator[Event]:
    """Yield events from `Started` to `Finished`. The model has its own bits again when the iterator ends or is closed.

    `state` is where an earlier run stood; it is kept up to date, so that whoever stops the iterator still has the best
    flips so far. A `folder` holds the same on disk. `hire` makes the crew that computes; the result is the same whoever
    it is. Raises AuditError when there is nothing to search with, NotFiniteError when the base reads no numbers.
    """
    if not probes.targets:
        raise AuditError("no target probes; give a set that has a target split")
    state = State() if state is None else state
    with Problem(model, tokenizer, probes, settings, hire) as problem:
        budget = Budget(
            math.inf if settings.budget is None else settings.budget,
            math.inf if settings.minutes is None else settings.minutes * 60,
            state.seconds,
        )
        yield _started(problem, state)
        problem.restore(state)
        while not state.reason:
            for event in STRATEGIES[settings.strategy](problem, state, budget):
                if folder is not None:
                    folder.add(event)
                yield event
            problem.save(state)
            state.seconds = budget.elapsed
            if folder is not None:
                folder.save(state)
    best = state.best
    yield Finished(best.flips, best.fitness, state.evaluations, state.seconds, state.reason)


def _started(problem: Problem, state: State) -> Started:
    """Validates the base, which is not counted as work."""
    base, now = problem.validated(), problem.current
    known = all(found.isfinite().all() for found in (now.targets, now.controls, now.drift))
    if not (known and math.isfinite(base.score)):
        raise NotFiniteError
    problem.evaluations = 0.0
    if state.best == Best():
        state.best = base
    return Started(
        targets=len(problem.encoded),
        solved_targets=int((problem.current.target_margins > 0).sum()),
        controls=problem.current.controls.shape[0],
        texts=problem.current.drift.shape[0],
        validation=problem.validation.probes,
        solved_validation=base.solved,
        places=problem.space.size(problem.decoder),
        seconds_per_evaluation=problem.seconds,
    )


def make_patch(
    model: PreTrainedModel | Matrices, finished: Finished, settings: SearchSettings, **manifest: Any
) -> Patch:
    """The found flips as a patch bound to a loaded or an open model; `manifest` are further fields of `Manifest`."""
    note = Manifest(strategy=settings.strategy, seed=settings.seed, **manifest)
    bits = ModelMatrices(model) if isinstance(model, PreTrainedModel) else model
    return bind(Patch(frozenset(finished.flips), manifest=note), bits)
