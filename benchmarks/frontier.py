"""Held-out gain against unseen harm along the path of a guided search, for variants of what it asks for.

The variants change what a search is asked for, most of them one default of the library. After a search every patch on
its path is measured on probes and neutral texts that it did not read; nothing of that goes back into a search. Gain is
what comes right of the failing held-out probes, harm what breaks of the unseen controls that the base solves.
"""

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from statistics import median
from typing import Any

from bankai.jobs.judge import Judge
from bankai.jobs.workbench import Workbench
from bankai.model import flip
from bankai.model.decoder import Decoder
from bankai.patch import Flip
from bankai.probes.neutral import load_neutral_texts
from bankai.search import (
    Event,
    Finished,
    Joined,
    Pruned,
    SearchProbes,
    SearchSettings,
    Space,
    Swapped,
    Validated,
    run_search,
)
from bankai.search.parts import join, make_parts
from benchmarks.draw import CONTROLS, drawn
from benchmarks.outcomes import broken, fixed, lost, over, table_of
from benchmarks.size import FULL, QUICK, Size

__all__ = [
    "REFERENCE",
    "VARIANTS",
    "Step",
    "Variant",
    "draw",
    "first_enough",
    "measure",
    "middle_path",
    "run",
    "steps",
    "table",
]

SEEDS, BUDGET = (0,), 160  # seven searches; three seeds to the end would take an hour and a half
LEAST_FIXED, MOST_UNSEEN, MOST_LOST = 75.0, 3.0, 1.0  # percent; the bars of the held-out bench


@dataclass(frozen=True)
class Variant:
    """What a search asks for; `panel` is where it is drawn."""

    name: str
    panel: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    controls: int = CONTROLS


REFERENCE = Variant("defaults")
VARIANTS = (
    REFERENCE,
    Variant("margin loss", "loss of the controls", {"loss": "margin"}),
    Variant("penalty 2", "loss of the controls", {"penalty": 2.0}),
    Variant("no drift", "weight of drift", {"drift": 0.0}),
    Variant("drift 20", "weight of drift", {"drift": 20.0}),
    Variant("120 controls", "controls read", controls=120),
    Variant("groups", "granularity", {"space": Space(granularity="group")}),
)


def run(quick: bool) -> dict[str, Any]:
    size = QUICK if quick else replace(FULL, seeds=SEEDS, budget=BUDGET)
    bench = Workbench("nano")
    judge = _judge(bench, size)
    found: dict[str, list[dict[str, Any]]] = {variant.name: [] for variant in VARIANTS}
    for seed in size.seeds:
        for variant in VARIANTS:
            found[variant.name].append(measure(judge, variant, size, seed))
    defaults = SearchSettings()
    return {
        "defaults": {name: getattr(defaults, name) for name in ("gain", "loss", "penalty", "drift")},
        "budget": size.budget,
        "variants": found,
    }


def _judge(bench: Workbench, size: Size) -> Judge:
    whole = drawn(0).whole
    sets = {name: size.some(whole.split(name)) for name in ("heldout", "unseen")}
    return Judge(bench, sets)


def measure(judge: Judge, variant: Variant, size: Size, seed: int) -> dict[str, Any]:
    """One search: its path, point by point, and its last patch."""
    model, tokenizer = judge.bench.model, judge.bench.tokenizer
    settings = SearchSettings(seed=seed, budget=size.budget, **variant.settings)
    probes = _read(variant, size, settings)
    *path, last = steps(run_search(model, tokenizer, probes, settings))
    drift = _Drift(judge.bench, _other_texts(seed, size))
    points = [_point(judge, drift, step) for step in path]
    final = _point(judge, drift, last)
    print(
        f"seed {seed}, {variant.name}: {last.seconds:.0f} s, {len(last.flips)} flips, held-out "
        f"{fixed(final['heldout']):.0f} % fixed, unseen {broken(final['unseen']):.1f} % broken",
        file=sys.stderr,
        flush=True,
    )
    return {"seed": seed, "path": points, "final": final}


def _read(variant: Variant, size: Size, settings: SearchSettings) -> SearchProbes:
    """What a search reads: texts only where drift counts."""
    searched = size.task(settings.seed, variant.controls).searched
    return replace(searched, texts=searched.texts if settings.drift else ())


