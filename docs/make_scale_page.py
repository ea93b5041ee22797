"""Write the tables of `docs/scale.md` from the cost model and the stored results; a test checks that they are current.

python -m docs.make_scale_page
"""

from collections.abc import Iterator
from pathlib import Path

from benchmarks.cost import Model
from benchmarks.forecast import (
    BUDGET,
    CALL,
    H100,
    L40S,
    LATENCY,
    LENGTH,
    PROBES,
    SHARE,
    TOUCHED,
    bottleneck,
    checks,
    contents,
    cpu,
    gpu,
    large_plan,
    link,
    result,
    search,
    start,
)
from benchmarks.outcomes import table_of
from benchmarks.plan import ANSWERS, DRAWS, MEASURE, Plan, simulate

from bankai.evaluation.batches import prepare_encoded

PAGE = Path(__file__).with_name("scale.md")
LARGE = ("bonsai-8b", "bonsai-27b")
DEVICES = (1, 2, 4, 8, 16, 32, 64)
NAMED = (1, 8, 64)  # devices whose first bottleneck is named
GIGABITS = (10, 25, 100)
SPLIT = 256  # tokens
FAST = 1e12  # numbers per second: as good as no time

# Published: seconds, iterations, and the chip where it is known what it promises.
PUBLISHED = (("one L40S", 424, 800, L40S), ("a laptop (M3)", 5351, 300, None))
PUBLISHED_PROBES, ANSWERS_READ = 60, 2  # the right one and the wrong one


def page() -> str:
    """The whole page as it should be."""
    text = PAGE.read_text(encoding="utf-8")
    for name, block in BLOCKS.items():
        begin, end = f"<!-- scale:{name} -->", f"<!-- /scale:{name} -->"
        head, _, rest = text.partition(begin)
        text = f"{head}{begin}\n{block().strip()}\n{end}{rest.partition(end)[2]}"
    return text


def _asked() -> str:
    asked = "{targets} targets, {controls} controls, {validation} validation probes, {texts} neutral texts"
    plan = large_plan(LARGE[0])
    texts = sum(name.texts for name, _ in plan.streams())
    return (
        f"A guided search of {BUDGET} evaluations; {asked.format(**PROBES)}; {LENGTH} tokens a probe, which "
        f"share no beginning. That is {plan.tokens():,} tokens in {len(list(plan.streams()))} batches, "
        f"{texts} of them of neutral texts."
    )


def _bottlenecks() -> str:
    rows = []
    for shape in LARGE:
        for devices in NAMED:
            spent = search(shape, devices)
            name, share = bottleneck(spent)
            rows.append([shape, str(devices), f"{spent.seconds:.0f}", f"**{name}**", f"{share:.0%}"])
    header = ("shape", "GPUs", "seconds of a search", "first bottleneck", "its part of all GPU seconds")
    longest = "; ".join(f"on {shape} {_longest(large_plan(shape))}" for shape in LARGE)
    return f"{_asked()}\n\n{table_of(header, rows)}\n\nThe longest unit of attribution takes {longest}."


def _longest(plan: Plan) -> str:
    machine = gpu()
    job = max(plan.rank().jobs, key=lambda job: machine.seconds(job.work))
    takes, drawing = machine.seconds(job.work), job.work.drawn / machine.draw
    return f"{takes:.1f} s, {drawing / takes:.0%} of it {DRAWS} on the CPU ({job.kind})"


def _constants() -> str:
    (model, fit), assumed = cpu(), gpu()
    where = {
        f"this CPU, two threads: `scale`, {model.name}": fit,
        f"one GPU: {SHARE:.0%} of an {H100.name}": assumed,
    }
    rows = [
        [name, f"{one.flops:.2e}", f"{one.unpack:.2e}", f"{one.draw:.2e}", f"{one.call * 1000:g}"]
        for name, one in where.items()
    ]
    header = ("", "F, operations/s", "U, weights/s", "D, numbers/s", "C, ms")
    return (
        f"{table_of(header, rows)}\n\n"
        f"The {H100.name} promises {H100.flops:.3g} dense bfloat16 operations and {H100.memory:.3g} bytes per second "
        f"(its data sheet). Assumed: {SHARE:.0%} of the operations; {TOUCHED} bytes of memory moved for each weight "
        f"expanded; {CALL * 1000:g} ms a layer for Python and launches; draws as fast as measured here, for they stay "
        f"on the CPU. The deciding process takes {link().unit * 1000:.1f} ms for a unit (measured, `cluster`); a "
        f"message takes {LATENCY * 1000:g} ms (assumed)."
    )


