"""What a patch fixed and broke, counted as paired results of the same probes.

The dataclasses are the JSON that the command line prints, field by field.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

from bankai.evaluation.statistics import mcnemar_exact, wilson
from bankai.probes.probe import Probe

__all__ = ["Base", "Comparison", "Counts", "Result", "Solved", "Summary", "compare", "summarize"]

Interval = tuple[float, float]


class Result(Protocol):
    """What came of a probe."""

    @property
    def solved(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class Solved:
    """``solved`` of ``probes``, and the 95 % Wilson interval of that rate."""

    probes: int
    solved: int
    interval: Interval

    @classmethod
    def of(cls, flags: Sequence[bool]) -> "Solved":
        return cls(len(flags), sum(flags), wilson(sum(flags), len(flags)))


@dataclass(frozen=True, slots=True)
class Base:
    """Results without a patch; `base` is where `Counts` has it."""

    probes: int
    base: Solved

    @classmethod
    def of(cls, flags: Sequence[bool]) -> "Base":
        return Base(len(flags), Solved.of(flags))


@dataclass(frozen=True, slots=True)
class Summary(Base):
    """Without a patch: all probes, then by category."""

    categories: dict[str, Base]


@dataclass(frozen=True, slots=True)
class Counts:
    """Paired results of the same probes without and with a patch.

    ``fixed_interval`` is for fixed of the failing, ``broke_interval`` for broke of the solved; 95 % Wilson.
    ``p_value`` is McNemar's, two-sided and exact.
    """

    probes: int
    base: Solved
    patched: Solved
    fixed: int
    broke: int
    stayed_solved: int
    stayed_failing: int
    fixed_interval: Interval
    broke_interval: Interval
    p_value: float

    @classmethod
    def of(cls, base: Sequence[bool], patched: Sequence[bool]) -> "Counts":
        pairs = list(zip(base, patched, strict=True))
        fixed, broke = pairs.count((False, True)), pairs.count((True, False))
        stayed_solved, stayed_failing = pairs.count((True, True)), pairs.count((False, False))
        return cls(
            probes=len(pairs),
            base=Solved.of(base),
            patched=Solved.of(patched),
            fixed=fixed,
            broke=broke,
            stayed_solved=stayed_solved,
            stayed_failing=stayed_failing,
            fixed_interval=wilson(fixed, fixed + stayed_failing),
            broke_interval=wilson(broke, broke + stayed_solved),
            p_value=mcnemar_exact(fixed, broke),
        )

    @property
    def counts(self) -> dict[str, int]:
        """The five numbers from which the rest follows, for a manifest."""
        return {
            "probes": self.probes,
            "base": self.base.solved,
            "patched": self.patched.solved,
            "fixed": self.fixed,
            "broke": self.broke,
        }


@dataclass(frozen=True, slots=True)
class Comparison(Counts):
    """All probes, then by category."""

    categories: dict[str, Counts]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return dict(msgspec.to_builtins(self))


def compare(base: Sequence[Result], patched: Sequence[Result], probes: Sequence[Probe]) -> Comparison:
    """Results of the same probes in the same order, without and with a patch; ValueError if not equal."""
    before, after = [result.solved for result in base], [result.solved for result in patched]
    by_category = _by_category(probes, list(zip(before, after, strict=True)))
    total = Counts.of(before, after)
    return Comparison(
        **{name: getattr(total, name) for name in Counts.__dataclass_fields__},
        categories={name: Counts.of(*zip(*pairs, strict=True)) for name, pairs in by_category.items()},
    )


def summarize(results: Sequence[Result], probes: Sequence[Probe]) -> Summary:
    """Results of one model. Raises ValueError on unequal lengths."""
    flags = [result.solved for result in results]
    categories = {name: Base.of(found) for name, found in _by_category(probes, flags).items()}
    return Summary(len(flags), Solved.of(flags), categories)


def _by_category(probes: Sequence[Probe], results: Sequence[Any]) -> dict[str, list[Any]]:
    groups: dict[str, list[Any]] = {}
    for probe, result in zip(probes, results, strict=True):
        groups.setdefault(probe.category, []).append(result)
    return groups
