"""How many known failures a patch for a chat model must be found from, beside LoRA of rank 1."""

from functools import partial
from statistics import fmean
from typing import Any

from bankai.experiments.chat import Chat
from bankai.experiments.chat_changes import FLIPS, LORA, fixed, make
from bankai.experiments.context import Context
from bankai.experiments.outcomes import mean_claim, over
from bankai.experiments.values import Claim, Experiment, Plot, Result, Series, Table

__all__ = ["EXPERIMENT", "claims", "plots", "run", "tables"]

ITEMS = (6, 20, 60, 200), (4, 8)
SETS = ("known", "known rephrased", "new kinds")


def run(context: Context) -> dict[str, Any]:
    chat, seeds = Chat(context), []
    for seed in context.seeds:
        found: dict[str, dict[str, Any]] = {}
        for items in context.size(*ITEMS):
            for way in (FLIPS, LORA):
                name = f"targets-{items}-{seed}-{way}"
                found.setdefault(str(items), {})[way] = context.cell(
                    name, partial(_measured, chat, way, items, seed)
                )
            context.listen(f"targets, seed {seed}", len(found), len(context.size(*ITEMS)))
        seeds.append({"seed": seed, "found": found})
    return {"seeds": seeds}


def _measured(chat: Chat, way: str, items: int, seed: int) -> dict[str, Any]:
    change, made = make(chat, way, chat.probes(items, seed), seed)
    return chat.measured(change) | made


def _values(result: Result, items: str, way: str, name: str) -> list[float]:
    return fixed(seed["found"][items][way][name] for seed in result["seeds"])


def _sizes(result: Result) -> list[str]:
    return list(result["seeds"][0]["found"])


def claims(result: Result) -> list[Claim]:
    few, many = (_values(result, items, FLIPS, "known") for items in (_sizes(result)[0], _sizes(result)[-1]))
    return [
        mean_claim(
            "More targets fix more held-out failures, points from the fewest to the most",
            "not published: true 1-bit models only",
            [more - less for more, less in zip(many, few, strict=True)],
            " points",
            above=0.0,
        )
    ]


def tables(result: Result) -> list[Table]:
    rows = [
        [
            f"{items}, {way}",
            *(over(_values(result, items, way, name)) for name in SETS),
            _drift(result, items, way),
        ]
        for items in _sizes(result)
        for way in (FLIPS, LORA)
    ]
    columns = ["items", *(f"{name}, fixed %" for name in SETS), "drift"]
    note = f"{len(result['seeds'])} seeds, median and range; every item in two phrasings."
    return [Table("By the number of targets", columns, rows, note)]


def _drift(result: Result, items: str, way: str) -> str:
    return over([seed["found"][items][way]["drift"] for seed in result["seeds"]], 3)


def plots(result: Result) -> list[Plot]:
    sizes = _sizes(result)
    series = []
    for way in (FLIPS, LORA):
        values = [_values(result, items, way, "known") for items in sizes]
        x = [float(items) for items in sizes]
        series.append(Series(way, x, *([of(one) for one in values] for of in (fmean, min, max))))
    return [Plot("Known held-out failures fixed", "items to learn from", "fixed, %", series, log_x=True)]


EXPERIMENT = Experiment(run, claims, tables, plots)
