"""A patch beside LoRA, a steering vector, edited scales and examples in the prompt: the same probes for all."""

from statistics import fmean, median
from typing import Any

from bankai.evaluation.report import Counts
from bankai.experiments.context import Context
from bankai.experiments.outcomes import gain_claim, mean_claim, net, over, told
from bankai.experiments.values import Claim, Experiment, Plot, Result, Series, Table
from bankai.jobs.judge import plain
from bankai.model import ModelMatrices
from bankai.patch import Patch, bind

__all__ = ["EXPERIMENT", "claims", "plots", "run", "tables"]

STEPS, QUICK_STEPS = 60, 5
PATCH, LORA = "patch", "lora-1"
NAMES = (LORA, "lora-2", "lora-4", "lora-8", "scales", "steering", "few-shot")
MEASURES = ("bytes", "make_seconds", "swap_seconds", "tokens_per_second")


def run(context: Context) -> dict[str, Any]:
    from bankai.baselines import PatchBaseline, compare_baselines, measure

    whole, bench = context.load("broad"), context.bench
    sets = {name: context.some(whole.split(name)) for name in ("heldout", "unseen")}
    seeds = []
    for seed in context.seeds:
        search = context.usual_search(seed)
        made = PatchBaseline(bind(Patch(search.flips), ModelMatrices(bench.model)))
        seconds = search.finished.seconds
        outcomes = [measure(PATCH, made, bench.model, bench.tokenizer, sets, make_seconds=seconds)]
        outcomes += compare_baselines(
            bench.model,
            bench.tokenizer,
            context.usual_task(seed).searched,
            sets,
            names=NAMES,
            steps=context.size(STEPS, QUICK_STEPS),
            seed=seed,
            listen=context.listen,
        )
        seeds.append(
            {"seed": seed, "flips": len(search.flips), "found": {one.name: _one(one) for one in outcomes}}
        )
    return {"seeds": seeds}


def _one(outcome: Any) -> dict[str, Any]:
    counts: dict[str, Counts] = outcome.sets
    return {name: plain(found) for name, found in counts.items()} | {
        name: getattr(outcome, name) for name in MEASURES
    }


def _values(result: Result, name: str, measure: str) -> list[Any]:
    return [seed["found"][name][measure] for seed in result["seeds"]]


def claims(result: Result) -> list[Claim]:
    patch, lora = (_values(result, name, "bytes") for name in (PATCH, LORA))
    gains = [
        net(ours) - net(theirs)
        for ours, theirs in zip(
            _values(result, PATCH, "heldout"), _values(result, LORA, "heldout"), strict=True
        )
    ]
    return [
        mean_claim(
            "A patch is about 1 KB: below 1,024 bytes",
            "1,116 B by formula (7.7 kB of JSON)",
            patch,
            " B",
            below=1024.0,
        ),
        mean_claim(
            "A LoRA of rank 1 is over a hundred times larger than a patch",
            "LoRA about 100 MB, patch about 1 KB",
            [theirs / ours for ours, theirs in zip(patch, lora, strict=True)],
            " times",
            above=100.0,
        ),
        mean_claim(
            "A patch goes on in microseconds: below a millisecond, in memory",
            "microseconds (never timed)",
            [1e6 * seconds for seconds in _values(result, PATCH, "swap_seconds")],
            " µs",
            below=1000.0,
        ),
        mean_claim(
            "A patch gains more on held-out probes than a LoRA of rank 1 from the same probes, points",
            "not measured",
            gains,
            " points",
            above=0.0,
        ),
        gain_claim(
            "A LoRA of rank 1 fixes more held-out probes than it breaks",
            "not measured",
            _values(result, LORA, "heldout"),
            gains=True,
        ),
    ]


def tables(result: Result) -> list[Table]:
    rows = [
        [
            name,
            *(cell for part in ("heldout", "unseen") for cell in told(_values(result, name, part))),
            f"{median(_values(result, name, 'bytes')):,.0f}",
            over(_values(result, name, "make_seconds")),
            f"{1e6 * median(_values(result, name, 'swap_seconds')):,.0f}",
            over(_values(result, name, "tokens_per_second"), 0),
        ]
        for name in result["seeds"][0]["found"]
    ]
    columns = ["", *(f"{part} {what} %" for part in ("held-out", "unseen") for what in ("fixed", "broken"))]
    columns += ["bytes", "seconds to make", "µs to swap", "tokens / s"]
    note = (
        f"{len(result['seeds'])} seeds, median and range; the same probes to learn from and to be judged on."
    )
    return [Table("Ways to change answers", columns, rows, note)]


def plots(result: Result) -> list[Plot]:
    names = list(result["seeds"][0]["found"])
    series = []
    for label, part in (("held-out", "heldout"), ("unseen", "unseen")):
        values = [[net(one) for one in _values(result, name, part)] for name in names]
        series.append(Series(label, names, *([of(one) for one in values] for of in (fmean, min, max))))
    return [Plot("Net gain: mean and range over the seeds", "", "fixed less broken, %", series)]


EXPERIMENT = Experiment(run, claims, tables, plots)
