"""Experiments 6 and 12: what the number of training probes does to probes that no search read.

Guided search on more and more targets of the same draw, and the published loop on sixty; beside the number the held-out
share along the path of a search.
"""

from collections.abc import Sequence
from typing import Any

from bankai.experiments.context import CONTROLS, TEXTS, Context
from bankai.experiments.outcomes import gain_claim, mean_claim, net, over, told
from bankai.experiments.values import Claim, Experiment, Plot, Result, Series, Table
from bankai.jobs.judge import Judge
from bankai.jobs.task import Task
from bankai.probes import Split
from bankai.search import SearchSettings

__all__ = ["EXPERIMENT", "claims", "plots", "run", "tables"]

SIZES = (6, 20, 60, 200, 600), (6, 12)
PUBLISHED_SIZE = 60
PARTS: tuple[Split, ...] = ("heldout", "unseen")


def run(context: Context) -> dict[str, Any]:
    whole = context.load("broad")
    judge = Judge(context.bench, {name: context.some(whole.split(name)) for name in PARTS})
    sizes, seeds = _sizes(context), []
    for at, seed in enumerate(context.seeds):
        guided = [_one(context, judge, _task(context, size, seed), context.guided(seed)) for size in sizes]
        loop = _one(context, judge, context.usual_task(seed), context.published_loop(seed))
        seeds.append({"seed": seed, "guided": guided, "loop": loop})
        context.listen("generalization", at + 1, len(context.seeds))
    return {"sizes": sizes, "seeds": seeds}


def _sizes(context: Context) -> list[int]:
    """Those for which there are targets."""
    available = len(context.load("many").split("target"))
    return [size for size in context.size(*SIZES) if size <= available]


def _task(context: Context, targets: int, seed: int) -> Task:
    controls, texts = context.size(*CONTROLS), context.size(*TEXTS)
    return context.task(["many"], targets, controls, seed, texts=texts)


def _one(context: Context, judge: Judge, task: Task, settings: SearchSettings) -> dict[str, Any]:
    search = context.search(task, settings)
    targets = Judge(context.bench, {"targets": task.searched.targets})
    path = [
        {"evaluations": evaluations, "flips": len(flips), **judge(flips, "heldout")}
        for evaluations, flips in search.path
    ]
    return {
        "targets_read": len(task.searched.targets),
        "flips": len(search.flips),
        "evaluations": search.finished.evaluations,
        "seconds": search.finished.seconds,
        "path": path,
        **targets(search.flips),
        **judge(search.flips),
    }


def _column(result: Result, index: int, part: str) -> list[Any]:
    """Of guided search with the index-th number of targets, seed by seed."""
    return [seed["guided"][index][part] for seed in result["seeds"]]


def claims(result: Result) -> list[Claim]:
    sizes: Sequence[int] = result["sizes"]
    loop = result["seeds"][0]["loop"]
    middle = sizes.index(PUBLISHED_SIZE) if PUBLISHED_SIZE in sizes else len(sizes) - 1
    more = [
        net(most) - net(least)
        for most, least in zip(_column(result, -1, "heldout"), _column(result, 0, "heldout"), strict=True)
    ]
    return [
        gain_claim(
            f"A patch from {sizes[middle]} probes fixes more held-out probes than it breaks (guided)",
            "78 flips: 14 to 19 of 30, 5 fixed, 0 broke, p = 0.06",
            _column(result, middle, "heldout"),
            gains=True,
        ),
        gain_claim(
            f"The published loop on {loop['targets_read']} probes is net negative on held-out ones",
            "93 flips: first 13 to 17 of 30, corrected to 2 fixed, 3 broke",
            [seed["loop"]["heldout"] for seed in result["seeds"]],
            gains=False,
        ),
        mean_claim(
            f"{sizes[-1]} probes generalize better than {sizes[0]}: net held-out gain, points more",
            "6 probes: -13 of 90; 60 probes: +5 of 30: 31 points",
            more,
            " points",
            above=0.0,
        ),
    ]


def tables(result: Result) -> list[Table]:
    kinds = {f"guided, {size}": _all(result, index) for index, size in enumerate(result["sizes"])}
    kinds["published loop"] = [seed["loop"] for seed in result["seeds"]]
    rows = [
        [
            name,
            *(over([one[part] for one in found], 0) for part in ("flips", "evaluations", "seconds")),
            *(cell for part in ("targets", *PARTS) for cell in told([one[part] for one in found])),
        ]
        for name, found in kinds.items()
    ]
    columns = ["search, targets", "flips", "evaluations", "seconds"]
    columns += [
        f"{part} {what} %" for part in ("targets", "held-out", "unseen") for what in ("fixed", "broken")
    ]
    note = (
        f"{len(result['seeds'])} seeds, median and range; percent of the failing fixed, of the solved broken."
    )
    return [Table("By the number of training probes", columns, rows, note)]


def _all(result: Result, index: int) -> list[Any]:
    return [seed["guided"][index] for seed in result["seeds"]]


def plots(result: Result) -> list[Plot]:
    sizes: Sequence[int] = result["sizes"]
    by_size = []
    for name, part in (("targets read", "targets"), ("held-out", "heldout"), ("unseen controls", "unseen")):
        values = [[net(one) for one in _column(result, index, part)] for index in range(len(sizes))]
        middle = [sum(one) / len(one) for one in values]
        by_size.append(
            Series(name, sizes, middle, [min(one) for one in values], [max(one) for one in values])
        )
    seed = result["seeds"][0]
    paths = [
        Series(
            f"{size} targets",
            [0, *(step["flips"] for step in one["path"])],
            [0, *(net(step["heldout"]) for step in one["path"])],
        )
        for size, one in zip(sizes, seed["guided"], strict=True)
    ]
    axis = "fixed less broken, % of the probes"
    return [
        Plot(
            "Net gain by number of training probes (guided): mean and range",
            "training probes",
            axis,
            by_size,
            log_x=True,
        ),
        Plot(f"Held-out net gain along the search, seed {seed['seed']}", "flips", axis, paths),
    ]


EXPERIMENT = Experiment(run, claims, tables, plots)
