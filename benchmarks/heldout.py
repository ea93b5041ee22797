"""What each strategy finds in the same time, judged on probes that no search reads; and what chance does.

For every seed: guided search with the defaults of the library; the other strategies for as many seconds; guided search
in other places; the two nulls, random flips like those found and a search for shuffled answers. All read the same
draw.
"""

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from random import Random
from statistics import median
from typing import Any

from bankai.jobs.judge import Judge
from bankai.jobs.search import ignore, searched
from bankai.jobs.task import Task
from bankai.jobs.workbench import Workbench
from bankai.model import ModelMatrices, patched
from bankai.patch import Flip, Patch, encode
from bankai.probes import load_probe_set
from bankai.search import Finished, SearchSettings, matched_flips, shuffled_answers
from bankai.search.space import Space
from benchmarks.draw import drawn
from benchmarks.outcomes import broken, by_category, fixed, lost, over, table_of, verdict
from benchmarks.size import FULL, QUICK, Size

__all__ = ["VARIANTS", "Variant", "measure", "run", "table"]

LEAST_FIXED, MOST_BROKEN, MOST_P = 75.0, 2.0, 1e-6  # held-out: percent of failing, percent of solved
MOST_UNSEEN, MOST_LOST = 3.0, 1.0  # percent of the solved unseen controls
MOST_BYTES = 200
SIGNIFICANT = 0.001  # p of a gain that no null should show: 3 seeds of 20 draws make 60 chances


@dataclass(frozen=True)
class Variant:
    """One search; `timed` when it has the seconds that guided search took instead of the budget."""

    name: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    timed: bool = False
    shuffled: bool = False


GUIDED = Variant("guided")
VARIANTS = (
    GUIDED,
    Variant("greedy", {"strategy": "greedy"}, timed=True),
    Variant("random", {"strategy": "random"}, timed=True),
    Variant("shuffled", shuffled=True),
    Variant("attention", {"space": Space(projections=("q_proj", "k_proj", "v_proj", "o_proj"))}),
    Variant("groups", {"space": Space(granularity="group")}),
)
STRATEGIES = ("guided", "greedy", "random")
PLACES = ("guided", "attention", "groups")  # the others on the first seed only: they take most of the time


def run(quick: bool) -> dict[str, Any]:
    size = QUICK if quick else FULL
    bench = Workbench("nano")
    judge = _judge(bench, size)
    searched = size.task(0).searched
    return {
        "perplexity": bench.perplexity(judge.sets["unseen"]),
        "read": {name: len(getattr(searched, name)) for name in ("targets", "controls", "texts")},
        "budget": size.budget,
        "seeds": [_run_seed(judge, size, seed) for seed in size.seeds],
    }


def _judge(bench: Workbench, size: Size) -> Judge:
    whole = drawn(0).whole
    sets = {name: whole.split(name) for name in ("heldout", "unseen")}
    sets["limited"] = load_probe_set("limited").split("heldout")
    sets["fresh"] = load_probe_set("elicitable-fresh").split("heldout")
    return Judge(bench, {name: size.some(probes) for name, probes in sets.items()})


def _run_seed(judge: Judge, size: Size, seed: int) -> dict[str, Any]:
    """All variants of a seed, and random flips matched to those of guided search."""
    task, found, seconds = size.task(seed), {}, 0.0
    for variant in VARIANTS:
        if variant.name in PLACES[1:] and seed != size.seeds[0]:
            continue
        finished, found[variant.name] = measure(judge, task, variant, size.budget, seed, seconds)
        if variant is GUIDED:
            seconds, matched = finished.seconds, _matched(judge, finished.flips, size.draws, seed)
    return {"seed": seed, "variants": found, "matched": matched}


def measure(
    judge: Judge, task: Task, variant: Variant, budget: float, seed: int, seconds: float = 0.0
) -> tuple[Finished, dict[str, Any]]:
    """Search as a variant says, and what it found did; `seconds` is how long a timed variant may take."""
    limits = {"budget": None, "minutes": seconds / 60} if variant.timed else {"budget": budget}
    settings = SearchSettings(seed=seed, **limits, **variant.settings)
    finished = searched(judge.bench, _given(task, variant, seed), settings, ignore)
    result = _result(judge, finished)
    print(
        f"seed {seed}, {variant.name}: {finished.seconds:.0f} s, {len(finished.flips)} flips, held-out "
        f"{fixed(result['heldout']):.0f} % fixed, unseen {broken(result['unseen']):.1f} % broken",
        file=sys.stderr,
        flush=True,
    )
    return finished, result


def _given(task: Task, variant: Variant, seed: int) -> Task:
    """What the search of a variant reads of the task."""
    if not variant.shuffled:
        return task
    given, rng = task.searched, Random(seed)
    targets, validation = (shuffled_answers(part, rng) for part in (given.targets, given.validation))
    return replace(task, searched=replace(given, targets=targets, validation=validation))


