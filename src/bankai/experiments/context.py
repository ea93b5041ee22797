"""What an experiment may use: a loaded model, the probe sets for it, seeds, size."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from bankai.evaluation.batches import prepare
from bankai.evaluation.scoring import ProbeScore, score
from bankai.io import writing
from bankai.jobs.search import searched
from bankai.jobs.task import Task
from bankai.jobs.workbench import Workbench
from bankai.patch import Flip
from bankai.probes import Probe, ProbeSet, load_probe_set
from bankai.probes.neutral import load_neutral_texts
from bankai.search import Event, Finished, Joined, SearchSettings
from bankai.search.parts import spread
from bankai.steps import StepListener, ignore_steps

__all__ = ["BONSAI", "BUDGET", "CONTROLS", "NANO", "TARGETS", "TEXTS", "Context", "Search", "Sets"]

T = TypeVar("T")


class Sets(msgspec.Struct, frozen=True):
    """Names of the probe sets and the neutral text for a model.

    `broad` is the one with the most held-out probes and gives the controls of all searches, `many` the one with the
    most targets.
    """

    calculus: str
    arithmetic: str
    broad: str
    many: str
    texts: str


# What a search reads and costs unless an experiment says otherwise: in full, and with `--quick`.
TARGETS = 60, 12
CONTROLS = 60, 10
TEXTS = 20, 2
BUDGET = 120, 40
PUBLISHED_BUDGET = 300, 40

NANO = Sets("calculus", "arithmetic", "elicitable", "elicitable-more", "nano-neutral")
BONSAI = Sets("bonsai-calculus", "bonsai-arithmetic", "bonsai-calculus", "bonsai-calculus", "neutral-en")


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
    """One for all experiments of a run, so that a search which two of them ask for is done once.

    `folder` keeps the cells of experiments that are not done yet; None keeps none.
    """

    bench: Workbench
    sets: Sets
    seeds: tuple[int, ...]
    quick: bool = False
    listen: StepListener = ignore_steps
    found: dict[tuple[Any, ...], Search] = field(default_factory=dict)
    folder: Path | None = None

    def cell(self, name: str, make: Callable[[], Any]) -> Any:
        """What `make` gives, plain JSON values; from the folder of cells where a run that was cut short left it."""
        if self.folder is None:
            return msgspec.to_builtins(make())
        path = self.folder / f"{name.replace(' ', '-')}.json"
        if not path.exists():
            made = msgspec.json.encode(make())
            self.folder.mkdir(parents=True, exist_ok=True)
            with writing(path) as beside:
                beside.write_bytes(made)
        return msgspec.json.decode(path.read_bytes())

    def size(self, full: T, quick: T) -> T:
        """One of the two, as the run was asked."""
        return quick if self.quick else full

    def load(self, kind: str) -> ProbeSet:
        """The set of a kind, such as "calculus"."""
        return load_probe_set(getattr(self.sets, kind))

    def texts(self, count: int) -> tuple[str, ...]:
        """The first neutral texts."""
        return load_neutral_texts(self.sets.texts)[:count]

    def some(self, probes: Sequence[Probe], full: int | None = None, quick: int = 40) -> tuple[Probe, ...]:
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
        broad = self.load("broad")
        whole = Task.of([self.load(kind) for kind in kinds], broad, broad, self.texts(texts))
        if failing:
            scores = self.score(whole.searched.targets)
            pairs = zip(whole.searched.targets, whole.searched.domains, scores, strict=True)
            whole = _of(whole, [(probe, domain) for probe, domain, score in pairs if not score.solved])
        drawn = whole.drawn(targets, controls, seed)
        return replace(drawn, searched=replace(drawn.searched, validation=()))

    def usual_task(self, seed: int) -> Task:
        """Targets and controls of the broad set and neutral texts, as many as usual."""
        targets, controls, texts = (self.size(*pair) for pair in (TARGETS, CONTROLS, TEXTS))
        return self.task(["broad"], targets, controls, seed, texts=texts)

    def guided(self, seed: int, budget: tuple[int, int] | None = None, **settings: Any) -> SearchSettings:
        """Those of a guided search as a user would start it; `budget` in full and quick, as usual when None."""
        return SearchSettings(seed=seed, budget=self.size(*(budget or BUDGET)), **settings)

    def published_loop(self, seed: int) -> SearchSettings:
        """Those of the published search."""
        budget = self.size(*PUBLISHED_BUDGET)
        return SearchSettings(strategy="greedy", penalty=2.0, drift=0.0, budget=budget, seed=seed)

    def usual_search(self, seed: int) -> Search:
        """Guided, on the usual task."""
        return self.search(self.usual_task(seed), self.guided(seed))

    def search(self, task: Task, settings: SearchSettings) -> Search:
        """What a search finds; the model is as before."""
        key = (task.searched, settings)
        if key not in self.found:
            path: list[tuple[float, frozenset[Flip]]] = []

            def keep(label: str, settings: SearchSettings, event: Event) -> None:
                if isinstance(event, Joined):
                    before = path[-1][1] if path else frozenset()
                    path.append((event.evaluations, before.symmetric_difference(event.change)))

            self.found[key] = Search(searched(self.bench, task, settings, keep), tuple(path))
        return self.found[key]


def _of(task: Task, targets: Sequence[tuple[Probe, int]]) -> Task:
    """The task with these targets alone, each with its domain."""
    probes, domains = tuple(probe for probe, _ in targets), tuple(domain for _, domain in targets)
    return replace(task, searched=replace(task.searched, targets=probes, domains=domains))