def _other_texts(seed: int, size: Size) -> list[str]:
    """Neutral texts that the search of a seed does not read."""
    read = size.task(seed).searched.texts
    others = [text for text in load_neutral_texts("nano-neutral") if text not in read]
    return Random(seed).sample(others, size.texts)


@dataclass(frozen=True)
class Step:
    """The flips after an event."""

    event: str
    flips: frozenset[Flip]
    fitness: float
    evaluations: float
    seconds: float


def steps(events: Iterable[Event]) -> Iterator[Step]:
    """The path of a guided search from its events, the finished one last.

    Changes are on top of the current flips while it climbs, on top of the best ones when it refines: there it has gone
    back to them without an event.
    """
    flips = best = frozenset[Flip]()
    for event in events:
        if isinstance(event, Validated):
            best = flips if event.best else best
            continue
        if isinstance(event, Joined):
            flips = flips ^ frozenset(event.change)
        elif isinstance(event, Pruned | Swapped):
            flips = best = best ^ frozenset(event.change)
        elif isinstance(event, Finished):
            flips = frozenset(event.flips)
        else:
            continue
        yield Step(type(event).__name__, flips, event.fitness, event.evaluations, event.seconds)


class _Drift:
    """Mean KL divergence of the base from a patched model on some texts, in nats per token."""

    def __init__(self, bench: Workbench, texts: Sequence[str]) -> None:
        self.model = bench.model
        self.parts, _ = make_parts(
            Decoder(bench.model), bench.tokenizer, SearchProbes((), texts=tuple(texts))
        )

    def __call__(self, flips: frozenset[Flip]) -> float:
        flip(self.model, flips)
        found = join([part.read_plainly().at(0) for part in self.parts]).drift
        flip(self.model, flips)
        return float(found.mean())


def _point(judge: Judge, drift: _Drift, step: Step) -> dict[str, Any]:
    return {
        "event": step.event,
        "flips": len(step.flips),
        "fitness": step.fitness,
        "evaluations": step.evaluations,
        "seconds": step.seconds,
        "drift": drift(step.flips),
        **judge(step.flips),
    }


# What follows turns a result into text and a figure.


def table(result: dict[str, Any]) -> str:
    found, asked = result["variants"], result["defaults"]
    seeds = len(found[REFERENCE.name])
    rows = [_row(name, searches) for name, searches in found.items()]
    return "\n\n".join(
        [
            f"`{REFERENCE.name}`: {asked['gain']} gain, {asked['loss']} loss with penalty {asked['penalty']:g}, drift "
            f"{asked['drift']:g}, {CONTROLS} controls, rows of the MLP, {result['budget']:g} evaluations; the others "
            f"change what they are named after. Medians and ranges over {seeds} {'seed' if seeds == 1 else 'seeds'}.",
            "![held-out gain against unseen harm along the path of each search](frontier.svg)",
            table_of(HEADER, rows),
            " ".join(_told(found)),
        ]
    )


HEADER = (
    "variant",
    "held-out fixed %",
    "held-out broken %",
    "unseen broken %",
    "net lost %",
    "drift",
    "flips",
    f"seeds that reach {LEAST_FIXED:g} %",
    "then unseen broken %",
    "flips",
    "evaluations",
)


def _row(name: str, searches: Sequence[Any]) -> list[str]:
    finals = [one["final"] for one in searches]
    first = [point for one in searches if (point := first_enough(one["path"])) is not None]

    def early(value: Callable[[Any], float], digits: int = 1) -> str:
        return over([value(point) for point in first], digits) if first else "–"

    return [
        name,
        over([fixed(one["heldout"]) for one in finals]),
        over([broken(one["heldout"]) for one in finals]),
        over([broken(one["unseen"]) for one in finals]),
        over([lost(one["unseen"]) for one in finals]),
        over([one["drift"] for one in finals], 3),
        over([one["flips"] for one in finals], 0),
        f"{len(first)} of {len(searches)}",
        early(lambda one: broken(one["unseen"])),
        early(lambda one: one["flips"], 0),
        early(lambda one: one["evaluations"], 0),
    ]


def first_enough(path: Sequence[Any]) -> Any | None:
    """The first point of a path that fixes enough."""
    return next((point for point in path if fixed(point["heldout"]) >= LEAST_FIXED), None)


