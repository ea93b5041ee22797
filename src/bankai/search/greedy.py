"""The original loop, as a baseline: sample a row, flip, measure, keep or revert.

Rows of gate and up are drawn with probability proportional to their mean |scale| (published 2026-04-02). A trial is
first screened on the two targets that score worst; the original compared with the first baseline, here the current
state is the reference.
"""

import random
import time
from collections.abc import Generator

import torch

from bankai.patch import Flip
from bankai.search.events import Event, Tried
from bankai.search.problem import Problem
from bankai.search.rows import mlp_rows, row_scales

__all__ = ["greedy"]

PROJECTIONS = ("gate_proj", "up_proj")
SCREENED = 2


def greedy(problem: Problem, budget: int, rng: random.Random) -> Generator[Event, None, str]:
    """Spend `budget` evaluations; leaves the kept flips on. Returns why it ended."""
    rows = list(mlp_rows(problem.model, PROJECTIONS))
    cumulative = torch.tensor(row_scales(problem.model, rows)).cumsum(0).tolist()
    start = time.monotonic()
    trial = 1 + SCREENED / (problem.targets.probes + problem.controls.probes)
    while problem.evaluations + trial <= budget:
        (flip,) = rng.choices(rows, cum_weights=cumulative)
        kept = _passes_screening(problem, flip) and problem.attempt([flip], problem.fitness)
        yield Tried(
            flip, kept, problem.fitness, len(problem.flips), problem.evaluations, time.monotonic() - start
        )
    return "budget spent"


def _passes_screening(problem: Problem, flip: Flip) -> bool:
    """Whether the flip raises the worst targets above where they stand now."""
    scores = problem.current.targets
    worst = scores.argsort()[:SCREENED]
    problem.toggle([flip])
    flipped = problem.score_some_targets(worst.tolist())
    problem.toggle([flip])
    return bool(flipped.mean() > scores[worst].mean())
