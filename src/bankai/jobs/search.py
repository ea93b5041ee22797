"""A search from files to a patch file, in a run folder from which it can go on.

The folder holds all that was asked, probes included; only the model is read again. Nothing here prints.
"""

import os
import platform
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import torch

from bankai.checkpoint.model_file import open_checkpoint
from bankai.cluster import Cluster, ModelSource, staffed, threads_of
from bankai.errors import AuditError, StoreError
from bankai.evaluation.audit import require_sound
from bankai.evaluation.report import Comparison
from bankai.jobs.checks import fingerprint_of, require_base, require_same
from bankai.jobs.describe import BITS, count_bits
from bankai.jobs.patch_files import check_output
from bankai.jobs.task import Task
from bankai.jobs.workbench import Workbench
from bankai.model import ModelMatrices
from bankai.model.decoder import Decoder
from bankai.patch import Patch, encode, payload_bytes, write_patch
from bankai.probes import Probe, ProbeSet
from bankai.search import (
    Event,
    Finished,
    RunFolder,
    SearchProbes,
    SearchSettings,
    State,
    make_patch,
    run_search,
)
from bankai.search.crew import Hire, alone
from bankai.search.parts import windows

__all__ = [
    "Asked",
    "Device",
    "Dtype",
    "Listener",
    "SearchResult",
    "check_search",
    "ignore",
    "output_of",
    "result_of",
    "resume_search",
    "run_folder",
    "search_file",
    "searched",
]

Listener = Callable[[str, SearchSettings, Event], None]
Device = Literal["cpu", "cuda", "mps"]
Dtype = Literal["float32", "bfloat16", "float16"]


