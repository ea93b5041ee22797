"""Patches from six failing probes, as published: what they do to these six and to new prompts of the same kind.

Two searches read the same probes: the published loop with its 300 evaluations, and guided search with fewer. Shared by
the experiments on arithmetic and calculus.
"""

from collections.abc import Sequence
from typing import Any

from bankai.experiments.context import Context
from bankai.experiments.outcomes import over, told
from bankai.experiments.values import Plot, Result, Series, Table
from bankai.jobs.judge import Judge

__all__ = ["GUIDED", "LOOP", "SEARCHES", "SIX", "found_by", "run_small", "small_plots", "small_table"]

SIX = 6
LOOP, GUIDED = "published loop", "guided"
SEARCHES = LOOP, GUIDED


def run_small(context: Context, kind: str, controls: int) -> dict[str, Any]:
    """For every seed and search: flips, work, the six targets, held-out probes of the kind, unseen controls."""
    whole = context.load(kind)
    sets = {name: context.some(whole.split(name)) for name in ("heldout", "unseen")}
    shared, seeds = Judge(context.bench, sets), []
    for at, seed in enumerate(context.seeds):
        task = context.task([kind], SIX, controls, seed, failing=True)
        targets = Judge(context.bench, {"targets": task.searched.targets})
        found = {}
        for name, settings in ((LOOP, context.published_loop(seed)), (GUIDED, context.guided(seed))):
            search = context.search(task, settings)
            found[name] = {
                "flips": len(search.flips),
                "evaluations": search.finished.evaluations,
                "seconds": search.finished.seconds,
                **targets(search.flips),
                **shared(search.flips),
            }
        seeds.append({"seed": seed, "found": found})
        context.listen(f"{kind} patches", at + 1, len(context.seeds))
    return {"kind": kind, "controls": controls, "seeds": seeds}


def found_by(result: Result, search: str, part: str) -> list[Any]:
    """One part of what a search found, seed by seed."""
    return [one["found"][search][part] for one in result["seeds"]]


def small_table(result: Result) -> list[Table]:
    """Searches beside one another."""
    rows = [
        [
            name,
            over(found_by(result, name, "flips"), 0),
            over(found_by(result, name, "evaluations"), 0),
            over(found_by(result, name, "seconds"), 0),
            *(
                cell
                for part in ("targets", "heldout", "unseen")
                for cell in told(found_by(result, name, part))
            ),
        ]
        for name in SEARCHES
    ]
    columns = ["search", "flips", "evaluations", "seconds"]
    columns += [
        f"{part} {what} %" for part in ("targets", "held-out", "unseen") for what in ("fixed", "broken")
    ]
    heldout = result["seeds"][0]["found"][GUIDED]["heldout"]
    note = (
        f"{SIX} failing targets and {result['controls']} controls a seed; {len(result['seeds'])} seeds, median and "
        f"range. {heldout['failing'] + heldout['solved']} held-out prompts of the same categories."
    )
    return [Table("What six probes teach", columns, rows, note)]


def small_plots(result: Result) -> list[Plot]:
    """Held-out changes of each seed."""
    seeds: Sequence[str] = [f"seed {one['seed']}" for one in result["seeds"]]
    series = [
        Series(f"{name}: {what}", seeds, [one[what] for one in found_by(result, name, "heldout")])
        for name in SEARCHES
        for what in ("fixed", "broke")
    ]
    return [Plot("New prompts that a patch of six probes fixes and breaks", "", "held-out probes", series)]
