"""Where the flips of a chat model's patch may be and how many there may be, beside LoRA of rank 1."""

from functools import partial
from typing import Any

from bankai.experiments.chat import Chat
from bankai.experiments.chat_changes import FLIPS, LORA, fixed, make_patch
from bankai.experiments.chat_elicitation import ITEMS, SETS, elicited, frontiers, of
from bankai.experiments.context import Context
from bankai.experiments.outcomes import mean_claim, over
from bankai.experiments.values import Claim, Experiment, Result, Table
from bankai.jobs.chat_settings import CHAT_SPACE
from bankai.search import Space

__all__ = ["EXPERIMENT", "claims", "run", "tables"]

GROUPS = Space(projections=CHAT_SPACE.projections, granularity="group")
MOST = "1,000 groups"
VARIANTS: dict[str, dict[str, Any]] = {
    "MLP rows": {"space": Space()},
    "attention rows": {"space": Space(projections=("q_proj", "k_proj", "v_proj", "o_proj"))},
    "400 rows": {"flips": 400},
    "groups": {"space": GROUPS},
    "400 groups": {"space": GROUPS, "flips": 400},
    MOST: {"space": GROUPS, "flips": 1000},
}


def run(context: Context) -> dict[str, Any]:
    chat, seeds = Chat(context), []
    for seed in context.seeds:
        found = {way: elicited(chat, way, seed) for way in (FLIPS, LORA)}
        for at, name in enumerate(VARIANTS):
            found[name] = context.cell(f"places-{seed}-{name}", partial(_measured, chat, name, seed))
            context.listen(f"places, seed {seed}", at + 1, len(VARIANTS))
        seeds.append({"seed": seed, "found": found})
    return {"seeds": seeds}


def _measured(chat: Chat, name: str, seed: int) -> dict[str, Any]:
    probes = chat.probes(chat.context.size(*ITEMS), seed)
    change, made = make_patch(chat.context, probes, seed, name, **VARIANTS[name])
    return chat.measured(change) | made | {"count": len(made["flips"])}


def claims(result: Result) -> list[Claim]:
    most, lora = (fixed(of(result, way, "known")) for way in (MOST, LORA))
    return [
        mean_claim(
            f"{MOST} fix at least 0.9 times as many known failures as LoRA of rank 1",
            "not published: true 1-bit models only",
            [ours / max(theirs, 1e-9) for ours, theirs in zip(most, lora, strict=True)],
            " times",
            above=0.9,
        )
    ]


def tables(result: Result) -> list[Table]:
    rows = [
        [
            way,
            *(over(fixed(of(result, way, name))) for name in SETS),
            over(of(result, way, "drift"), 3),
            over(of(result, way, "bytes"), 0),
        ]
        for way in result["seeds"][0]["found"]
    ]
    columns = ["", *(f"{name}, fixed %" for name in SETS), "drift", "bytes"]
    note = f"{len(result['seeds'])} seeds, median and range; at most 120 flips where no number is named."
    return [Table("By place and number of flips", columns, rows, note)]


EXPERIMENT = Experiment(run, claims, tables, frontiers)
