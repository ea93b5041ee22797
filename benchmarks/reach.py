"""Wall-clock time of `guided` to the fitness that `greedy`, the published loop, ends at after 300 evaluations.

Same model, probes and objective, the published one (a hinge on scores, weight 2, no drift), for which `greedy` was
made; both clocks start when the baseline has been measured, attribution and validation count.
"""

import time
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from bankai.jobs.task import Task
from bankai.jobs.workbench import Workbench
from bankai.search import Joined, SearchSettings, Started, Tried, run_search
from benchmarks.draw import small
from benchmarks.measure import ranged, summary

__all__ = ["AIM", "BAR", "Reached", "reached", "run", "table"]

BAR, AIM = 10.0, 20.0
BUDGET = 300
PUBLISHED = {"loss": "score", "penalty": 2.0, "drift": 0.0}


@dataclass(frozen=True)
class Reached:
    """Where a search stood after so many seconds; `flips` and `evaluations` until then."""

    fitness: float
    flips: int
    evaluations: float
    seconds: float


def reached(
    bench: Workbench, task: Task, settings: SearchSettings, fitness: float | None = None
) -> Reached | None:
    """The first time the strategy has that fitness, else where it ends; None when it never has it."""
    began, last = 0.0, None
    events = run_search(bench.model, bench.tokenizer, task.searched, settings)
    for event in events:
        if isinstance(event, Started):
            began = time.perf_counter()
        if isinstance(event, Joined | Tried):
            last = Reached(event.fitness, event.flips, event.evaluations, time.perf_counter() - began)
            if fitness is not None and last.fitness >= fitness:
                events.close()  # the model has its own bits again
                return last
    return last if fitness is None else None


def run(quick: bool) -> dict[str, Any]:
    seeds, repeats, budget = ((0,), 1, 8) if quick else ((0, 1, 2), 3, BUDGET)
    sizes = {"targets": 5, "controls": 8} if quick else {"targets": 60, "controls": 120}
    bench = Workbench("nano")
    return {
        "budget": budget,
        **sizes,
        "seeds": [_seed(bench, seed, budget, repeats, sizes) for seed in seeds],
    }


def _seed(bench: Workbench, seed: int, budget: int, repeats: int, sizes: dict[str, int]) -> dict[str, Any]:
    task = small(seed, **sizes)
    greedy = reached(bench, task, SearchSettings(strategy="greedy", seed=seed, budget=budget, **PUBLISHED))
    assert greedy is not None
    print(f"  seed {seed}: greedy {greedy.fitness:.3f} in {greedy.seconds:.1f} s", flush=True)
    settings = SearchSettings(seed=seed, budget=BUDGET, **PUBLISHED)
    runs = [reached(bench, task, settings, greedy.fitness) for _ in range(repeats)]
    found = {"seed": seed, "greedy": asdict(greedy), "guided": None, "ratio": None}
    times = [one.seconds for one in runs if one is not None]
    if len(times) == repeats and runs[0] is not None:
        print(f"  seed {seed}: guided {runs[0].fitness:.3f} in {median(times):.1f} s", flush=True)
        found["guided"] = asdict(runs[0]) | {"seconds": summary(times)}
        found["ratio"] = greedy.seconds / median(times)
    return found


def table(result: dict[str, Any]) -> str:
    lines = [
        f"{result['targets']} targets, {result['controls']} controls, no neutral text; greedy: {result['budget']} "
        "evaluations; guided: to the first joint step that reaches its fitness, median of its repeats.",
        "",
        "| seed | | fitness | flips | evaluations | seconds | greedy / guided |",
        "|---|---|---|---|---|---|---|",
        *(row for one in result["seeds"] for row in _rows(one)),
        "",
    ]
    return "\n".join([*lines, _verdict([one["ratio"] for one in result["seeds"]])])


def _rows(one: dict[str, Any]) -> list[str]:
    greedy, guided = one["greedy"], one["guided"]
    cells = "| {} | {} | {:.3f} | {} | {:.1f} | {} | {} |"
    first = cells.format(
        one["seed"],
        "greedy",
        greedy["fitness"],
        greedy["flips"],
        greedy["evaluations"],
        f"{greedy['seconds']:.1f}",
        "",
    )
    if guided is None:
        return [first, "| | guided | never that | | | | |"]
    numbers = guided["fitness"], guided["flips"], guided["evaluations"], ranged(guided["seconds"], 1)
    return [first, cells.format("", "guided", *numbers, f"{one['ratio']:.1f}")]


def _verdict(ratios: list[float | None]) -> str:
    found = [ratio for ratio in ratios if ratio is not None]
    if len(found) < len(ratios):
        return f"Guided never reached it on {len(ratios) - len(found)} of {len(ratios)} seeds: the bar is missed."
    middle = median(found)
    bar = "meets" if middle >= BAR else "misses"
    aim = "reaches" if middle >= AIM else "misses"
    return f"The median ratio, {middle:.1f}, {bar} the bar of {BAR:g} and {aim} the aim of {AIM:g}."
