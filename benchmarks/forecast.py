"""What the cost model says of searches on large models, and how far it is from what was measured.

The figures of docs/scale.md. Machines are fitted to results of the benches where there are any; what is assumed stands
at the top.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from statistics import median
from typing import Any

from bankai.checkpoint.model_file import open_checkpoint
from bankai.evaluation.batches import prepare, prepare_encoded
from bankai.jobs.workbench import Workbench
from bankai.patch import Flip
from bankai.search.parts import SHARES, WINDOW, Contents, encode_parts
from benchmarks.cost import Machine, Model, fitted
from benchmarks.draw import drawn
from benchmarks.plan import ANSWERS, TEXTS, Link, Plan, Spent, simulate
from benchmarks.results import RESULTS, read
from benchmarks.scale import encoded

__all__ = [
    "BUDGET",
    "H100",
    "L40S",
    "LATENCY",
    "PROBES",
    "Check",
    "Chip",
    "bottleneck",
    "checks",
    "contents",
    "cpu",
    "gpu",
    "large_plan",
    "link",
    "report",
    "result",
    "search",
    "start",
]


@dataclass(frozen=True)
class Chip:
    """Of a data sheet: dense bfloat16 operations and bytes of memory per second."""

    name: str
    flops: float
    memory: float


H100 = Chip("H100 SXM", 989e12, 3.35e12)
L40S = Chip("L40S", 362e12, 0.864e12)
SHARE = 0.4  # assumed of the operations of a data sheet
CALL = 0.5e-3  # assumed seconds of Python and of launches for each layer that is run
TOUCHED = 9  # bytes for a weight: codes 1, looked up 2, times its scale 4, multiplied 2
LATENCY = 1e-4  # assumed seconds
GIGABITS = 10

BUDGET = 500
PROBES = {"targets": 180, "controls": 240, "texts": 60, "validation": 30}  # as in `heldout`
LENGTH, ANSWER = 30, 4  # tokens of a probe, and of its answer
BIG_PARTS, BIG_ANSWER = ((1, 1), (1, 0), (2, 1)), 2  # targets and controls of `big`


def report(name: str) -> dict[str, Any]:
    """Of a bench that has run."""
    found = read(RESULTS, name)
    assert found is not None, f"run: python -m benchmarks {name}"
    return found


def result(name: str) -> dict[str, Any]:
    """What it found."""
    return report(name)["result"]


@cache
def cpu() -> tuple[Model, Machine]:
    """The shape and the machine of `scale`: fitted on its forwards of fewest and of most tokens."""
    found = result("scale")
    model, share = Model.of(found["shape"]), found["answer"] / found["length"]
    forwards = [found["forwards"][0], found["forwards"][-1]]
    points = [(one["tokens"], int(one["tokens"] * share), one["seconds"]["low"]) for one in forwards]
    drawing = found["draw"]["tokens"] * model.vocabulary / found["draw"]["seconds"]["low"]
    return model, fitted("CPU", model, points, draw=drawing)


def gpu(chip: Chip = H100, *, packed: bool = True, draw: float | None = None) -> Machine:
    """Assumed; tokens are drawn on the CPU unless it is said how fast."""
    unpack = chip.memory / TOUCHED if packed else math.inf
    return Machine(chip.name, SHARE * chip.flops, unpack, draw or cpu()[1].draw, CALL)


@cache
def link(gigabits: float = GIGABITS) -> Link:
    """The CPU seconds of a unit are those of the deciding process of `cluster` with one worker."""
    found = result("cluster")
    spent = median(one["1 workers"]["driver_seconds"] for one in found["rounds"])
    return Link(gigabits * 1e9 / 8, LATENCY, spent / sum(one["units"] for one in found["wire"].values()))


def contents(layers: int, targets: int, controls: int = 0, texts: int = 0) -> list[Contents]:
    """The parts of a search on probes of equal length that share no beginning."""
    kinds: list[list[Any]] = [encoded(count, LENGTH, ANSWER) for count in (targets, controls)]
    kinds.append([one for (one,) in encoded(texts, WINDOW - 1, WINDOW - 1)])
    cuts = [[0, *(math.ceil(share * len(kind)) for share in SHARES)] for kind in kinds]
    return [
        _apart(layers, *(kind[cut[at] : cut[at + 1]] for kind, cut in zip(kinds, cuts, strict=True)))
        for at in range(len(SHARES))
    ]


def _apart(layers: int, *some: Any) -> Contents:
    """A part without prefix trees: what was measured to compare with had none yet."""
    return Contents(layers, *some, recurrent=True)


@cache
def large_plan(shape: str, split: int | None = None) -> Plan:
    """A search as `heldout` has it, on a large model."""
    model = Model.of(shape)
    parts = contents(len(model.layers), PROBES["targets"], PROBES["controls"], PROBES["texts"])
    validation = prepare_encoded(encoded(PROBES["validation"], LENGTH, ANSWER))
    return Plan(model, parts, validation, split=split)


@cache
def search(shape: str, devices: int, *, split: int | None = None, draw: float | None = None) -> Spent:
    """A whole search of it on so many GPUs."""
    plan = large_plan(shape, split)
    return simulate(plan, plan.search(BUDGET), gpu(draw=draw), devices, link())


def bottleneck(spent: Spent) -> tuple[str, float]:
    """What takes most, and its share of all device seconds; on several devices only what is lost to their number."""
    parts: dict[str, float] = dict(spent.kinds)
    if spent.workers > 1:
        parts = {f"waiting for the last unit of {name}": took for name, took in spent.waiting.items()}
        parts["copies of cached streams"] = spent.copies
    name = max(parts, key=parts.__getitem__)
    return name, parts[name] / (spent.workers * spent.seconds)


def start(shape: str) -> dict[str, float]:
    """Seconds of a worker before its first unit: digests there and here, loading, the base on the neutral texts."""
    points, big, plan = result("scale"), result("big"), large_plan(shape)
    proof = plan.model.packed_bytes * points["digest"]["low"] / points["file_bytes"]
    loading = plan.model.packed_bytes * big["steps"][0]["seconds"] / big["file_bytes"]
    texts = [batch for name, batch in plan.streams() if name.texts]
    base = sum(gpu().seconds(plan.model.plainly(batch.tokens, len(batch.rows))) for batch in texts)
    return {"digests": 2 * proof, "loading": loading, "the base on neutral texts": base}


@dataclass(frozen=True)
class Check:
    """One figure of the model beside the measured one of a bench."""

    what: str
    bench: str
    computed: float
    measured: float
    unit: str


def checks() -> list[Check]:
    """All that is not used to fit."""
    return [*_steps(), *_big(), *_searches(), *_units()]


def _steps() -> Iterator[Check]:
    """The steps of `scale`."""
    (model, machine), found = cpu(), result("scale")
    tokens, positions = (found["probes"] * found[name] for name in ("length", "answer"))
    work = {"full forward": (model.plainly(tokens, positions), found["forwards"][1]["seconds"])}
    for one in found["layers"]:
        work[f"flip in layer {one['layer']}"] = (
            model.measuring(tokens, positions, one["layer"]),
            one["seconds"],
        )
    work["cached stream"] = (model.refreshing(tokens), found["refresh"])
    attribution = model.attributing(tokens, positions) + model.reading(positions)
    work["attribution"] = (attribution, found["attribution"])
    for name, (one, measured) in work.items():
        what = f"{model.name}, {tokens} tokens: {name}"
        yield Check(what, "scale", machine.seconds(one), measured["low"], "s")


def _big() -> Iterator[Check]:
    """The steps of `big`, on the machine fitted to the smaller shape, its constants in proportion to the threads."""
    big, fitted_with = report("big"), report("scale")["threads"]
    for found in filter(None, (big["result"], big["result"].get("hybrid"))):
        threads = found.get("threads", big["threads"])
        yield from _rounds(found, cpu()[1].times(threads / fitted_with), threads)


def _rounds(found: dict[str, Any], machine: Machine, threads: int) -> Iterator[Check]:
    """One shape of `big`."""
    model, probes = Model.of(found["shape"]), sum(map(sum, BIG_PARTS))
    length = round(found["tokens"] / probes)
    kinds = [[encoded(count, length, BIG_ANSWER) for count in part] for part in BIG_PARTS]
    plan = Plan(model, [_apart(len(model.layers), *some, []) for some in kinds], prepare_encoded([]))
    late = [frozenset([Flip(tensor, at)]) for at, tensor in enumerate(found["flips"])]
    stages = {"baseline": plan.baseline(), "attribution": plan.rank(), "measuring": plan.measure(late)}
    first, last = found["layers"]
    names = {
        "attribution": "attribution and cached streams",
        "measuring": f"{len(late)} flips in layers {first} to {last}",
    }
    about = f"{model.name}, {found['tokens']} tokens, {threads} thread{'s' * (threads > 1)}"
    for step in found["steps"][1:]:
        spent = simulate(plan, [stages[step["step"]]], machine)
        took = spent.seconds - (spent.streams if step["step"] == "measuring" else 0)
        name = names.get(step["step"], step["step"])
        yield Check(f"{about}: {name}", "big", took, step["seconds"], "s")


@cache
def _nano() -> tuple[Plan, Machine]:
    """The search of `cluster`, probe by probe; fitted on its baseline."""
    found = result("cluster")
    searched = drawn(0, texts=found["texts"]).drawn(found["targets"], found["controls"], 0).searched
    tokenizer = Workbench("nano").tokenizer
    with open_checkpoint("nano") as checkpoint:
        model = Model.of_config("nano", checkpoint.config)
    parts = [_apart(len(model.layers), *some) for some in encode_parts(tokenizer, searched)[0]]
    plan = Plan(model, parts, prepare(tokenizer, searched.validation))
    operations = sum(job.work.flops for job in plan.baseline().jobs)
    return plan, Machine("nano", operations / found["wire"]["ReadPlainly"]["seconds"])


def _searches() -> Iterator[Check]:
    """The searches of `cluster`."""
    found, (plan, machine) = result("cluster"), _nano()
    stages = plan.search(found["budget"])
    alone = simulate(plan, stages, machine)
    crews = {count: simulate(plan, stages, machine, count, link()) for count in (1, 2)}
    names = {"one process": alone, "1 workers": crews[1], "2 workers": crews[2]}
    paces = {}
    for name, spent in names.items():
        measured = median(one[name]["evaluations"] / one[name]["seconds"] for one in found["rounds"])
        paces[name] = spent.evaluations / spent.seconds, measured
        what = f"nano: {name.replace('1 workers', '1 worker')}"
        yield Check(what, "cluster", *paces[name], "evaluations/s")
    ratios = [two / one for one, two in zip(paces["1 workers"], paces["2 workers"], strict=True)]
    yield Check("nano: 2 workers over 1", "cluster", *ratios, "times")


def _units() -> Iterator[Check]:
    """What `cluster` saw of single units."""
    wire, (plan, machine) = result("cluster")["wire"], _nano()
    passes = wire["Texts"]["units"] // sum(name.texts for name, _ in plan.streams())
    spent = simulate(plan, [plan.rank()] * passes, machine)
    both = [wire["Answers"], wire["Texts"]]
    took = sum(one["seconds"] for one in both) / sum(one["units"] for one in both)
    computed = spent.busy / (spent.units[ANSWERS] + spent.units[TEXTS])
    yield Check("nano: a unit of attribution", "cluster", computed * 1000, took * 1000, "ms")
    for kind, name in ((ANSWERS, "Answers"), (TEXTS, "Texts")):
        returned = next(job.returned for job in plan.rank().jobs if job.kind == kind)
        measured = wire[name]["returned"] / wire[name]["units"]
        yield Check(f"nano: returned by {kind}", "cluster", returned / 1000, measured / 1000, "kB")