def _result(judge: Judge, finished: Finished) -> dict[str, Any]:
    patch = Patch(frozenset(finished.flips))
    with patched(judge.bench.model, patch, unbound=True):
        perplexity = judge.bench.perplexity(judge.sets["unseen"])
    return {
        "flips": len(patch),
        "bytes": len(encode(patch, manifest=False)),
        "fitness": finished.fitness,
        "evaluations": finished.evaluations,
        "seconds": finished.seconds,
        "reason": finished.reason,
        "perplexity": perplexity,
        **by_category(judge.compare(patch.flips)),
    }


def _matched(judge: Judge, flips: Iterable[Flip], draws: int, seed: int) -> list[dict[str, Any]]:
    """What random flips like these do, draw by draw."""
    tensors, rng = ModelMatrices(judge.bench.model), Random(seed)
    return [judge(matched_flips(flips, tensors, rng), "heldout", "unseen") for _ in range(draws)]


# What follows turns a result into text.


def table(result: dict[str, Any]) -> str:
    seeds, read = result["seeds"], result["read"]
    head = (
        f"Medians and ranges over {'one seed' if len(seeds) == 1 else f'{len(seeds)} seeds'}. A search reads "
        f"{read['targets']} targets, {read['controls']} controls and {read['texts']} neutral texts of its draw. "
        "Held-out and unseen probes are the same for all."
    )
    parts = [
        head,
        *_strategies(seeds, result["budget"]),
        *_categories(seeds),
        *_unseen(result),
        *_limited(seeds),
        *_nulls(seeds),
        *_places(seeds[:1]),
    ]
    return "\n\n".join(parts)


def _over(seeds: Sequence[Any], variant: str, value: Callable[[Any], float]) -> list[float]:
    return [value(seed["variants"][variant]) for seed in seeds]


def _row(seeds: Sequence[Any], variant: str) -> list[str]:
    def cell(value: Callable[[Any], float], digits: int = 1) -> str:
        return over(_over(seeds, variant, value), digits)

    return [
        variant,
        cell(lambda one: fixed(one["heldout"])),
        cell(lambda one: broken(one["heldout"])),
        f"{max(_over(seeds, variant, lambda one: one['heldout']['p'])):.0e}",
        cell(lambda one: broken(one["unseen"])),
        cell(lambda one: lost(one["unseen"])),
        cell(lambda one: one["flips"], 0),
        cell(lambda one: one["bytes"], 0),
        cell(lambda one: one["fitness"], 3),
        cell(lambda one: one["evaluations"], 0),
        cell(lambda one: one["seconds"], 0),
    ]


COLUMNS = (
    "held-out fixed %",
    "broken %",
    "largest p",
    "unseen broken %",
    "net lost %",
    "flips",
    "bytes",
    "fitness",
    "evaluations",
    "seconds",
)


def _strategies(seeds: Sequence[Any], budget: float) -> list[str]:
    held = [seed["variants"]["guided"]["heldout"] for seed in seeds]
    largest = max(one["p"] for one in held)
    files = max(_over(seeds, "guided", lambda one: one["bytes"]))
    return [
        f"**Strategies.** `guided` has {budget:g} evaluations, the others its seconds. Percent of the failing that "
        "came right, and of the solved that broke.",
        table_of(("strategy", *COLUMNS), (_row(seeds, name) for name in STRATEGIES)),
        " ".join(
            [
                verdict("Guided, held-out failing fixed", median(map(fixed, held)), LEAST_FIXED, most=False),
                verdict("Held-out solved broken", median(map(broken, held)), MOST_BROKEN, most=True),
                f"McNemar p of every seed: at most {largest:.0e}, bar below {MOST_P:.0e}: "
                f"{'met' if largest < MOST_P else '**missed**'}.",
                verdict("Largest file without its manifest", files, MOST_BYTES, most=True, unit=" bytes"),
            ]
        ),
        _fresh([seed["variants"]["guided"]["fresh"] for seed in seeds]),
    ]


def _fresh(found: Sequence[Any]) -> str:
    """Items that had no part in choosing the defaults of the library, as the held-out ones had."""
    return (
        f"A last look at the same patches of `guided`: {found[0]['failing'] + found[0]['solved']} probes of items that "
        "no other set holds and no trial of ours was judged on, of which the base solves "
        f"{found[0]['solved']}. Fixed {over([fixed(one) for one in found])} %, "
        f"broken {over([broken(one) for one in found])} %."
    )


def _categories(seeds: Sequence[Any]) -> list[str]:
    """Held-out by category."""
    names = list(seeds[0]["variants"]["guided"]["heldout"]["categories"])

    def shares(variant: str, name: str, share: Callable[[Any], float]) -> list[float]:
        return _over(seeds, variant, lambda one: share(one["heldout"]["categories"][name]))

    rows = [
        [
            name,
            over(
                _over(seeds, "guided", lambda one, name=name: one["heldout"]["categories"][name]["failing"]),
                0,
            ),
            *(over(shares(variant, name, fixed)) for variant in STRATEGIES),
            over(shares("guided", name, broken)),
        ]
        for name in names
    ]
    weak = {name: share for name in names if (share := median(shares("guided", name, fixed))) < LEAST_FIXED}
    told = ", ".join(f"{name} ({share:.1f} %)" for name, share in weak.items())
    return [
        "**Held-out by category.** Percent of the failing that came right.",
        table_of(("category", "failing", *STRATEGIES, "guided, solved broken %"), rows),
        f"Below {LEAST_FIXED:g} % with `guided`: {told}."
        if weak
        else f"`guided` fixes at least {LEAST_FIXED:g} % of the failing probes of every category.",
    ]


