"""Experiment 8: what a patch does to all it was not made for: word problems in full text, other skills, running text.

Word problems are answered by greedy generation and read as a user would, the first line; everything else is scored.
"""

from collections.abc import Sequence
from typing import Any

from bankai.evaluation.report import Counts
from bankai.evaluation.statistics import percent
from bankai.experiments.context import Context
from bankai.experiments.outcomes import changes, gain_claim, mean_claim, over, told
from bankai.experiments.values import Claim, Experiment, Plot, Result, Series, Table
from bankai.jobs.judge import Judge, plain
from bankai.model import patched
from bankai.patch import Patch
from bankai.probes import Probe

__all__ = ["EXPERIMENT", "answered", "claims", "plots", "run", "tables"]

PROBLEMS, QUICK_PROBLEMS = 50, 6
WORDS = "word_problem"


def run(context: Context) -> dict[str, Any]:
    unseen = context.some(context.load("broad").split("unseen"))
    problems = _problems(context)
    judge = Judge(context.bench, {"unseen": unseen, "arithmetic": _arithmetic(context)})
    before, right, seeds = context.bench.perplexity(unseen), answered(context, problems), []
    for at, seed in enumerate(context.seeds):
        flips = context.usual_search(seed).flips
        with patched(context.bench.model, Patch(flips), unbound=True):
            text, replies = context.bench.perplexity(unseen), answered(context, problems)
        counts = plain(Counts.of(right, replies))
        found = {
            "word problems, generated": counts,
            **judge(flips),
            "perplexity": 100 * (text / before - 1),
        }
        seeds.append({"seed": seed, "flips": len(flips), **found})
        context.listen("general ability", at + 1, len(context.seeds))
    return {"perplexity": before, "seeds": seeds}


def _arithmetic(context: Context) -> tuple[Probe, ...]:
    return context.some(context.load("arithmetic").split("heldout"))


def _problems(context: Context) -> tuple[Probe, ...]:
    """Word problems, or all of arithmetic where a set has none."""
    heldout = context.load("arithmetic").split("heldout")
    words = [probe for probe in heldout if probe.category == WORDS] or heldout
    return context.some(words, PROBLEMS, QUICK_PROBLEMS)


def answered(context: Context, probes: Sequence[Probe]) -> list[bool]:
    """Whether the first line that the model writes is a right answer."""
    return [
        context.bench.reply(probe) in {f"{answer}".split("\n")[0].strip() for answer in probe.answers}
        for probe in probes
    ]


PARTS = ("word problems, generated", "arithmetic", "unseen")


def claims(result: Result) -> list[Claim]:
    seeds = result["seeds"]
    unseen = [seed["unseen"] for seed in seeds]
    return [
        gain_claim(
            "A patch for other problems raises word problems, in generated text",
            "GSM8K 11 to 14 of 50 without the chat template (42 of 50 with it)",
            [seed[PARTS[0]] for seed in seeds],
            gains=True,
        ),
        mean_claim(
            "General ability is safe: unseen controls lost net, below 1 % of the solved",
            "controls held; no loss on GSM8K",
            [percent(one["broke"] - one["fixed"], one["solved"]) for one in unseen],
            " %",
            below=1.0,
        ),
        mean_claim(
            "Perplexity of running text rises by less than 2 %",
            "random flips: below 1 %",
            [seed["perplexity"] for seed in seeds],
            " %",
            below=2.0,
        ),
    ]


def tables(result: Result) -> list[Table]:
    seeds = result["seeds"]
    rows = [
        [part, changes([seed[part] for seed in seeds]), *told([seed[part] for seed in seeds])]
        for part in PARTS
    ]
    text = over([seed["perplexity"] for seed in seeds], 2)
    note = f"Perplexity of running text: {result['perplexity']:.3f}, with the patch {text} % more."
    return [Table("What the patch was not made for", ["", "counts", "fixed %", "broken %"], rows, note)]


def plots(result: Result) -> list[Plot]:
    seeds = result["seeds"]
    series = [
        Series(
            what,
            PARTS,
            *([of([seed[part][what] for seed in seeds]) for part in PARTS] for of in (_mean, min, max)),
        )
        for what in ("fixed", "broke")
    ]
    return [Plot("What the patch was not made for: mean and range over the seeds", "", "probes", series)]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


EXPERIMENT = Experiment(run, claims, tables, plots)
