"""Guided search: attribution ranks every place, exact measurements decide.

Climbs in rounds: attribution at the current state; the best candidates measured exactly, weak ones leaving early; the
survivors joined, best first, as far as the fitness rises; validation. When validation has stopped improving or most of
the budget is spent, the best validated state is refined: flips that no longer earn their place are taken out, then
single flips are swapped for better ones.
"""

from collections.abc import Generator, Iterator, Sequence
from itertools import accumulate, product
from operator import or_

from bankai.patch import Flip
from bankai.search.budget import Budget
from bankai.search.events import Event, Joined, Pruned, Ranked, Swapped, Validated
from bankai.search.problem import ATTRIBUTION_COST, Candidate, Problem
from bankai.search.state import State

__all__ = [
    "CLIMB_SHARE",
    "MINIMUM_SHARE",
    "PATIENCE",
    "candidates",
    "guided",
    "standing",
    "validate",
]

FEWEST, MOST = 32, 64  # candidates measured exactly per round
ROUNDS = 8  # that a budget is cut into, if that leaves a round enough candidates
PATIENCE = 2  # rounds without a better validation
MINIMUM_SHARE = 0.002  # of the fitness that a flip must be worth
CLIMB_SHARE = 0.8  # of the budget; the rest refines
SWAPS = 4  # candidates that may replace the weakest flips


def candidates(budget: float | None) -> int:
    """How many candidates a round measures with so many evaluations; the fewest when only time is limited."""
    return FEWEST if budget is None else int(min(MOST, max(FEWEST, budget // ROUNDS)))


def guided(problem: Problem, state: State, budget: Budget) -> Iterator[Event]:
    """One round. Deterministic: what it draws follows from the seed and its number."""
    phases = {"climb": _climb, "prune": _prune, "swap": _swap}
    problem.draw(state.rounds)
    yield from phases[state.phase](problem, state, budget)
    state.rounds += 1


def _climb(problem: Problem, state: State, budget: Budget) -> Iterator[Event]:
    most = candidates(budget.limit)
    count = _affordable(problem, budget, most)
    if not count:
        _refine(problem, state, "budget spent" if problem.flips else "budget too small for one round")
        return
    ranked = problem.rank(count)
    yield Ranked(problem.evaluations, budget.elapsed)
    kept = yield from _join(problem, [one.flip for one in ranked if one.value > 0], budget)
    better = yield from validate(problem, state, budget)
    state.stale = 0 if better else state.stale + 1
    if not kept:
        _refine(problem, state, "no candidate helps" if count == most else "budget spent")
    elif state.stale == PATIENCE:
        _refine(problem, state, "validation stopped improving")


def _affordable(problem: Problem, budget: Budget, most: int) -> int:
    """How many candidates a round may measure: all, or as many as the budget still allows."""
    for count in (most, most // 2, most // 4, 4):
        # Half of them leave after a quarter of the work; a quarter are left and are joined one after the other.
        cost = ATTRIBUTION_COST + 0.75 * count + 1 + problem.validation_cost
        if budget.allows(problem.evaluations, cost, CLIMB_SHARE):
            return count
    return 0


def _join(problem: Problem, flips: Sequence[Flip], budget: Budget) -> Generator[Event, None, bool]:
    """Measure candidates and keep the best joint set of them; tells whether there was one."""
    measured = problem.halve([frozenset([flip]) for flip in flips])
    good = [one for fitness, one in measured if fitness > _worth_more(problem)]
    if not good:
        return False
    unions = list(accumulate(good, or_))
    fitness = [measured[0][0], *problem.measure(unions[1:])]
    best = max(range(len(unions)), key=fitness.__getitem__)
    problem.move_to(problem.flips ^ unions[best], expected=fitness[best])
    yield Joined(tuple(sorted(unions[best])), *standing(problem, budget))
    return True


def validate(problem: Problem, state: State, budget: Budget) -> Generator[Event, None, bool]:
    """Remember the current flips when they validate better than any before; tells whether they do."""
    found = problem.validated()
    better = found.key > state.best.key
    if better:
        state.best = found
    yield Validated(found.solved, problem.validation.probes, better, problem.evaluations)
    return better


def _refine(problem: Problem, state: State, why: str) -> None:
    """Go back to the best validated flips and on to pruning; `why` the climb ended is the reason in the end."""
    state.phase, state.why = "prune", why
    if problem.flips != frozenset(state.best.flips):
        problem.move_to(state.best.flips)


def _prune(problem: Problem, state: State, budget: Budget) -> Iterator[Event]:
    """Take out as many flips as the fitness can spare, the cheapest first; over when none can go."""
    flips = sorted(problem.flips)
    if len(flips) < 2 or not budget.allows(problem.evaluations, 2 * len(flips) + 1 + problem.validation_cost):
        state.phase = "swap"
        return
    losses = problem.measure([frozenset([flip]) for flip in flips])
    spare = problem.fitness * (1 - MINIMUM_SHARE)
    order = sorted(range(len(flips)), key=lambda at: -losses[at])
    cheap = [frozenset([flips[at]]) for at in order if losses[at] > spare][: len(flips) - 1]
    unions = list(accumulate(cheap, or_))
    fitness = problem.measure(unions)
    sparing = [
        at for at, value in enumerate(fitness) if value > problem.fitness * (1 - MINIMUM_SHARE * (at + 1))
    ]
    if not sparing:
        state.phase = "swap"
        return
    yield from _replace(problem, state, budget, unions[sparing[-1]], Pruned)


def _swap(problem: Problem, state: State, budget: Budget) -> Iterator[Event]:
    """Swap one of the weakest flips for one of the best candidates; over when that no longer helps."""
    flips = sorted(problem.flips)
    cost = ATTRIBUTION_COST + len(flips) + SWAPS * SWAPS + 1 + problem.validation_cost
    if not flips or not budget.allows(problem.evaluations, cost):
        state.reason = state.why
        return
    without = problem.measure([frozenset([flip]) for flip in flips])
    weakest = [flip for _, flip in sorted(zip(without, flips, strict=True), reverse=True)[:SWAPS]]
    fresh = [one.flip for one in problem.rank(2 * SWAPS) if one.flip not in problem.flips][:SWAPS]
    measured = problem.halve([frozenset(pair) for pair in product(weakest, fresh)])
    if not measured or measured[0][0] <= _worth_more(problem):
        state.reason = state.why
        return
    yield from _replace(problem, state, budget, measured[0][1], Swapped)


def _replace(
    problem: Problem, state: State, budget: Budget, change: Candidate, event: type[Pruned] | type[Swapped]
) -> Iterator[Event]:
    """Make a refinement, and take it back when fewer validation probes are solved with it."""
    before = problem.flips
    problem.move_to(before ^ change)
    found = problem.validated()
    if found.solved < state.best.solved:
        problem.move_to(before)
        state.phase, state.reason = ("swap", "") if state.phase == "prune" else (state.phase, state.why)
        return
    state.best = found
    yield event(tuple(sorted(change)), *standing(problem, budget))


def _worth_more(problem: Problem) -> float:
    """What a change must exceed: the present fitness by the worth of a flip, and by the noise of measuring."""
    return problem.fitness + max(MINIMUM_SHARE * abs(problem.fitness), problem.noise)


def standing(problem: Problem, budget: Budget) -> tuple[float, int, float, float]:
    """Fitness, flips, evaluations and seconds, as events end."""
    return problem.fitness, len(problem.flips), problem.evaluations, budget.elapsed
