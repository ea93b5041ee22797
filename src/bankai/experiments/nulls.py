"""Null controls of the headline: patches that chance makes, and searches for answers that are not right.

The headline is a guided patch judged on held-out probes. Its nulls are as many random flips of the same kinds in the
same tensors, and the same search for targets with one another's answers.
"""

from dataclasses import replace
from random import Random
from typing import Any

from bankai.evaluation.statistics import wilson
from bankai.experiments.context import Context
from bankai.experiments.outcomes import changes, gain_claim, told
from bankai.experiments.values import Claim, Experiment, Plot, Result, Series, Table
from bankai.jobs.judge import Judge
from bankai.jobs.task import Task
from bankai.model import ModelMatrices
from bankai.search import matched_flips, shuffled_answers

__all__ = ["EXPERIMENT", "SIGNIFICANT", "claims", "plots", "run", "tables"]

DRAWS, QUICK_DRAWS = 70, 4  # random patches a seed
HELDOUT, UNSEEN = 200, 200
SIGNIFICANT = 0.05  # of all nulls together: each is judged at this over their number (Bonferroni)


def run(context: Context) -> dict[str, Any]:
    whole = context.load("broad")
    sets = {"heldout": context.some(whole.split("heldout"), HELDOUT)}
    sets["unseen"] = context.some(whole.split("unseen"), UNSEEN)
    judge, tensors, seeds = Judge(context.bench, sets), ModelMatrices(context.bench.model), []
    for at, seed in enumerate(context.seeds):
        flips = context.usual_search(seed).flips
        shuffled = context.search(_shuffled(context, seed), context.guided(seed)).flips
        rng = Random(seed)
        matched = [
            judge(matched_flips(flips, tensors, rng), "heldout")["heldout"]
            for _ in range(context.size(DRAWS, QUICK_DRAWS))
        ]
        seeds.append(
            {
                "seed": seed,
                "flips": len(flips),
                "shuffled_flips": len(shuffled),
                "guided": judge(flips),
                "shuffled": judge(shuffled),
                "matched": matched,
            }
        )
        context.listen("nulls", at + 1, len(context.seeds))
    return {"seeds": seeds}


def _shuffled(context: Context, seed: int) -> Task:
    task = context.usual_task(seed)
    targets = shuffled_answers(task.searched.targets, Random(seed))
    return replace(task, searched=replace(task.searched, targets=targets))


def _net(found: Any) -> int:
    return int(found["fixed"] - found["broke"])


def _reached(result: Result) -> tuple[int, int]:
    """Random patches whose net is at least that of the patch they are matched to, and all of them."""
    pairs = [
        (_net(null), _net(seed["guided"]["heldout"])) for seed in result["seeds"] for null in seed["matched"]
    ]
    return sum(null >= real for null, real in pairs), len(pairs)


def claims(result: Result) -> list[Claim]:
    seeds = result["seeds"]
    reached, drawn = _reached(result)
    shuffled = [seed["shuffled"]["heldout"] for seed in seeds]
    nulls = [*(one for seed in seeds for one in seed["matched"]), *shuffled]
    gains = sum(_net(one) > 0 and one["p"] < SIGNIFICANT / len(nulls) for one in nulls)
    return [
        gain_claim(
            "A guided patch fixes more held-out probes than it breaks",
            "5 fixed, 0 broke of 30",
            [seed["guided"]["heldout"] for seed in seeds],
            gains=True,
        ),
        Claim(
            "Random flips of the same kinds in the same tensors do less: share that does as well",
            "no null published",
            f"{reached} of {drawn} random patches",
            reached / drawn,
            wilson(reached, drawn),
            below=0.05,
            p=(1 + reached) / (1 + drawn),
        ),
        Claim(
            "No null gains significantly: random flips and searches for shuffled answers",
            "no null published",
            f"{gains} of {len(nulls)} nulls; shuffled answers: {changes(shuffled)}",
            gains,
            (gains, gains),
            below=0.5,
        ),
    ]


def tables(result: Result) -> list[Table]:
    seeds = result["seeds"]
    kinds = {
        "guided": [seed["guided"] for seed in seeds],
        "shuffled answers": [seed["shuffled"] for seed in seeds],
    }
    rows = [
        [
            name,
            str(len(found)),
            *(cell for part in ("heldout", "unseen") for cell in told([one[part] for one in found])),
        ]
        for name, found in kinds.items()
    ]
    matched = [one for seed in seeds for one in seed["matched"]]
    rows.append(["matched random flips", str(len(matched)), *told(matched), "–", "–"])
    columns = ["patches", "number"]
    columns += [f"{part} {what} %" for part in ("held-out", "unseen") for what in ("fixed", "broken")]
    note = "Median and range, percent of the failing fixed and of the solved broken."
    return [Table("The headline and its nulls", columns, rows, note)]


def plots(result: Result) -> list[Plot]:
    series = []
    for name, values in (
        ("matched random flips", [[_net(one) for one in seed["matched"]] for seed in result["seeds"]]),
        ("shuffled answers", [[_net(seed["shuffled"]["heldout"])] for seed in result["seeds"]]),
        ("guided", [[_net(seed["guided"]["heldout"])] for seed in result["seeds"]]),
    ):
        seeds = [f"seed {seed['seed']}" for seed in result["seeds"]]
        middle = [sum(one) / len(one) for one in values]
        series.append(Series(name, seeds, middle, [min(one) for one in values], [max(one) for one in values]))
    return [Plot("Held-out probes fixed less broken: mean and range", "", "probes", series)]


EXPERIMENT = Experiment(run, claims, tables, plots)
