"""What a patch elicits from a chat model, and what it costs, beside other ways to change answers and beside chance."""

from functools import partial
from statistics import fmean, median
from typing import Any

from bankai.evaluation.statistics import percent
from bankai.experiments.chat import Chat
from bankai.experiments.chat_changes import FLIPS, LORA, WAYS, fixed, make
from bankai.experiments.context import Context
from bankai.experiments.outcomes import mean_claim, over
from bankai.experiments.values import Claim, Experiment, Plot, Result, Series, Table

__all__ = ["EXPERIMENT", "ITEMS", "SETS", "claims", "elicited", "frontiers", "of", "plots", "run", "tables"]

ITEMS = 200, 6  # targets of a search, in full and quick
SETS = ("known", "unknown", "known rephrased", "new kinds")


def run(context: Context) -> dict[str, Any]:
    chat = Chat(context)
    seeds = []
    for seed in context.seeds:
        found = {}
        for at, way in enumerate(WAYS):
            found[way] = elicited(chat, way, seed)
            context.listen(f"elicitation, seed {seed}", at + 1, len(WAYS))
        seeds.append({"seed": seed, "found": found})
    return {"seeds": seeds, "items": context.size(*ITEMS), "formats": chat.formats}


def elicited(chat: Chat, way: str, seed: int) -> dict[str, Any]:
    """What one of the ways does and costs; a cell of its own."""
    return dict(chat.context.cell(f"elicitation-{seed}-{way}", partial(_measured, chat, way, seed)))


def _measured(chat: Chat, way: str, seed: int) -> dict[str, Any]:
    probes = chat.probes(chat.context.size(*ITEMS), seed)
    change, made = make(chat, way, probes, seed)
    return chat.measured(change) | made


def of(result: Result, way: str, name: str) -> list[Any]:
    """One figure of a way, seed by seed."""
    return [seed["found"][way][name] for seed in result["seeds"]]


def _lost(result: Result, way: str) -> list[float]:
    return [percent(one["broke"], one["asked"]) for one in of(result, way, "knowledge")]


def claims(result: Result) -> list[Claim]:
    known, unknown = (fixed(of(result, FLIPS, name)) for name in ("known", "unknown"))
    lora = fixed(of(result, LORA, "known"))
    ratio = [ours / max(theirs, 1e-9) for ours, theirs in zip(known, lora, strict=True)]
    apart = [one - other for one, other in zip(known, unknown, strict=True)]
    none = "not published: true 1-bit models only"
    return [
        mean_claim(
            "Flips fix at least half of the known held-out failures, %", none, known, " %", above=50.0
        ),
        mean_claim(
            "Flips fix at least 0.9 times as many of them as LoRA of rank 1", none, ratio, " times", above=0.9
        ),
        mean_claim(
            "Flips fix more of what is known than of what is unknown: 25 points",
            none,
            apart,
            " points",
            above=25.0,
        ),
        mean_claim(
            "Of the knowledge questions that the base gets right at most 5 % break",
            none,
            _lost(result, FLIPS),
            " %",
            below=5.0,
        ),
        mean_claim(
            "A patch is at most 250 bytes without its manifest",
            none,
            of(result, FLIPS, "bytes"),
            " B",
            below=251.0,
        ),
    ]


def tables(result: Result) -> list[Table]:
    ways = list(result["seeds"][0]["found"])
    rows = [
        [
            way,
            *(over(fixed(of(result, way, name))) for name in SETS),
            over(_lost(result, way)),
            over(of(result, way, "drift"), 3),
            over(of(result, way, "length"), 2),
            over(of(result, way, "formats"), 0),
            f"{median(of(result, way, 'bytes')):,.0f}",
            over(of(result, way, "seconds"), 0),
        ]
        for way in ways
    ]
    columns = ["", *(f"{name}, fixed %" for name in SETS)]
    columns += ["knowledge broken %", "drift", "length of replies", "forms right", "bytes", "seconds to make"]
    count = {name: of(result, FLIPS, name)[0]["failing"] for name in SETS}
    sizes = ", ".join(f"{size} {name}" for name, size in count.items())
    formats = result["formats"]
    note = (
        f"{len(result['seeds'])} seeds, median and range; {result['items']} items to learn from, in two phrasings. "
        f"Failing probes: {sizes}. Drift in nats a token on replies that nothing read; "
        "length in those of the base's replies. Forms: JSON with given keys and answers in capitals, of which the base "
        f"gives {formats['right']} of {formats['asked']}."
    )
    return [Table("A chat model's short answers", columns, rows, note), _kinds(result, ways)]


def _kinds(result: Result, ways: list[str]) -> Table:
    kinds = list(of(result, FLIPS, "known")[0]["kinds"])
    rows = []
    for kind in kinds:
        cells = [[seed["kinds"][kind] for seed in of(result, way, "known")] for way in ways]
        rows.append([kind, str(cells[0][0]["failing"]), *(over(fixed(found)) for found in cells)])
    return Table("Known held-out failures fixed, % by kind", ["", "failing", *ways], rows)


def plots(result: Result) -> list[Plot]:
    ways = list(result["seeds"][0]["found"])
    bars = []
    for name in SETS:
        values = [fixed(of(result, way, name)) for way in ways]
        bars.append(Series(name, ways, *([end(one) for one in values] for end in (fmean, min, max))))
    fixed_by_way = Plot("Failures fixed: mean and range over the seeds", "", "fixed, %", bars)
    return [fixed_by_way, *frontiers(result)]


def frontiers(result: Result) -> list[Plot]:
    """What each way fixes against its size and against its drift."""
    sizes, losses = [], []
    for way in result["seeds"][0]["found"]:
        known = [fmean(fixed(of(result, way, "known")))]
        sizes.append(Series(way, [fmean(of(result, way, "bytes"))], known))
        losses.append(Series(way, [max(1e-4, fmean(of(result, way, "drift")))], known))
    return [
        Plot("Size against what is fixed", "bytes", "known held-out fixed, %", sizes, log_x=True),
        Plot("Drift against what is fixed", "nats a token", "known held-out fixed, %", losses, log_x=True),
    ]


EXPERIMENT = Experiment(run, claims, tables, plots)
