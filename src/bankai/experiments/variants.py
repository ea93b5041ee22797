"""Guided searches that differ in one setting, judged on the same held-out and unseen probes.

Shared by the experiments on places and on objectives.
"""

from collections.abc import Mapping
from statistics import fmean
from typing import Any

from bankai.evaluation.statistics import percent
from bankai.experiments.context import Context
from bankai.experiments.outcomes import net, over, told
from bankai.experiments.values import Plot, Result, Series, Table
from bankai.jobs.judge import Judge

__all__ = ["broken", "found_with", "gains", "run_variants", "variant_plots", "variant_table"]

BUDGET = 90, 24


def run_variants(context: Context, what: str, variants: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Every variant, settings of the search by name, for every seed."""
    whole = context.load("broad")
    judge = Judge(context.bench, {name: context.some(whole.split(name)) for name in ("heldout", "unseen")})
    seeds, done = [], 0
    for seed in context.seeds:
        task, found = context.usual_task(seed), {}
        for name, settings in variants.items():
            search = context.search(task, context.guided(seed, BUDGET, **settings))
            found[name] = {
                "flips": len(search.flips),
                "evaluations": search.finished.evaluations,
                "seconds": search.finished.seconds,
                **Judge(context.bench, {"targets": task.searched.targets})(search.flips),
                **judge(search.flips),
            }
            done += 1
            context.listen(what, done, len(variants) * len(context.seeds))
        seeds.append({"seed": seed, "found": found})
    return {"seeds": seeds}


def found_with(result: Result, name: str, part: str) -> list[Any]:
    """One part of what a variant found, seed by seed."""
    return [seed["found"][name][part] for seed in result["seeds"]]


def gains(result: Result, name: str) -> list[float]:
    """Net held-out gain of a variant, seed by seed."""
    return [net(one) for one in found_with(result, name, "heldout")]


def broken(result: Result, name: str) -> list[float]:
    """Unseen controls that broke, percent of the solved, seed by seed."""
    return [percent(one["broke"], one["solved"]) for one in found_with(result, name, "unseen")]


def variant_table(result: Result) -> list[Table]:
    """Variants beside one another."""
    rows = [
        [
            name,
            *(over(found_with(result, name, part), 0) for part in ("flips", "evaluations", "seconds")),
            *(
                cell
                for part in ("targets", "heldout", "unseen")
                for cell in told(found_with(result, name, part))
            ),
        ]
        for name in result["seeds"][0]["found"]
    ]
    columns = ["", "flips", "evaluations", "seconds"]
    columns += [
        f"{part} {what} %" for part in ("targets", "held-out", "unseen") for what in ("fixed", "broken")
    ]
    note = (
        f"{len(result['seeds'])} seeds, median and range; percent of the failing fixed, of the solved broken."
    )
    return [Table("Guided search, one setting changed", columns, rows, note)]


def variant_plots(result: Result) -> list[Plot]:
    """Held-out net gain of each."""
    names = list(result["seeds"][0]["found"])
    values = [gains(result, name) for name in names]
    series = Series("held-out", names, *([of(one) for one in values] for of in (fmean, min, max)))
    return [Plot("Held-out net gain: mean and range over the seeds", "", "fixed less broken, %", [series])]