def _checks() -> str:
    found = checks()
    rows = [
        [
            one.what,
            f"`{one.bench}`",
            f"{one.computed:.3g} {one.unit}",
            f"{one.measured:.3g} {one.unit}",
            f"{one.computed / one.measured:.2f}",
        ]
        for one in found
    ]
    ratios = [one.computed / one.measured for one in found]
    table = table_of(("", "bench", "computed", "measured", "computed / measured"), rows)
    return f"{table}\n\nComputed over measured lies between {min(ratios):.2f} and {max(ratios):.2f}."


def _published() -> str:
    model = Model.of(LARGE[0])
    tokens = PUBLISHED_PROBES * ANSWERS_READ * LENGTH
    operations = model.plainly(tokens, tokens).flops
    rows = []
    for where, took, iterations, chip in PUBLISHED:
        rate = operations * iterations / took
        share = "" if chip is None else f"{rate / chip.flops:.0%}"
        rows.append([where, f"{took:,}", str(iterations), f"{took / iterations:.2f}", f"{rate:.1e}", share])
    header = ("published", "seconds", "iterations", "s each", "operations/s at most", "of the data sheet")
    plan = Plan(model, contents(len(model.layers), PUBLISHED_PROBES), prepare_encoded([]))
    stages = plan.search(BUDGET)
    machines = {
        f"{chip.name}, weights {how}": gpu(chip, packed=how == "packed")
        for chip in (H100, L40S)
        for how in ("packed", "kept expanded")
    }
    ours = [[name, f"{simulate(plan, stages, one).seconds:.0f}"] for name, one in machines.items()]
    return (
        f"{table_of(header, rows)}\n\n"
        f"Computed for one published iteration: {operations:.2e} operations, {PUBLISHED_PROBES} probes with "
        f"{ANSWERS_READ} answers each, {LENGTH} tokens a sequence (nobody published how many), logits at all of them."
        f"\n\n{table_of((f'ours, {BUDGET} evaluations of {PUBLISHED_PROBES} targets', 'computed seconds'), ours)}"
    )


def _sizes() -> str:
    columns = [dict(_sizes_of(large_plan(shape))) for shape in LARGE]
    return table_of(("", *LARGE), [[name, *(column[name] for column in columns)] for name in columns[0]])


def _sizes_of(plan: Plan) -> Iterator[tuple[str, str]]:
    model, tokens = plan.model, plan.tokens()
    texts = sum(len(batch.rows) for name, batch in plan.streams() if name.texts)
    returned = next(job.returned for job in plan.rank().jobs if job.kind == ANSWERS)
    everywhere = plan.measure(plan.spread(len(model.layers)))
    operations = sum(job.work.flops for job in everywhere.jobs) / everywhere.evaluations
    yield "layers", str(len(model.layers))
    yield "weights in them", f"{sum(model.layers) / 1e9:.2f}e9"
    yield "packed, 18 bytes for 128 weights", _gigabytes(model.packed_bytes)
    yield "expanded, bfloat16", _gigabytes(2 * model.stored)
    base, cached = 4 * texts * model.vocabulary, model.cached(tokens, 2)
    yield f"cached streams of {tokens:,} tokens, bfloat16", _gigabytes(cached)
    yield f"the base's log-probabilities at {texts:,} tokens, float32", _gigabytes(base)
    yield "packed weights and both of these", _gigabytes(model.packed_bytes + cached + base)
    yield "operations of an exact measurement, mean over the layers", f"{operations:.2e}"
    yield "rows that attribution ranks", f"{model.rows:,}"
    yield "returned by a unit of attribution, rows", _gigabytes(returned)
    yield "the same for groups of 128 weights", _gigabytes(returned / model.rows * model.groups)


