"""The two long jobs: find a patch and measure it on probes that the search never saw; and the demo.

Nothing here prints; progress goes to a listener that is given every event. Needs the `[search]` extra.
"""

import math
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from itertools import zip_longest
from pathlib import Path
from typing import Any

import msgspec

from bankai.describe import BITS, count_bits
from bankai.errors import StateError
from bankai.evaluation.report import Comparison, compare
from bankai.evaluation.scoring import perplexity, score_probes
from bankai.files import check_output
from bankai.model import ModelBinaryTensors, load, patched
from bankai.model.generation import stream
from bankai.patch import Manifest, Patch, encode, payload_bytes, write_patch
from bankai.probes import Probe, ProbeSet, load_probe_set
from bankai.probes.audit import Finding, audit, require_sound
from bankai.probes.encode import context_ids
from bankai.search import Event, Finished, SearchProbes, SearchSettings, make_patch, run_search
from bankai.store import status

__all__ = [
    "Bench",
    "DemoResult",
    "Example",
    "SearchResult",
    "Task",
    "audit_file",
    "run_demo",
    "search_file",
]

ELICITABLE, LIMITED = "elicitable", "limited"  # the built-in sets of both kinds of failure
DEMO_TARGETS, DEMO_CONTROLS, DEMO_BUDGET = 60, 120, 120
Listener = Callable[[str, int, Event], None]


def _ignore(strategy: str, budget: int, event: Event) -> None:
    """The listener of a job that nobody watches."""


@dataclass(frozen=True)
class Task:
    """The probes of one job: what the search may read, and all of them for the audit and the reports."""

    searched: SearchProbes
    whole: ProbeSet

    @classmethod
    def of(cls, target: ProbeSet, control: ProbeSet | None = None, heldout: ProbeSet | None = None) -> "Task":
        """Targets and validation of one set, both kinds of controls of another, held-out probes of a third.

        Sets that are not given are the target's. Raises ProbeFormatError when the splits share an item.
        """
        control, heldout = control or target, heldout or target
        searched = SearchProbes(target.split("target"), control.split("control"), target.split("validation"))
        reported = (*heldout.split("heldout"), *control.split("unseen"))
        read = (*searched.targets, *searched.validation, *searched.controls)
        return cls(searched, ProbeSet(target.name, (*read, *reported)))

    def drawn(self, targets: int, controls: int, seed: int) -> "Task":
        """The same task with a random part of what the search reads, in equal numbers of every category."""
        rng, searched = random.Random(seed), self.searched
        fewer = replace(
            searched,
            targets=_drawn(searched.targets, targets, rng),
            controls=_drawn(searched.controls, controls, rng),
        )
        return replace(self, searched=fewer)


def _drawn(probes: Sequence[Probe], count: int, rng: random.Random) -> tuple[Probe, ...]:
    """`count` probes, going round the categories."""
    by_category: dict[str, list[Probe]] = {}
    for probe in rng.sample(probes, len(probes)):
        by_category.setdefault(probe.category, []).append(probe)
    rounds = zip_longest(*by_category.values())
    return tuple(probe for row in rounds for probe in row if probe is not None)[:count]


class SearchResult(msgspec.Struct, frozen=True, kw_only=True):
    """One search: `heldout` and `control` (unseen controls) are None where the sets have no such probes.

    `bare_bytes` is the patch file without its manifest; `warnings` of the audit do not stop a search. A search
    that found no flips wrote no file: `patch` is None and `file_bytes` 0.
    """

    patch: str | None
    flips: int
    payload_bytes: int
    bare_bytes: int
    file_bytes: int
    fitness: float
    evaluations: float
    seconds: float
    reason: str
    warnings: int
    heldout: Comparison | None
    control: Comparison | None


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
    seconds: float
    heldout: Comparison
    limited: Comparison
    control: Comparison
    perplexity: dict[str, float]
    examples: list[Example]


class Bench:
    """A loaded model on which patches are searched and measured."""

    def __init__(self, source: str | Path) -> None:
        self.name = Path(source).name
        self.model, self.tokenizer = load(source, dense=True)

    def search(self, task: Task, settings: SearchSettings, listen: Listener) -> Finished:
        """Run one search to its end. Raises AuditError when there is nothing to search with."""
        last = None
        for last in run_search(self.model, self.tokenizer, task.searched, settings):
            listen(settings.strategy, settings.budget, last)
        assert isinstance(last, Finished)
        return last

    def compare(self, patch: Patch, probes: Sequence[Probe]) -> Comparison | None:
        """The model without and with the patch on the same probes; None for no probes."""
        if not probes:
            return None
        base = score_probes(self.model, self.tokenizer, probes)
        with patched(self.model, patch):
            changed = score_probes(self.model, self.tokenizer, probes)
        return compare(base, changed, probes)

    def perplexity(self, probes: Sequence[Probe]) -> float:
        """Of running text: two answered plain probes after one another, geometric mean over the pairs.

        Probes end at their stop; this also reads what comes after it.
        """
        texts = [f"{probe.prompt}{probe.answers[0]}{probe.stop}" for probe in probes if probe.prompt]
        pairs = ["".join(pair) for pair in zip(texts[::2], texts[1::2], strict=False)]
        logs = [math.log(perplexity(self.model, self.tokenizer, text)) for text in pairs]
        return math.exp(sum(logs) / len(logs))

    def reply(self, probe: Probe) -> str:
        """The first line that the model gives, greedily."""
        ids = list(context_ids(probe, self.tokenizer))
        text = "".join(stream(self.model, self.tokenizer, ids, max_tokens=24))
        return text.split("\n")[0].strip()


