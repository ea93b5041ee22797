"""One model file on one probe set, without and with a patch, in a chosen engine."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

from bankai.errors import ProbeFormatError
from bankai.evaluation.engines import EngineName, TorchEngine, open_engine
from bankai.evaluation.grading import GRADED_TOKENS, graded_by, results
from bankai.evaluation.report import Comparison, Summary, compare, summarize
from bankai.model.patching import patched
from bankai.patch import Patch, read_patch
from bankai.patching import apply_patch
from bankai.probes.probe import Probe, Split, load_probe_set
from bankai.steps import StepListener, ignore_steps

__all__ = ["evaluate_file", "probes_of"]


def evaluate_file(
    source: str | Path,
    probe_set: str | Path,
    patch: str | Path | None = None,
    *,
    split: Split | Literal["all"] = "heldout",
    engine: EngineName = "torch",
    grade: str | None = None,
    max_tokens: int = GRADED_TOKENS,
    unbound: bool = False,
    device: str = "cpu",
    dtype: str = "float32",
    listen: StepListener = ignore_steps,
) -> Comparison | Summary:
    """What a model solves of one split of a set; a Comparison with a patch, a Summary without.

    `grade` spells a grader for all probes, see `bankai.probes.graders`; else each is judged by its own, if it has one.
    Of a reply that is graded `max_tokens` tokens are read. The file is not changed. Raises what reading model, probes
    and patch raises, ProbeFormatError for an empty split and for a grader that does not fit, StateError when the patch
    is not for this model, MissingExtraError for an engine not installed, DeviceError for a device that is not there.
    """
    probes = [*graded_by(grade, probes_of(probe_set, split))]
    change = None if patch is None else read_patch(Path(patch))
    opened = open_engine(engine, source, device=device, dtype=dtype)
    measured = partial(results, probes=probes, max_tokens=max_tokens, listen=listen)
    base = measured(opened)
    if change is None:
        return summarize(base, probes)
    if isinstance(opened, TorchEngine):
        with patched(opened.model, change, unbound=unbound):
            return compare(base, measured(opened), probes)
    with _copy(source, change, unbound) as copy:
        return compare(base, measured(open_engine(engine, copy)), probes)


def probes_of(probe_set: str | Path, split: Split | Literal["all"]) -> tuple[Probe, ...]:
    """One split of a set, or all of it. Raises ProbeFormatError, also for an empty split."""
    found = load_probe_set(probe_set)
    probes = found.probes if split == "all" else found.split(split)
    if not probes:
        raise ProbeFormatError(
            f"{found.name} has no {split} probes, only {', '.join(found.splits)}; choose one of those or another set"
        )
    return probes


@contextmanager
def _copy(source: str | Path, patch: Patch, unbound: bool) -> Iterator[Path]:
    """Another engine than torch reads files only, so the patch goes on a temporary copy."""
    with TemporaryDirectory() as folder:
        copy = Path(folder) / ("patched" if Path(source).is_dir() else "patched.gguf")
        apply_patch(source, patch, copy, unbound=unbound)
        yield copy
