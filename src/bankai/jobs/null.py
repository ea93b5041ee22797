"""Whether a patch does more than chance: the same probes with patches of as many random flips in the same tensors.

Nothing here prints; progress goes to a listener.
"""

from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from random import Random
from statistics import median
from typing import Literal

from bankai.evaluation.engines import TorchEngine
from bankai.evaluation.evaluate import probes_of
from bankai.evaluation.grading import GRADED_TOKENS, graded_by, results
from bankai.evaluation.report import Comparison, Counts, compare
from bankai.jobs.workbench import Workbench
from bankai.model import ModelMatrices, patched
from bankai.patch import Patch, read_patch
from bankai.probes import Split
from bankai.search import matched_flips
from bankai.steps import StepListener, ignore_steps

__all__ = ["Null", "NullComparison", "Outcome", "compare_with_null"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a patch fixed and broke; `net` is the difference."""

    fixed: float
    broke: float
    net: float

    @classmethod
    def of(cls, counts: Counts) -> "Outcome":
        return cls(counts.fixed, counts.broke, counts.fixed - counts.broke)


@dataclass(frozen=True, slots=True)
class Null:
    """Random patches in the order drawn, and the median and the largest of each of their numbers.

    `p_value` is the chance that a patch like them has a net as large as that of the patch: (1 + those that have) /
    (1 + all of them), so it cannot be smaller than 1 / (1 + all).
    """

    seed: int
    patches: tuple[Outcome, ...]
    median: Outcome
    max: Outcome
    p_value: float

    @classmethod
    def of(cls, seed: int, net: float, patches: tuple[Outcome, ...]) -> "Null":
        columns = [[getattr(one, field.name) for one in patches] for field in fields(Outcome)]
        reached = sum(one.net >= net for one in patches)
        return cls(
            seed=seed,
            patches=patches,
            median=Outcome(*map(median, columns)),
            max=Outcome(*map(max, columns)),
            p_value=(1 + reached) / (1 + len(patches)),
        )


@dataclass(frozen=True, slots=True)
class NullComparison(Comparison):
    """A patch compared with its base, and what random patches do."""

    null: Null


def compare_with_null(
    source: str | Path,
    probe_set: str | Path,
    patch: str | Path,
    count: int,
    *,
    split: Split | Literal["all"] = "heldout",
    grade: str | None = None,
    max_tokens: int = GRADED_TOKENS,
    seed: int = 0,
    unbound: bool = False,
    device: str = "cpu",
    dtype: str = "float32",
    listen: StepListener = ignore_steps,
) -> NullComparison:
    """As :func:`bankai.evaluation.evaluate_file`, and `count` random patches like it, at least one.

    The first patches of a seed are the same however many are drawn. Raises what that function raises, and PlaceError
    when the patch flips too much of a tensor to be matched.
    """
    probes, change = [*graded_by(grade, probes_of(probe_set, split))], read_patch(Path(patch))
    bench = Workbench(source, device=device, dtype=dtype)
    engine, tensors, rng = TorchEngine(bench.model, bench.tokenizer), ModelMatrices(bench.model), Random(seed)
    measure = partial(results, engine, probes, max_tokens=max_tokens)
    base = measure()

    def measured(patch: Patch, unbound: bool) -> Comparison:
        with patched(bench.model, patch, unbound=unbound):
            return compare(base, measure(), probes)

    found, outcomes = measured(change, unbound), []
    for done in range(count):
        drawn = Patch(matched_flips(change.flips, tensors, rng))
        outcomes.append(Outcome.of(measured(drawn, unbound=True)))
        listen("random patches", done + 1, count)
    null = Null.of(seed, found.fixed - found.broke, tuple(outcomes))
    return NullComparison(
        **{name: getattr(found, name) for name in Comparison.__dataclass_fields__}, null=null
    )