def _unseen(result: dict[str, Any]) -> list[str]:
    """Controls that no search read, and running text."""
    seeds, base = result["seeds"], result["perplexity"]
    rows = [
        [
            name,
            over(_over(seeds, name, lambda one: one["unseen"]["broke"]), 0),
            over(_over(seeds, name, lambda one: one["unseen"]["fixed"]), 0),
            over(_over(seeds, name, lambda one: one["perplexity"]), 3),
            over(_over(seeds, name, lambda one: 100 * (one["perplexity"] / base - 1))),
        ]
        for name in STRATEGIES
    ]
    found = [seed["variants"]["guided"]["unseen"] for seed in seeds]
    return [
        f"**Unseen controls and running text.** The base solves {found[0]['solved']} of "
        f"{found[0]['solved'] + found[0]['failing']}; its perplexity of running text is {base:.3f}.",
        table_of(("strategy", "broken", "fixed", "perplexity", "higher by %"), rows),
        " ".join(
            [
                verdict("Guided, unseen solved broken", median(map(broken, found)), MOST_UNSEEN, most=True),
                verdict("Net loss", median(map(lost, found)), MOST_LOST, most=True),
            ]
        ),
    ]


def _limited(seeds: Sequence[Any]) -> list[str]:
    """What the model cannot do well at all."""
    rows = [
        [
            name,
            over(_over(seeds, name, lambda one: one["limited"]["fixed"]), 0),
            over(_over(seeds, name, lambda one: one["limited"]["broke"]), 0),
            f"{min(_over(seeds, name, lambda one: one['limited']['p'])):.2g}",
        ]
        for name in STRATEGIES
    ]
    found = [seed["variants"]["guided"]["limited"] for seed in seeds]
    helped, harmed = (
        sum(one["p"] < 0.05 and (one["fixed"] > one["broke"]) is sign for one in found)
        for sign in (True, False)
    )
    return [
        f"**Capability-limited probes**, which the targets do not resemble. The base fails {found[0]['failing']} of "
        f"{found[0]['failing'] + found[0]['solved']}.",
        table_of(("strategy", "fixed", "broken", "smallest p"), rows),
        f"Of {len(seeds)} patches of `guided`, {helped} help here and {harmed} harm (p < 0.05).",
    ]


def _nulls(seeds: Sequence[Any]) -> list[str]:
    """Random flips like those found, and the search for shuffled answers."""
    drawn_ones = [one for seed in seeds for one in seed["matched"]]
    shuffled = [seed["variants"]["shuffled"] for seed in seeds]
    guided = [seed["variants"]["guided"] for seed in seeds]
    kinds = {"guided": guided, "matched random flips": drawn_ones, "shuffled answers": shuffled}
    rows = [
        [
            name,
            str(len(found)),
            over([one["heldout"]["fixed"] for one in found], 0),
            over([one["heldout"]["broke"] for one in found], 0),
            str(sum(map(_gains, found))),
            over([one["unseen"]["broke"] for one in found], 0),
        ]
        for name, found in kinds.items()
    ]
    gaining = {name: sum(map(_gains, found)) for name, found in list(kinds.items())[1:]}
    told = ", ".join(f"{count} of {len(kinds[name])} with {name}" for name, count in gaining.items())
    return [
        "**Nulls.** As many random flips of the same kinds in the same tensors as `guided` found, and `guided` for "
        f"targets with one another's answers. Significant: more fixed than broken, p < {SIGNIFICANT:g}.",
        table_of(
            ("patches", "number", "held-out fixed", "broken", "significant gains", "unseen broken"), rows
        ),
        f"Significant gains by chance: {told}; bar none: {'**missed**' if any(gaining.values()) else 'met'}.",
    ]


def _gains(found: Mapping[str, Any]) -> bool:
    held = found["heldout"]
    return held["fixed"] > held["broke"] and held["p"] < SIGNIFICANT


def _places(seeds: Sequence[Any]) -> list[str]:
    """Other places than rows of the MLP."""

    def middle(name: str, share: Callable[[Any], float]) -> float:
        return median(_over(seeds, name, share))

    base = {
        "held-out fixed": lambda one: fixed(one["heldout"]),
        "unseen broken": lambda one: broken(one["unseen"]),
    }
    told = [
        f"`{name}`: "
        + ", ".join(
            f"{what} {middle(name, of) - middle('guided', of):+.1f} points" for what, of in base.items()
        )
        for name in PLACES[1:]
    ]
    return [
        "**Places.** `guided` flips rows of gate, up and down; `attention` rows of q, k, v and o; `groups` 128 "
        "weights of a row of gate, up and down. The first seed only.",
        table_of(("places", *COLUMNS), (_row(seeds, name) for name in PLACES)),
        f"Against rows of the MLP: {'; '.join(told)}.",
    ]
