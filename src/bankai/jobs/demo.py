"""The demo: a patch for the elicitable failures of `nano`, and what it did to everything else."""

import math
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from bankai.evaluation.audit import require_sound
from bankai.evaluation.report import Comparison
from bankai.evaluation.scoring import score_probes
from bankai.jobs.patch_files import check_output
from bankai.jobs.search import Listener, ignore, result_of, searched
from bankai.jobs.task import Task
from bankai.jobs.workbench import Workbench
from bankai.model import patched
from bankai.patch import Patch
from bankai.probes import Probe, load_neutral_texts, load_probe_set
from bankai.search import SearchSettings

__all__ = ["BUDGET", "DemoResult", "Example", "examples_of", "run_demo"]

ELICITABLE, LIMITED = "elicitable", "limited"  # the built-in sets of both kinds of failure
NEUTRAL = "nano-neutral"
TARGETS, CONTROLS, TEXTS, BUDGET = 60, 120, 60, 180


class Example(msgspec.Struct, frozen=True, kw_only=True):
    """A held-out prompt, the expected answer, and the first line that each model gives."""

    prompt: str
    expected: str
    base: str
    patched: str


class DemoResult(msgspec.Struct, frozen=True, kw_only=True):
    """`heldout`: what the model can do but does not show; `limited`: what it cannot; `control`: unseen ones.

    `evaluations` are those of the guided search; the greedy one was given as many. `patch` is None when no
    flips were found: then no file was written.
    """

    patch: str | None
    model: str
    seed: int
    flips: int
    payload_bytes: int
    bare_bytes: int
    file_bytes: int
    fitness: dict[str, float]
    evaluations: float
    evaluations_greedy: float
    seconds_searched: dict[str, float]
    seconds: float
    heldout: Comparison
    limited: Comparison
    control: Comparison
    perplexity: dict[str, float]
    examples: list[Example]


def run_demo(
    out: Path, *, seed: int = 0, budget: float = BUDGET, model: str = "nano", listen: Listener = ignore
) -> DemoResult:
    """Find a patch for the elicitable failures of `nano`, write it to `out`, and measure what it did.

    The seed draws the targets and controls that the search reads from those of the set. The original greedy
    loop gets as many full evaluations as the guided search spent.
    """
    start = time.monotonic()
    check_output(out)
    texts = load_neutral_texts(NEUTRAL)[:TEXTS]
    task = Task.of([load_probe_set(ELICITABLE)], texts=texts).drawn(TARGETS, CONTROLS, seed)
    bench = Workbench(model)
    require_sound(bench.model, bench.tokenizer, task.whole)
    settings = SearchSettings(budget=budget, seed=seed)
    guided = searched(bench, task, settings, listen)
    found, patch = result_of(bench, task, settings, guided, out)
    rival = SearchSettings(strategy="greedy", budget=math.ceil(found.evaluations), seed=seed)
    greedy = searched(bench, task, rival, listen)
    heldout, unseen = task.whole.split("heldout"), task.whole.split("unseen")
    text = {"base": bench.perplexity(unseen)}
    with patched(bench.model, patch):
        text["patched"] = bench.perplexity(unseen)
    assert found.heldout and found.control  # the set has both
    return DemoResult(
        patch=found.patch,
        model=model,
        seed=seed,
        flips=found.flips,
        payload_bytes=found.payload_bytes,
        bare_bytes=found.bare_bytes,
        file_bytes=found.file_bytes,
        fitness={"guided": found.fitness, "greedy": greedy.fitness},
        evaluations=found.evaluations,
        evaluations_greedy=greedy.evaluations,
        seconds_searched={"guided": guided.seconds, "greedy": greedy.seconds},
        seconds=time.monotonic() - start,
        heldout=found.heldout,
        limited=bench.compare(patch, load_probe_set(LIMITED).split("heldout")),
        control=found.control,
        perplexity=text,
        examples=examples_of(bench, patch, heldout),
    )


def examples_of(bench: Workbench, patch: Patch, probes: Sequence[Probe]) -> list[Example]:
    """The first held-out probe of each category that the base fails, whatever became of it."""
    scores = score_probes(bench.model, bench.tokenizer, probes)
    failing = [probe for probe, score in zip(probes, scores, strict=True) if not score.solved]
    first = {probe.category: probe for probe in reversed(failing)}.values()
    base = [bench.reply(probe) for probe in first]
    with patched(bench.model, patch):
        changed = [bench.reply(probe) for probe in first]
    return [
        Example(prompt=probe.asked, expected=probe.answers[0].strip(), base=before, patched=after)
        for probe, before, after in zip(first, base, changed, strict=True)
    ]
