"""Guided search: one backward pass ranks every row, exact evaluations decide.

Rounds of: attribution at the current state; the best rows checked one by one, each kept when the joint fitness rises;
the validation split measured. Ends when validation has stopped improving or the budget is spent, goes back to the
best validated state and prunes the flips that no longer earn their place.
"""

import random
import time
from collections.abc import Generator, Iterator

import torch

from bankai.patch import Flip
from bankai.search.attribution import row_effects
from bankai.search.events import Event, Pruned, Ranked, Tried, Validated
from bankai.search.problem import Problem

__all__ = ["MINIMUM_SHARE", "guided", "prune", "ranked_rows"]

CANDIDATES = 24  # checked exactly per round
PATIENCE = 2  # rounds without a better validation
ATTRIBUTION_COST = 5.4  # evaluations, measured on a prototype
MINIMUM_SHARE = 0.005  # a flip must raise the fitness by this share of what there is
PRUNE_RESERVE = 0.2  # of the budget


def ranked_rows(problem: Problem) -> list[tuple[float, Flip]]:
    """Every MLP row with its estimated effect on the fitness, best first.

    The control term is estimated probe by probe, since a hinge at its corner has no gradient.
    """
    targets = row_effects(problem.model, problem.targets)
    controls = row_effects(problem.model, problem.controls) if problem.controls.probes else {}
    now, ranked = problem.current, []
    for name, effect in targets.items():
        control = controls.get(name, torch.zeros(0, effect.shape[1]))
        fitness = problem.objective(now.targets + effect.T, now.controls + control.T)  # [rows]
        ranked += [(value, Flip(name, row)) for row, value in enumerate((fitness - now.fitness).tolist())]
    problem.evaluations += ATTRIBUTION_COST
    return sorted(ranked, key=lambda pair: (-pair[0], pair[1]))


def guided(problem: Problem, budget: int, rng: random.Random) -> Generator[Event, None, str]:
    """Spend at most `budget` evaluations; leaves the best flips on. Deterministic: `rng` is not used.

    Returns why it ended.
    """
    start, stale, reason = time.monotonic(), 0, "budget spent"
    validation = problem.share(problem.validation)
    # Every round ends in a validation, and going back to the best state costs one evaluation.
    limit = min(budget * (1 - PRUNE_RESERVE), budget - validation - 1)
    if validation + ATTRIBUTION_COST + 1 > limit:
        return "budget too small for one round"
    best: tuple[tuple[int, float], frozenset[Flip]] = (problem.validate(), problem.flips)
    while problem.evaluations + ATTRIBUTION_COST + 1 <= limit:
        ranked = ranked_rows(problem)
        yield Ranked(problem.evaluations, time.monotonic() - start)
        kept = 0
        for gain, flip in ranked[:CANDIDATES]:
            if gain <= 0 or problem.evaluations + 1 > limit:
                break
            event = _try(problem, flip, start)
            kept += event.kept
            yield event
        validated = problem.validate()
        # Without a validation split there is nothing to stop early on, so every round counts as better.
        better = validated > best[0] or not problem.validation.probes
        stale = 0 if better else stale + 1
        if better:
            best = validated, problem.flips
        yield Validated(validated[0], problem.validation.probes, better, problem.evaluations)
        if problem.evaluations + 1 > limit:
            break
        if not kept or stale == PATIENCE:
            reason = "validation stopped improving" if kept else "no candidate helps"
            break
    if problem.flips != best[1]:
        problem.move_to(best[1])
    yield from prune(problem, budget)
    return reason


def _try(problem: Problem, flip: Flip, start: float) -> Tried:
    kept = problem.attempt([flip], problem.fitness + MINIMUM_SHARE * abs(problem.fitness))
    return Tried(
        flip, kept, problem.fitness, len(problem.flips), problem.evaluations, time.monotonic() - start
    )


def prune(problem: Problem, budget: int) -> Iterator[Event]:
    """Take out, one by one, the flips whose loss costs less than the minimum share of the fitness."""
    for flip in sorted(problem.flips):
        if problem.evaluations + 1 > budget or len(problem.flips) == 1:
            return
        if problem.attempt([flip], problem.fitness * (1 - MINIMUM_SHARE)):
            yield Pruned(flip, problem.fitness, len(problem.flips), problem.evaluations)
