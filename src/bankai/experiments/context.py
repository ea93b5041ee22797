"""What an experiment may use: a loaded model, the probe sets for it, seeds, size. Does not know files of results."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import msgspec

from bankai.evaluation.report import Counts
from bankai.evaluation.scoring import ProbeScore, prepare, score
from bankai.jobs.search import searched
from bankai.jobs.steps import StepListener, ignore_steps
from bankai.jobs.task import Task
from bankai.jobs.workbench import Workbench
from bankai.model import patched
from bankai.patch import Flip, Patch
from bankai.probes import Probe, ProbeSet, load_probe_set
from bankai.probes.neutral import load_neutral_texts
from bankai.search import Event, Finished, Joined, SearchSettings
from bankai.search.parts import spread

__all__ = ["BONSAI", "NANO", "Context", "Found", "Judge", "Search", "Sets", "plain"]

T = TypeVar("T")
Found = Mapping[str, Any]
"""Counts of one comparison: see `plain`."""


class Sets(msgspec.Struct, frozen=True):
    """Names of the probe sets and the neutral text for a model; `broad` is the one with the most held-out probes."""

    calculus: str
    arithmetic: str
    broad: str
    texts: str


NANO = Sets("calculus", "arithmetic", "elicitable", "nano-neutral")
BONSAI = Sets("bonsai-calculus", "bonsai-arithmetic", "bonsai-calculus", "neutral-en")


@dataclass(frozen=True)
class Search:
    """What a search found, and the flips after each joint step on its way with the evaluations until then."""

    finished: Finished
    path: tuple[tuple[float, frozenset[Flip]], ...]

    @property
    def flips(self) -> frozenset[Flip]:
        return frozenset(self.finished.flips)


@dataclass
class Context:
    """One for all experiments of a run, so that a search which two of them ask for is done once."""

    bench: Workbench
    sets: Sets
    seeds: tuple[int, ...]
    quick: bool = False
    listen: StepListener = ignore_steps
    found: dict[tuple[Any, ...], Search] = field(default_factory=dict)

    def size(self, full: T, quick: T) -> T:
        """One of the two, as the run was asked."""
        return quick if self.quick else full

    def load(self, kind: str) -> ProbeSet:
        """The set of a kind, such as "calculus"."""
        return load_probe_set(getattr(self.sets, kind))

    def texts(self, count: int) -> tuple[str, ...]:
        """The first neutral texts."""
        return load_neutral_texts(self.sets.texts)[:count]

    def some(self, probes: Sequence[Probe], full: int | None, quick: int) -> tuple[Probe, ...]:
        """The first probes, in equal shares of their categories; None for all."""
        return tuple(probes[index] for index in sorted(spread(probes)[: self.size(full, quick)]))

    def score(self, probes: Sequence[Probe]) -> list[ProbeScore]:
        """Under the bits as they are."""
        return score(self.bench.model, prepare(self.bench.tokenizer, probes))

    def task(
        self,
        kinds: Iterable[str],
        targets: int,
        controls: int,
        seed: int,
        *,
        texts: int = 0,
        failing: bool = False,
    ) -> Task:
        """Random targets, in equal shares of their categories, controls and neutral texts; no validation.

        `failing` keeps only targets that the base fails, as the published patches did.
        """
        whole = Task.of([self.load(kind) for kind in kinds], texts=self.texts(texts))
        if failing:
            scores = self.score(whole.searched.targets)
            pairs = zip(whole.searched.targets, whole.searched.domains, scores, strict=True)
            whole = _of(whole, [(probe, domain) for probe, domain, score in pairs if not score.solved])
        drawn = whole.drawn(targets, controls, seed)
        return replace(drawn, searched=replace(drawn.searched, validation=()))

    def search(self, task: Task, **settings: Any) -> Search:
        """What a search finds; the model is as before."""
        asked = SearchSettings(**settings)
        key = (task.searched, asked)
        if key not in self.found:
            path: list[tuple[float, frozenset[Flip]]] = []

            def keep(label: str, settings: SearchSettings, event: Event) -> None:
                if isinstance(event, Joined):
                    before = path[-1][1] if path else frozenset()
                    path.append((event.evaluations, before.symmetric_difference(event.change)))

            self.found[key] = Search(searched(self.bench, task, asked, keep), tuple(path))
        return self.found[key]


def _of(task: Task, targets: Sequence[tuple[Probe, int]]) -> Task:
    """The task with these targets alone, each with its domain."""
    probes, domains = tuple(probe for probe, _ in targets), tuple(domain for _, domain in targets)
    return replace(task, searched=replace(task.searched, targets=probes, domains=domains))


class Judge:
    """Probes by the name of their set, encoded once and measured once on the base."""

    def __init__(self, bench: Workbench, sets: Mapping[str, Sequence[Probe]]) -> None:
        self.bench = bench
        self.prepared = {name: prepare(bench.tokenizer, probes) for name, probes in sets.items()}
        self.base = {name: self._solved(name) for name in self.prepared}

    def _solved(self, name: str) -> list[bool]:
        return [found.solved for found in score(self.bench.model, self.prepared[name])]

    def __call__(self, flips: Iterable[Flip], *names: str) -> dict[str, dict[str, Any]]:
        """What the flips fix and break in the named sets, all when none is named; see `plain`. The base must be on."""
        with patched(self.bench.model, Patch(frozenset(flips)), unbound=True):
            changed = {name: self._solved(name) for name in names or self.base}
        return {name: plain(Counts.of(self.base[name], after)) for name, after in changed.items()}


def plain(counts: Counts) -> dict[str, Any]:
    """Plain values; `failing` and `solved` are those of the base, `p` is McNemar's."""
    return {
        "failing": counts.probes - counts.base.solved,
        "solved": counts.base.solved,
        "fixed": counts.fixed,
        "broke": counts.broke,
        "p": counts.p_value,
    }
