"""How many flips carry the effect of a patch: the most useful first, judged on held-out probes as they are added."""

from collections.abc import Iterable
from itertools import accumulate
from typing import Any

from bankai.experiments.context import Context
from bankai.experiments.outcomes import mean_claim, net
from bankai.experiments.values import Claim, Experiment, Plot, Result, Series, Table
from bankai.jobs.judge import Judge
from bankai.patch import Flip
from bankai.search import Problem, SearchProbes, SearchSettings

__all__ = ["EXPERIMENT", "claims", "needed", "ordered", "plots", "run", "tables"]

HELDOUT, UNSEEN = 200, 200
MOST = 0.9  # of the gain


def run(context: Context) -> dict[str, Any]:
    whole = context.load("broad")
    sets = {"heldout": context.some(whole.split("heldout"), HELDOUT)}
    sets["unseen"] = context.some(whole.split("unseen"), UNSEEN)
    judge, seeds = Judge(context.bench, sets), []
    for at, seed in enumerate(context.seeds):
        flips = context.usual_search(seed).flips
        order = ordered(context, context.usual_task(seed).searched, flips)
        curve = [judge(some) for some in _prefixes(order)]
        seeds.append({"seed": seed, "curve": curve})
        context.listen("pruning", at + 1, len(context.seeds))
    return {"seeds": seeds}


def ordered(context: Context, probes: SearchProbes, flips: frozenset[Flip]) -> list[Flip]:
    """Greedily: each time the flip after which the fitness on the search's own probes is highest."""
    order: list[Flip] = []
    with Problem(context.bench.model, context.bench.tokenizer, probes, SearchSettings()) as problem:
        while left := sorted(flips - set(order)):
            fitness = problem.measure([frozenset([flip]) for flip in left])
            order.append(left[max(range(len(left)), key=fitness.__getitem__)])
            problem.move_to(order)
    return order


def _prefixes(order: Iterable[Flip]) -> list[frozenset[Flip]]:
    """Nothing, the first, the first two, ..., all."""
    return list(accumulate((frozenset([flip]) for flip in order), frozenset.union, initial=frozenset[Flip]()))


def needed(curve: list[Any]) -> int:
    """The fewest flips with `MOST` of the held-out net gain of all."""
    values = [net(step["heldout"]) for step in curve]
    return next(count for count, value in enumerate(values) if value >= MOST * values[-1])


def claims(result: Result) -> list[Claim]:
    shares = [100 * needed(seed["curve"]) / max(1, len(seed["curve"]) - 1) for seed in result["seeds"]]
    return [
        mean_claim(
            f"Less than half of the flips carry {MOST:.0%} of the held-out gain",
            "not measured; 70 to 93 flips a patch",
            shares,
            " % of the flips",
            below=50.0,
        )
    ]


def tables(result: Result) -> list[Table]:
    rows = [
        [
            f"seed {seed['seed']}",
            str(len(seed["curve"]) - 1),
            str(needed(seed["curve"])),
            f"{net(seed['curve'][needed(seed['curve'])]['heldout']):.1f}",
            f"{net(seed['curve'][-1]['heldout']):.1f}",
            str(seed["curve"][-1]["unseen"]["broke"]),
        ]
        for seed in result["seeds"]
    ]
    columns = [
        "",
        "flips",
        f"needed for {MOST:.0%}",
        "their net gain %",
        "net gain of all %",
        "unseen broken",
    ]
    return [Table("How many flips carry the effect", columns, rows)]


def plots(result: Result) -> list[Plot]:
    series = [
        Series(
            f"seed {seed['seed']}, {name}",
            range(len(seed["curve"])),
            [net(step[part]) for step in seed["curve"]],
        )
        for seed in result["seeds"]
        for name, part in (("held-out", "heldout"), ("unseen", "unseen"))
    ]
    return [
        Plot("Net gain as flips are added, the most useful first", "flips", "fixed less broken, %", series)
    ]


EXPERIMENT = Experiment(run, claims, tables, plots)
