"""Relaxed search: all rows or groups are trained together as numbers from 0 to 1, pulled to the ends, and rounded.

Single flips do little on a real language model, and many are needed, so it pays to find them as a set. Training is
Frank and Wolfe's (1956; with a mean gradient over minibatches: Mokhtari et al. 2018, arXiv:1804.09554) on amounts
between 0 and 1 with a sum of at most so many flips: every step moves all amounts a little towards the set of that
many places that promises most at the amounts of now. What a place promises is the mean slope of the last steps, less
the drift that a whole flip of it would cause by itself (a diagonal Fisher, as in attribution), plus a pull to the
ends that grows while training goes on. In the end nearly all amounts are 0 or 1. Sets of the largest are then
measured exactly, the best is kept, and guided search refines it with what is left of the budget.
"""

from collections.abc import Iterator
from copy import copy

import numpy as np
import torch
from torch import Tensor

from bankai.search.budget import Budget
from bankai.search.events import Event, Joined, Ranked, Trained
from bankai.search.guided import CLIMB_SHARE, guided, standing, validate
from bankai.search.problem import ATTRIBUTION_COST, Problem
from bankai.search.relaxation import Relaxation
from bankai.search.state import State, Training

__all__ = ["LEAST", "begin", "move", "relaxed"]

STEPS = 10  # of one round
STEP = 0.08  # how far a step goes
MEMORY = 0.9  # of the mean slope, for what it was a step before
PULL = 0.02, 0.5  # at the beginning and the end, in units of what the last place of the first set promises
LEAST = (0.95, 0.9, 0.8, 0.7, 0.6, 0.5, 0.3)  # amount of the places in each of the sets that are measured


def relaxed(problem: Problem, state: State, budget: Budget) -> Iterator[Event]:
    """One round. Deterministic: what a step reads follows from the seed and its number."""
    if state.rounds and state.training is None:
        yield from guided(problem, state, budget)
        return
    yield from _train(problem, state, budget)
    state.rounds += 1


def _train(problem: Problem, state: State, budget: Budget) -> Iterator[Event]:
    """Some steps, or the rounding when the budget has no more of them."""
    if state.training is None:
        if not budget.allows(problem.evaluations, ATTRIBUTION_COST + _cost(problem), CLIMB_SHARE):
            state.reason = "budget too small for one step"
            return
        training = _begin(problem)
        yield Ranked(problem.evaluations, budget.elapsed)
    else:
        training = copy(state.training)  # a round that is cut off leaves the state alone
    relaxation = Relaxation(problem.decoder, problem.space)
    relaxation.amounts = _unpacked(training.amounts)
    fitness: list[float] = []
    while len(fitness) < STEPS and budget.allows(problem.evaluations, _cost(problem), CLIMB_SHARE):
        share = budget.share(problem.evaluations, _cost(problem)) / CLIMB_SHARE
        fitness.append(_step(problem, relaxation, training, min(1.0, share)))
    training.amounts = _packed(relaxation.amounts)
    if len(fitness) < STEPS:
        state.training = None
        yield from _round(problem, state, budget, relaxation)
        return
    flips, sure = (int((relaxation.amounts > least).sum()) for least in (0.5, 0.9))
    yield Trained(
        training.steps, sum(fitness) / len(fitness), flips, sure, problem.evaluations, budget.elapsed
    )
    state.training = training


def _cost(problem: Problem) -> float:
    """Of one more step and the rounding after it."""
    return problem.step_cost + len(LEAST) + 1 + problem.validation_cost


def _begin(problem: Problem) -> Training:
    return begin(Relaxation(problem.decoder, problem.space).joined(problem.place_drifts()))


def begin(drift: Tensor) -> Training:
    """Before the first step, with what the drift of a whole flip costs by itself: [places]."""
    nothing = _packed(torch.zeros_like(drift))
    return Training(amounts=nothing, slope=nothing, drift=_packed(drift))


def _step(problem: Problem, relaxation: Relaxation, training: Training, share: float) -> float:
    """One step of training; gives the fitness before, on what the step read."""
    loss, slope = relaxation.slope(lambda: problem.training.loss(training.steps))
    problem.evaluations += problem.step_cost
    move(training, relaxation.amounts, -slope, problem.most, share)
    return -loss


def move(training: Training, amounts: Tensor, slope: Tensor, most: int, share: float) -> None:
    """Move amounts [places] towards the `most` places that promise most, given the slope of the fitness there.

    `share` of the training is over, from 0 to 1. Amounts and training change in place.
    """
    training.steps += 1
    mean = MEMORY * _unpacked(training.slope) + (1 - MEMORY) * slope
    training.slope = _packed(mean)
    promise = mean / (1 - MEMORY**training.steps)
    promise -= _unpacked(training.drift) * (1 - amounts)
    count = min(most, len(promise))
    if training.steps == 1:
        training.scale = max(float(promise.topk(count).values[-1]), 0.0)
    first, last = PULL
    promise += training.scale * first * (last / first) ** share * (amounts - 0.5)
    best = promise.topk(count)
    wanted = torch.zeros_like(promise)
    wanted[best.indices[best.values > 0]] = 1.0
    amounts += STEP * (wanted - amounts)


def _round(problem: Problem, state: State, budget: Budget, relaxation: Relaxation) -> Iterator[Event]:
    """Keep the best of some sets of the places with the largest amounts."""
    sizes = {min(int((relaxation.amounts > least).sum()), problem.most) for least in LEAST}
    largest = relaxation.largest(max(sizes))
    measured = problem.halve([frozenset(largest[:size]) for size in sorted(sizes) if size])
    if not measured or measured[0][0] <= 0:
        state.reason = "no set of flips helps"
        return
    fitness, flips = measured[0]
    problem.move_to(flips, expected=fitness)
    yield Joined(tuple(sorted(flips)), *standing(problem, budget))
    yield from validate(problem, state, budget)


def _packed(values: Tensor) -> bytes:
    return values.numpy().astype("<f4").tobytes()


def _unpacked(values: bytes) -> Tensor:
    return torch.from_numpy(np.frombuffer(values, "<f4").astype(np.float32))