def _told(found: Mapping[str, Sequence[Any]]) -> Iterator[str]:
    """Which variants meet the bars with their last patch, and which of those that gain enough harms least."""

    def middle(name: str, value: Callable[[Any], float]) -> float:
        return median(value(one["final"]) for one in found[name])

    gain = {name: middle(name, lambda one: fixed(one["heldout"])) for name in found}
    harm = {name: middle(name, lambda one: broken(one["unseen"])) for name in found}
    net = {name: middle(name, lambda one: lost(one["unseen"])) for name in found}
    enough = [name for name in found if gain[name] >= LEAST_FIXED]
    good = [name for name in enough if harm[name] <= MOST_UNSEEN and net[name] <= MOST_LOST]
    bars = (
        f"at least {LEAST_FIXED:g} % fixed, at most {MOST_UNSEEN:g} % of the solved unseen controls broken and "
        f"{MOST_LOST:g} % lost net"
    )
    yield f"Medians of the last patches that meet all bars ({bars}): {', '.join(good) or 'none'}."
    if enough:
        least = min(enough, key=harm.__getitem__)
        yield (
            f"Of those that fix enough, {least} breaks the fewest unseen controls: {harm[least]:.1f} %, and fixes "
            f"{gain[least]:.1f} %; the defaults break {harm[REFERENCE.name]:.1f} % and fix "
            f"{gain[REFERENCE.name]:.1f} %."
        )
    if short := [name for name in found if name not in enough]:
        yield "Too little is fixed with " + ", ".join(f"{name} ({gain[name]:.1f} %)" for name in short) + "."


def middle_path(searches: Sequence[Any]) -> list[tuple[float, float]]:
    """Harm and gain, medians over the seeds, after each round of climbing that all of them reached; from nothing."""
    climbs = [[point for point in one["path"] if point["event"] == "Joined"] for one in searches]
    rounds = zip(*climbs, strict=False)
    return [(0.0, 0.0), *(_middle(points) for points in rounds)]


def _middle(points: Iterable[Any]) -> tuple[float, float]:
    pairs = [(broken(point["unseen"]), fixed(point["heldout"])) for point in points]
    harm, gain = zip(*pairs, strict=True)
    return median(harm), median(gain)


INK = "#808891"  # readable on white and on black
COLORS = ("#3a8fdc", "#e0812a", "#b45fd0", "#3aa07a")


def draw(result: dict[str, Any], out: Path) -> None:
    """One panel for each thing that variants change, the defaults in all; needs matplotlib."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    found = result["variants"]
    panels = list(dict.fromkeys(variant.panel for variant in VARIANTS if variant.panel))
    style = {
        "svg.hashsalt": "bankai",
        "font.size": 9,
        **dict.fromkeys(
            ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), INK
        ),
    }
    with mpl.rc_context(style):
        figure = Figure(figsize=(8, 6), layout="constrained")
        grid = figure.subplots(2, 2, sharex=True, sharey=True)
        for axes, panel in zip(grid.flat, panels, strict=True):
            members = [variant.name for variant in VARIANTS if variant.panel == panel]
            _draw_bars(axes)
            for name, color in zip([REFERENCE.name, *members], (INK, *COLORS), strict=False):
                _draw_variant(axes, name, found[name], color)
            axes.set_title(panel, fontsize=9)
            axes.legend(frameon=False, fontsize=8, loc="lower right")
        figure.supxlabel("unseen solved controls broken, %", fontsize=9)
        figure.supylabel("held-out failing probes fixed, %", fontsize=9)
        figure.savefig(out, transparent=True, metadata={"Date": None})


def _draw_bars(axes: Any) -> None:
    axes.axhline(LEAST_FIXED, color=INK, linewidth=0.6, linestyle=":")
    axes.axvline(MOST_UNSEEN, color=INK, linewidth=0.6, linestyle=":")
    axes.spines[["top", "right"]].set_visible(False)


def _draw_variant(axes: Any, name: str, searches: Sequence[Any], color: str) -> None:
    """The path as a line, the last patch as a dot."""
    harm, gain = zip(*middle_path(searches), strict=True)
    axes.plot(harm, gain, color=color, linewidth=1.3, label=name)
    axes.plot(*_middle(one["final"] for one in searches), "o", color=color, markersize=5)
