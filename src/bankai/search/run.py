"""One search from baseline to patch: sets up the problem, drives the strategy, restores the model."""

import random
import time
from collections.abc import Callable, Generator, Iterator
from typing import Any

import msgspec
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from bankai.errors import AuditError
from bankai.model import ModelBinaryTensors
from bankai.patch import Manifest, Patch, bind
from bankai.search.events import Event, Finished, Started
from bankai.search.greedy import greedy
from bankai.search.guided import guided
from bankai.search.problem import Problem, SearchProbes
from bankai.search.rows import mlp_rows

__all__ = ["STRATEGIES", "SearchSettings", "make_patch", "run_search"]

Strategy = Callable[[Problem, int, random.Random], Generator[Event, None, str]]
STRATEGIES: dict[str, Strategy] = {"greedy": greedy, "guided": guided}


class SearchSettings(msgspec.Struct, frozen=True, kw_only=True):
    """`budget` in full evaluations; `penalty` is the weight of the controls (lambda)."""

    strategy: str = "guided"
    budget: int = 300
    seed: int = 0
    penalty: float = 2.0


def run_search(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, probes: SearchProbes, settings: SearchSettings
) -> Iterator[Event]:
    """Yield events from `Started` to `Finished`. The model has its own bits again when the iterator ends or is closed.

    Raises AuditError when there is nothing to search with.
    """
    if not probes.targets:
        raise AuditError("no target probes; give a set that has a target split")
    start = time.monotonic()
    with Problem(model, tokenizer, probes, settings.penalty) as problem:
        yield _started(problem)
        strategy = STRATEGIES[settings.strategy]
        reason = yield from strategy(problem, settings.budget, random.Random(settings.seed))
        flips, fitness = tuple(sorted(problem.flips)), problem.fitness
        work = problem.evaluations
    yield Finished(flips, fitness, work, time.monotonic() - start, reason)


def _started(problem: Problem) -> Started:
    """Measures the baseline once more, to tell how long an evaluation takes; not counted as work."""
    start = time.monotonic()
    problem.measure()
    seconds = time.monotonic() - start
    problem.evaluations = 0.0
    solved, _ = problem.validate()
    problem.evaluations = 0.0
    return Started(
        targets=problem.targets.probes,
        solved_targets=problem.solved_targets,
        controls=problem.controls.probes,
        validation=problem.validation.probes,
        solved_validation=solved,
        rows=sum(1 for _ in mlp_rows(problem.model)),
        seconds_per_evaluation=seconds,
    )


def make_patch(
    model: PreTrainedModel, finished: Finished, settings: SearchSettings, **manifest: Any
) -> Patch:
    """The found flips as a patch bound to the model; `manifest` are further fields of `Manifest`."""
    note = Manifest(strategy=settings.strategy, seed=settings.seed, **manifest)
    return bind(Patch(frozenset(finished.flips), manifest=note), ModelBinaryTensors(model))