def search_file(
    source: str | Path,
    out: Path,
    task: Task,
    settings: SearchSettings,
    listen: Listener = _ignore,
) -> SearchResult:
    """Search a patch for a model, measure it on held-out probes and unseen controls, and write it to `out`.

    Nothing is written when nothing was found. Raises AuditError when the probes would make the search
    meaningless, StateError when the model has patches on, StoreError when `out` cannot be written.
    """
    check_output(out)
    if listed := status(source).patches:
        names = ", ".join(applied.name or "unnamed" for applied in listed)
        raise StateError(f"{source} has patches on ({names}); search its base: bankai revert takes them off")
    _, result = _search(Bench(source), out, task, settings, listen)
    return result


def _search(
    bench: Bench, out: Path, task: Task, settings: SearchSettings, listen: Listener
) -> tuple[Patch, SearchResult]:
    start = time.monotonic()
    warnings = require_sound(bench.model, bench.tokenizer, task.whole)
    finished = bench.search(task, settings, listen)
    patch = make_patch(bench.model, finished, settings)
    heldout, control = (bench.compare(patch, task.whole.split(split)) for split in ("heldout", "unseen"))
    results = _results(finished, heldout=heldout, control=control)
    manifest = _manifest(patch, bench, task, settings, name=out.stem, results=results)
    patch = replace(patch, manifest=manifest)
    return patch, SearchResult(
        patch=str(out) if patch else None,
        flips=len(patch),
        payload_bytes=payload_bytes(patch),
        bare_bytes=len(encode(patch, manifest=False)),
        file_bytes=write_patch(patch, out) if patch else 0,
        fitness=finished.fitness,
        evaluations=finished.evaluations,
        seconds=time.monotonic() - start,
        reason=finished.reason,
        warnings=len(warnings),
        heldout=heldout,
        control=control,
    )


def run_demo(
    out: Path, *, seed: int = 0, budget: int = DEMO_BUDGET, model: str = "nano", listen: Listener = _ignore
) -> DemoResult:
    """Find a patch for the elicitable failures of `nano`, write it to `out`, and measure what it did.

    The seed draws the targets and controls that the search reads from those of the set. The original greedy
    loop gets as many full evaluations as the guided search spent.
    """
    start = time.monotonic()
    check_output(out)
    task = Task.of(load_probe_set(ELICITABLE)).drawn(DEMO_TARGETS, DEMO_CONTROLS, seed)
    bench = Bench(model)
    guided = SearchSettings(strategy="guided", budget=budget, seed=seed)
    patch, found = _search(bench, out, task, guided, listen)
    greedy = SearchSettings(strategy="greedy", budget=math.ceil(found.evaluations), seed=seed)
    rival = bench.search(task, greedy, listen)
    heldout, unseen = task.whole.split("heldout"), task.whole.split("unseen")
    text = {"base": bench.perplexity(unseen)}
    with patched(bench.model, patch):
        text["patched"] = bench.perplexity(unseen)
    return DemoResult(
        patch=found.patch,
        model=model,
        seed=seed,
        flips=found.flips,
        payload_bytes=found.payload_bytes,
        bare_bytes=found.bare_bytes,
        file_bytes=found.file_bytes,
        fitness={"guided": found.fitness, "greedy": rival.fitness},
        evaluations=found.evaluations,
        evaluations_greedy=rival.evaluations,
        seconds=time.monotonic() - start,
        heldout=found.heldout,
        limited=bench.compare(patch, load_probe_set(LIMITED).split("heldout")),
        control=found.control,
        perplexity=text,
        examples=_examples(bench, patch, heldout),
    )


def audit_file(source: str | Path, probe_set: str | Path) -> list[Finding]:
    """What is wrong with a probe set for a model. Raises what reading either raises."""
    probes = load_probe_set(probe_set)
    return audit(*load(source), probes)


def _examples(bench: Bench, patch: Patch, probes: Sequence[Probe]) -> list[Example]:
    """The first held-out probe of each category that the base fails, whatever became of it."""
    scores = score_probes(bench.model, bench.tokenizer, probes)
    failing = [probe for probe, score in zip(probes, scores, strict=True) if not score.solved]
    first = {probe.category: probe for probe in reversed(failing)}.values()
    base = [bench.reply(probe) for probe in first]
    with patched(bench.model, patch):
        changed = [bench.reply(probe) for probe in first]
    return [
        Example(prompt=_asked(probe), expected=probe.answers[0].strip(), base=before, patched=after)
        for probe, before, after in zip(first, base, changed, strict=True)
    ]


def _asked(probe: Probe) -> str:
    """What the user wrote."""
    return probe.prompt or "".join(message.content for message in probe.messages or ())


def _results(finished: Finished, **comparisons: Comparison | None) -> dict[str, Any]:
    """What a manifest tells of the outcome."""
    counts = {name: found.counts for name, found in comparisons.items() if found is not None}
    work = {"fitness": round(finished.fitness, 4), "evaluations": round(finished.evaluations, 1)}
    return work | counts


def _manifest(patch: Patch, bench: Bench, task: Task, settings: SearchSettings, **fields: Any) -> Manifest:
    """Everything else that a reader of the patch wants to know."""
    return msgspec.structs.replace(
        patch.manifest,
        base_model=bench.name,
        objective=f"mean target gain - {settings.penalty:g} x mean control loss, nats",
        probes=task.whole.digest,
        versions={package: version(package) for package in ("bankai", "torch", "transformers")},
        metadata={BITS: count_bits(ModelBinaryTensors(bench.model), patch.flips)},
        **fields,
    )
