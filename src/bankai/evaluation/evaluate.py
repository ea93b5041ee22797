"""One model file on one probe set, without and with a patch, in a chosen engine."""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

from bankai.errors import ProbeFormatError
from bankai.evaluation.engines import EngineName, TorchEngine, open_engine
from bankai.evaluation.report import Comparison, Summary, compare, summarize
from bankai.evaluation.scoring import ProbeScore
from bankai.model.patching import patched
from bankai.patch import Patch, read_patch
from bankai.patching import apply_patch
from bankai.probes.probe import Probe, Split, load_probe_set

__all__ = ["evaluate_file", "probes_of"]


def evaluate_file(
    source: str | Path,
    probe_set: str | Path,
    patch: str | Path | None = None,
    *,
    split: Split | Literal["all"] = "heldout",
    engine: EngineName = "torch",
    unbound: bool = False,
    device: str = "cpu",
    dtype: str = "float32",
) -> Comparison | Summary:
    """Score one split of a set; a Comparison with a patch, a Summary without.

    The file is not changed. Raises what reading model, probes and patch raises, ProbeFormatError for an empty
    split, StateError when the patch is not for this model, MissingExtraError for an engine not installed,
    DeviceError for a device that is not there.
    """
    probes = probes_of(probe_set, split)
    change = None if patch is None else read_patch(Path(patch))
    opened = open_engine(engine, source, device=device, dtype=dtype)
    base = opened.score(probes)
    if change is None:
        return summarize(base, probes)
    if isinstance(opened, TorchEngine):
        with patched(opened.model, change, unbound=unbound):
            return compare(base, opened.score(probes), probes)
    return compare(base, _score_copy(engine, source, change, probes, unbound), probes)


def probes_of(probe_set: str | Path, split: Split | Literal["all"]) -> tuple[Probe, ...]:
    """One split of a set, or all of it. Raises ProbeFormatError, also for an empty split."""
    found = load_probe_set(probe_set)
    probes = found.probes if split == "all" else found.split(split)
    if not probes:
        raise ProbeFormatError(
            f"{found.name} has no {split} probes, only {', '.join(found.splits)}; choose one of those or another set"
        )
    return probes


def _score_copy(
    engine: EngineName, source: str | Path, patch: Patch, probes: Sequence[Probe], unbound: bool
) -> list[ProbeScore]:
    """Another engine reads files only, so the patch goes on a temporary copy."""
    with TemporaryDirectory() as folder:
        name = "patched" if Path(source).is_dir() else "patched.gguf"
        copy = Path(folder) / name
        apply_patch(source, patch, copy, unbound=unbound)
        return open_engine(engine, copy).score(probes)