def _gigabytes(count: float) -> str:
    return f"{count / 1e9:.2f} GB"


def _scaling() -> str:
    header = (
        "GPUs",
        "seconds",
        "times one",
        "computing",
        "copies of streams",
        "waiting",
        "the deciding process is busy",
    )
    sections = []
    for shape in LARGE:
        one = search(shape, 1)
        most = ", ".join(f"{name} {took / one.seconds:.0%}" for name, took in one.kinds.most_common(3))
        table = table_of(header, [_scaled(shape, devices) for devices in DEVICES])
        sections.append(f"**{shape}**; of one GPU's time: {most}. {_measuring(shape)}\n\n{table}")
    return "\n\n".join(sections)


def _measuring(shape: str) -> str:
    """What the exact measurements of one GPU consist of."""
    plan, machine = large_plan(shape), gpu()
    jobs = [job for stage in plan.search(BUDGET) for job in stage.jobs if job.kind == MEASURE]
    parts = {
        "operations": sum(job.work.flops for job in jobs) / machine.flops,
        "expanding weights": sum(job.work.unpacked for job in jobs) / machine.unpack,
        "Python and launches": sum(job.work.layers for job in jobs) * machine.call,
    }
    named = ", ".join(f"{name} {took / sum(parts.values()):.0%}" for name, took in parts.items())
    return f"Of the {MEASURE}: {named}."


def _scaled(shape: str, devices: int) -> list[str]:
    spent, alone = search(shape, devices), search(shape, 1).seconds
    every = spent.workers * spent.seconds
    shares = (spent.busy - spent.copies, spent.copies, sum(spent.waiting.values()))
    return [
        str(devices),
        f"{spent.seconds:.0f}",
        f"{alone / spent.seconds:.1f}",
        *(f"{took / every:.0%}" for took in shares),
        f"{spent.decided / spent.seconds:.0%}",
    ]


def _network() -> str:
    rows = []
    for shape in LARGE:
        plan = large_plan(shape)
        model = plan.model
        returned = sum(job.returned for job in plan.rank().jobs)
        sizes = {
            "one attribution returns, rows": returned,
            "one attribution returns, groups": returned / model.rows * model.groups,
            "the model to 8 machines": 8 * model.packed_bytes,
            "the model to 64 machines": 64 * model.packed_bytes,
        }
        for name, size in sizes.items():
            seconds = [f"{size * 8 / (gigabits * 1e9):.1f} s" for gigabits in GIGABITS]
            rows.append([shape, name, _gigabytes(size), *seconds])
    return table_of(("shape", "", "bytes", *(f"{gigabits} Gb/s" for gigabits in GIGABITS)), rows)


def _start() -> str:
    steps = [start(shape) for shape in LARGE]
    rows = [[name, *(f"{one[name]:.1f}" for one in steps)] for name in steps[0]]
    points, big = result("scale"), result("big")
    proof = points["file_bytes"] / points["digest"]["low"]
    loading = big["file_bytes"] / big["steps"][0]["seconds"]
    return (
        f"{table_of(('a worker, seconds', *LARGE), rows)}\n\nMeasured on the CPU: {proof:.2g} bytes/s for a digest "
        f"(`scale`), {loading:.2g} bytes/s for loading (`big`)."
    )


def _lifting() -> str:
    changes = ({}, {"draw": FAST}, {"split": SPLIT}, {"draw": FAST, "split": SPLIT})
    rows = [
        [shape, str(devices), *(f"{search(shape, devices, **change).seconds:.0f}" for change in changes)]
        for shape in LARGE
        for devices in NAMED
    ]
    header = ("shape", "GPUs", "as it is", "draws take no time", f"units of {SPLIT} tokens", "both")
    return table_of(header, rows)


BLOCKS = {
    "bottlenecks": _bottlenecks,
    "constants": _constants,
    "checks": _checks,
    "published": _published,
    "sizes": _sizes,
    "scaling": _scaling,
    "network": _network,
    "start": _start,
    "lifting": _lifting,
}

if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
