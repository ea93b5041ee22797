"""Throughput of a search on a local Ray cluster: one process against one worker and two, for the same patch.

Each worker computes with one thread, as the one process does; workers are there and have read some probes before the
clock starts. What goes over the wire is counted in the one process, as pickled units and results.
"""

import gc
import os
import pickle
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from statistics import median
from typing import Any

import torch

from bankai.cluster import Cluster, ModelSource, staffed
from bankai.cluster.connection import connected
from bankai.jobs.task import Task
from bankai.jobs.workbench import Workbench
from bankai.model.decoder import Decoder
from bankai.patch import Flip
from bankai.search import Finished, SearchSettings, Staffed, run_search
from bankai.search.crew import Crew, Hire, ReadPlainly, StreamName, Take, Unit, alone
from bankai.search.parts import Slice
from benchmarks.draw import drawn
from benchmarks.measure import ranged, summary

__all__ = ["BAR", "Counted", "run", "table"]

BAR = 1.7  # of two workers over one
BUDGET, REPEATS = 100, 3
WORKERS = (1, 2)
UNITS = {
    "ReadPlainly": "the baseline on one batch",
    "Score": "validation probes, one batch",
    "Answers": "attribution of one batch of answers",
    "Texts": "attribution of one batch of neutral texts",
    "Read": "some candidates on one batch",
}


class Counted:
    """A crew whose units and results are counted, and weighed as they would be sent."""

    def __init__(self, crew: Crew) -> None:
        self.crew, self.parts = crew, crew.parts
        self.flips: frozenset[Flip] = frozenset()
        self.kinds: dict[str, dict[str, float]] = {}

    def follow(self, flips: frozenset[Flip]) -> None:
        self.flips = flips
        self.crew.follow(flips)

    def run(self, units: Iterable[Unit], take: Take) -> None:
        """One unit at a time, to tell them apart."""
        for unit in units:
            found: list[Any] = []
            start = time.perf_counter()
            self.crew.run([unit], found.append)
            took = time.perf_counter() - start
            kind = self.kinds.setdefault(
                type(unit).__name__.strip("_"), {"units": 0, "seconds": 0.0, "sent": 0, "returned": 0}
            )
            kind["units"] += 1
            kind["seconds"] += took
            kind["sent"] += len(pickle.dumps((self.flips, unit)))
            kind["returned"] += len(pickle.dumps(found))
            for one in found:
                take(one)


def run(quick: bool) -> dict[str, Any]:
    torch.set_num_threads(1)
    budget, repeats = (20, 1) if quick else (BUDGET, REPEATS)
    bench, task = (
        Workbench("nano"),
        drawn(0, texts=4 if quick else 30).drawn(*((12, 12) if quick else (60, 120)), 0),
    )
    settings = SearchSettings(budget=budget)
    rounds: list[dict[str, dict[str, Any]]] = []
    with connected(Cluster(where=f"local:{max(WORKERS)}", threads=1), max(WORKERS)):
        for _ in range(repeats):
            found = {"one process": _search(bench, task, settings, alone)}
            for workers in WORKERS:
                with _hired(workers) as hire:
                    found[f"{workers} workers"] = _search(bench, task, settings, hire)
            rounds.append(found)
    return {
        "budget": budget,
        "targets": len(task.searched.targets),
        "controls": len(task.searched.controls),
        "texts": len(task.searched.texts),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "rounds": rounds,
        "same": len({str(one["flips"]) + str(one["fitness"]) for found in rounds for one in found.values()})
        == 1,
        "wire": _wire(bench, task, settings),
    }


def _search(bench: Workbench, task: Task, settings: SearchSettings, hire: Hire) -> dict[str, Any]:
    """Seconds from the baseline to the end, and what was found."""
    gc.collect()
    began = time.process_time()
    *_, finished = run_search(bench.model, bench.tokenizer, task.searched, settings, hire=hire)
    assert isinstance(finished, Finished)
    return {
        "seconds": finished.seconds,
        "evaluations": finished.evaluations,
        "driver_seconds": time.process_time() - began,
        "flips": sorted(map(str, finished.flips)),
        "fitness": finished.fitness,
    }


@contextmanager
def _hired(workers: int) -> Iterator[Hire]:
    """What hires that many workers and waits for the last of them."""
    here = 0

    def tell(event: Staffed) -> None:
        nonlocal here
        here = event.workers

    with staffed(
        Cluster(where=f"local:{workers}", threads=1), ModelSource("nano", True, "cpu", "float32", 1), tell
    ) as hire:

        def hire_all(decoder: Decoder, slices: Sequence[Slice]) -> Crew:
            crew = hire(decoder, slices)
            while here < workers:
                crew.run([ReadPlainly(StreamName(0, False, 0))], lambda found: None)
            return crew

        yield hire_all


def _wire(bench: Workbench, task: Task, settings: SearchSettings) -> dict[str, dict[str, float]]:
    crews: list[Counted] = []

    def hire(decoder: Decoder, slices: Sequence[Slice]) -> Counted:
        crews.append(Counted(alone(decoder, slices)))
        return crews[-1]

    _search(bench, task, settings, hire)
    return crews[0].kinds


def _pace(found: dict[str, Any]) -> float:
    return found["evaluations"] / found["seconds"]


def table(result: dict[str, Any]) -> str:
    rounds = result["rounds"]

    def over(name: str, value: Callable[[dict[str, Any]], float]) -> list[float]:
        return [value(found[name]) for found in rounds]

    def ratio(name: str, base: str) -> list[float]:
        return [_pace(found[name]) / _pace(found[base]) for found in rounds]

    lines = [
        f"{result['targets']} targets, {result['controls']} controls, {result['texts']} neutral texts; guided, "
        f"{result['budget']} evaluations; one thread each, {result['cores']} cores; {len(rounds)} repeats, medians "
        "with ranges.",
        "",
        "| | evaluations per second | to one worker | to one process | CPU seconds of the process itself |",
        "|---|---|---|---|---|",
    ]
    for name in rounds[0]:
        cells = [
            ranged(summary(over(name, _pace))),
            ranged(summary(ratio(name, "1 workers"))),
            ranged(summary(ratio(name, "one process"))),
            ranged(summary(over(name, lambda found: found["driver_seconds"])), 1),
        ]
        lines.append(f"| {name.replace('1 workers', '1 worker')} | {' | '.join(cells)} |")
    two = median(ratio("2 workers", "1 workers"))
    lines += [
        "",
        "| units of one search | number | ms each | kB sent each | kB returned each |",
        "|---|---|---|---|---|",
    ]
    for kind, one in result["wire"].items():
        sent, returned = (one[name] / one["units"] / 1000 for name in ("sent", "returned"))
        milliseconds = one["seconds"] / one["units"] * 1000
        lines.append(
            f"| {UNITS.get(kind, kind)} | {one['units']} | {milliseconds:.1f} | {sent:.1f} | {returned:.1f} |"
        )
    verdict = "meets" if two >= BAR else "misses"
    same = "All ended with the same flips and fitness" if result["same"] else "They did NOT end alike"
    lines += [
        "",
        f"{same}. Two workers are {two:.2f} times as fast as one, which {verdict} the bar of {BAR}.",
    ]
    return "\n".join(lines)
