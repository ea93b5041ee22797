"""One flip at a time, kept or reverted: the baselines.

`greedy` is the published loop (2026-04-02): rows of gate and up drawn with probability proportional to their mean
|scale|, a trial first screened on the two targets that score worst. The original compared with the first baseline,
here the current state is the reference. `random_trials` draws any place of the space alike and screens nothing.
"""

import random
from collections.abc import Callable, Iterator
from itertools import accumulate, chain

from bankai.patch import Flip
from bankai.search.budget import Budget
from bankai.search.events import Event, Tried
from bankai.search.problem import Problem
from bankai.search.space import Space
from bankai.search.state import State

__all__ = ["greedy", "random_trials"]

SCREENED = 2
ROUND = 10  # trials between two saved states


def greedy(problem: Problem, state: State, budget: Budget) -> Iterator[Event]:
    """One round of trials."""
    tensors = list(Space(projections=("gate_proj", "up_proj")).tensors(problem.decoder))
    scales = [problem.decoder.matrix(tensor).magnitudes().tolist() for tensor in tensors]
    cumulative = list(accumulate(chain.from_iterable(scales)))

    def draw(rng: random.Random) -> Flip:
        (at,) = rng.choices(range(len(cumulative)), cum_weights=cumulative)
        tensor, row = divmod(at, len(scales[0]))  # gate and up have as many rows
        return Flip(tensors[tensor], row)

    yield from _round(problem, state, budget, draw, _passes_screening, SCREENED / problem.reads)


def random_trials(problem: Problem, state: State, budget: Budget) -> Iterator[Event]:
    """One round of trials."""
    yield from _round(
        problem,
        state,
        budget,
        lambda rng: problem.space.draw(problem.decoder, rng),
        lambda problem, flip: True,
        0,
    )


def _round(
    problem: Problem,
    state: State,
    budget: Budget,
    draw: Callable[[random.Random], Flip],
    passes: Callable[[Problem, Flip], bool],
    screening: float,
) -> Iterator[Event]:
    rng = state.rng(problem.seed)
    for _ in range(ROUND):
        if not budget.allows(problem.evaluations, 1 + screening):
            state.reason = "budget spent"
            break
        flip = draw(rng)
        kept = passes(problem, flip) and problem.attempt([flip], problem.fitness)
        yield Tried(flip, kept, problem.fitness, len(problem.flips), problem.evaluations, budget.elapsed)
    state.drawn = rng.getstate()
    state.best = problem.standing()


def _passes_screening(problem: Problem, flip: Flip) -> bool:
    """Whether the flip raises the worst targets above where they stand now."""
    scores = problem.current.targets
    worst = scores.argsort()[:SCREENED]
    problem.toggle([flip])
    flipped = problem.score_some_targets(worst.tolist())
    problem.toggle([flip])
    return bool(flipped.mean() > scores[worst].mean())