def ignore(label: str, settings: SearchSettings, event: Event) -> None:
    """The listener of a job that nobody watches."""


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What a run was asked to do, and where: everything that its result depends on but the bits of the model."""

    model: str
    fingerprint: str
    output: str
    settings: SearchSettings
    name: str
    searched: SearchProbes
    whole: tuple[Probe, ...]
    unread: tuple[Probe, ...] = ()
    device: Device
    dtype: Dtype
    threads: Annotated[int, msgspec.Meta(ge=1, le=1024)]
    versions: dict[str, str]
    machine: str


class SearchResult(msgspec.Struct, frozen=True, kw_only=True):
    """One search: `target` and `validation` are what it read, `heldout`, `unknown` and `control` (unseen) the others.

    Each is None where there are no such probes. `drift` is on neutral replies that it did not read, see
    `Workbench.drift`.

    `bare_bytes` is the patch file without its manifest; `warnings` of the audit do not stop a search. A search
    that found no flips wrote no file: `patch` is None and `file_bytes` 0.
    """

    patch: str | None
    run: str | None
    flips: int
    payload_bytes: int
    bare_bytes: int
    file_bytes: int
    fitness: float
    evaluations: float
    seconds: float
    reason: str
    warnings: int
    target: Comparison | None
    validation: Comparison | None
    heldout: Comparison | None
    unknown: Comparison | None
    control: Comparison | None
    drift: float | None


def run_folder(out: Path) -> Path:
    """Where a search for that patch keeps its run unless told otherwise."""
    return out.parent / f"{out.stem}.run"


def output_of(run: Path) -> Path:
    """The patch that a run is to write. Raises StoreError when there is no run."""
    return Path(RunFolder.open(run, Asked)[1].output)


def check_search(source: str | Path, out: Path, task: Task, run: Path | None = None) -> None:
    """Refuse what :func:`search_file` can refuse before a model is loaded.

    Raises AuditError for no targets, StateError when the model has patches on, StoreError when `out` cannot be written.
    """
    check_output(out)
    if (run or run_folder(out)).resolve() == out.resolve():
        raise StoreError(f"{out} would be both the patch and the folder of the run; give --run another name")
    if not task.searched.targets:
        raise AuditError("no target probes; give a set that has a target split")
    require_base(source, "search")


def search_file(
    source: str | Path,
    out: Path,
    task: Task,
    settings: SearchSettings,
    listen: Listener = ignore,
    *,
    run: Path | None = None,
    device: Device = "cpu",
    dtype: Dtype = "float32",
    cluster: Cluster | None = None,
) -> SearchResult:
    """Search a patch for a model, measure it on held-out probes and unseen controls, and write it to `out`.

    The run goes into the folder `run`, by default `out` with the suffix .run. On KeyboardInterrupt the best flips so
    far are written before it goes on. Nothing is written when nothing was found. The workers of a `cluster` find the
    same as this process alone with as many threads as one of them. Raises AuditError when the probes would make the
    search meaningless, StateError when the model has patches on, StoreError when `out` or the folder cannot be written,
    ClusterError.
    """
    check_search(source, out, task, run)
    asked = Asked(
        model=str(source),
        fingerprint=fingerprint_of(source),
        output=str(out),
        settings=settings,
        name=task.whole.name,
        searched=task.searched,
        whole=task.whole.probes,
        unread=task.unread,
        device=device,
        dtype=dtype,
        threads=threads_of(cluster),
        versions=_versions(),
        machine=f"{platform.machine()} {platform.system()}, {os.cpu_count()} cores",
    )
    torch.set_num_threads(asked.threads)
    bench = Workbench(source, device=device, dtype=dtype)
    warnings = len(require_sound(bench.model, bench.tokenizer, task.whole))
    settings.space.layers_of(Decoder(bench.model))  # refused before there is a folder
    windows(task.searched.texts, bench.tokenizer)  # as is a text without a word
    with _staffed(bench, asked, cluster, listen) as hire:  # refused before there is a folder, too
        folder = RunFolder.create(run or run_folder(out), asked)
        return _go_on(bench, asked, folder, State(), listen, hire, warnings)


def resume_search(run: Path, listen: Listener = ignore, *, cluster: Cluster | None = None) -> SearchResult:
    """Go on with a run from its last whole round, to the result it would have had.

    Uses the threads of the first start; where it computed then does not matter. Raises StoreError when the folder is
    none, StateError when the model is not the one it began with, ClusterError.
    """
    folder, asked, state, events = RunFolder.open(run, Asked)
    check_output(Path(asked.output))
    require_base(asked.model, "search")
    require_same(asked.model, asked.fingerprint, run)
    torch.set_num_threads(asked.threads)
    bench = Workbench(asked.model, device=asked.device, dtype=asked.dtype)
    for event in events:
        listen(asked.settings.strategy, asked.settings, event)
    with _staffed(bench, asked, cluster, listen) as hire:
        return _go_on(bench, asked, folder, state, listen, hire, 0)


def _staffed(
    bench: Workbench, asked: Asked, cluster: Cluster | None, listen: Listener
) -> AbstractContextManager[Hire]:
    model = ModelSource(asked.model, bench.dense, asked.device, asked.dtype, asked.threads)
    return staffed(cluster, model, partial(listen, asked.settings.strategy, asked.settings))


def _go_on(
    bench: Workbench,
    asked: Asked,
    folder: RunFolder,
    state: State,
    listen: Listener,
    hire: Hire,
    warnings: int,
) -> SearchResult:
    task = Task(asked.searched, ProbeSet(asked.name, asked.whole), asked.unread)
    out = Path(asked.output)
    try:
        finished = searched(bench, task, asked.settings, listen, state=state, folder=folder, hire=hire)
        result, _ = result_of(bench, task, asked.settings, finished, out)
    except KeyboardInterrupt:
        _write_best(state, asked, bench.name, out)
        raise
    return msgspec.structs.replace(result, warnings=warnings, run=str(folder.path))


def searched(
    bench: Workbench,
    task: Task,
    settings: SearchSettings,
    listen: Listener,
    *,
    state: State | None = None,
    folder: RunFolder | None = None,
    hire: Hire = alone,
) -> Finished:
    """Run one search to its end. Raises AuditError when there is nothing to search with."""
    event = None
    for event in run_search(
        bench.model, bench.tokenizer, task.searched, settings, state=state, folder=folder, hire=hire
    ):
        listen(settings.strategy, settings, event)
    assert isinstance(event, Finished)
    return event


def result_of(
    bench: Workbench, task: Task, settings: SearchSettings, finished: Finished, out: Path
) -> tuple[SearchResult, Patch]:
    """Measure what was found on the probes that the search did not read, and write it to `out`."""
    start = time.monotonic()
    patch = make_patch(bench.model, finished, settings, **_about(bench.name, settings, task.whole, out))

    def measured(probes: Sequence[Probe]) -> Comparison | None:
        return bench.compare(patch, probes) if probes else None

    heldout, unknown, control = (
        measured(task.whole.split(split)) for split in ("heldout", "unknown", "unseen")
    )
    drift = bench.drift(patch, task.unread) if task.unread else None
    manifest = msgspec.structs.replace(
        patch.manifest,
        results=_results(finished, heldout=heldout, unknown=unknown, control=control),
        metadata={BITS: count_bits(ModelMatrices(bench.model), patch.flips)},
    )
    patch = replace(patch, manifest=manifest)
    result = SearchResult(
        patch=str(out) if patch else None,
        run=None,
        flips=len(patch),
        payload_bytes=payload_bytes(patch),
        bare_bytes=len(encode(patch, manifest=False)),
        file_bytes=write_patch(patch, out) if patch else 0,
        fitness=finished.fitness,
        evaluations=finished.evaluations,
        seconds=finished.seconds + time.monotonic() - start,
        reason=finished.reason,
        warnings=0,
        target=measured(task.searched.targets),
        validation=measured(task.searched.validation),
        heldout=heldout,
        unknown=unknown,
        control=control,
        drift=drift,
    )
    return result, patch


def _write_best(state: State, asked: Asked, name: str, out: Path) -> None:
    """The best flips of a search that was stopped, unmeasured.

    Bound to the bits of the file: those of the loaded model may have been caught in the middle of a flip.
    """
    best = state.best
    if not best.flips:
        return
    finished = Finished(best.flips, best.fitness, state.evaluations, state.seconds, "interrupted")
    about = _about(name, asked.settings, ProbeSet(asked.name, asked.whole), out)
    results = _results(finished) | {"stopped": finished.reason}
    with open_checkpoint(asked.model) as checkpoint:
        write_patch(make_patch(checkpoint, finished, asked.settings, **about, results=results), out)


def _versions() -> dict[str, str]:
    return {package: version(package) for package in ("bankai", "torch", "transformers")}


def _results(finished: Finished, **comparisons: Comparison | None) -> dict[str, Any]:
    """What a manifest tells of the outcome."""
    counts = {name: found.counts for name, found in comparisons.items() if found is not None}
    work = {"fitness": round(finished.fitness, 4), "evaluations": round(finished.evaluations, 1)}
    return work | counts


def _about(model: str, settings: SearchSettings, probes: ProbeSet, out: Path) -> dict[str, Any]:
    """What a reader of the patch wants to know, but for the outcome: fields of the manifest."""
    drift = f" - {settings.drift:g} x drift" if settings.drift else ""
    return {
        "name": out.stem,
        "base_model": model,
        "objective": f"{settings.gain} gain - {settings.penalty:g} x {settings.loss} lost by controls{drift}",
        "probes": probes.digest,
        "versions": _versions(),
    }
