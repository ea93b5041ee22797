"""A probe set under the base and under patches, probe by probe."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from bankai.errors import StudioError
from bankai.evaluation.report import Comparison
from bankai.evaluation.report import compare as compare_scores
from bankai.evaluation.scoring import ProbeScore, score_probes
from bankai.probes import Probe
from bankai.steps import StepListener, ignore_steps
from bankai.studio.shared import SharedModel

__all__ = ["OUTCOMES", "Measured", "Outcome", "Row", "chosen", "measure"]

Outcome = Literal["fixed", "broke", "stayed solved", "stayed failing"]
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)
MOST = 5000
TURN = 32  # probes that are scored before somebody else has the turn


@dataclass(frozen=True)
class Row:
    """A probe with its margins: above 0 is solved."""

    id: str
    category: str
    asked: str
    answer: str
    base: float
    patched: float
    outcome: Outcome


@dataclass(frozen=True)
class Measured:
    """All probes, and the counts with intervals and p-value."""

    rows: tuple[Row, ...]
    comparison: Comparison


def measure(
    shared: SharedModel, probes: Sequence[Probe], names: Sequence[str], listen: StepListener = ignore_steps
) -> Measured:
    """Raises StudioError for too many probes, what encoding them raises, and what `SharedModel.on` raises."""
    if len(probes) > MOST:
        raise StudioError(f"{len(probes)} probes are too many for a page; `bankai eval` takes any number")
    base = _scores(shared, probes, (), listen)
    patched = _scores(shared, probes, names, listen) if names else base
    rows = [_row(*one) for one in zip(probes, base, patched, strict=True)]
    return Measured(tuple(rows), compare_scores(base, patched, probes))


def _scores(
    shared: SharedModel, probes: Sequence[Probe], names: Sequence[str], listen: StepListener
) -> list[ProbeScore]:
    found: list[ProbeScore] = []
    for start in range(0, len(probes), TURN):
        with shared.on(names) as model:
            found += score_probes(model, shared.tokenizer, probes[start : start + TURN])
        listen("patched" if names else "base", len(found), len(probes))
    return found


def _row(probe: Probe, base: ProbeScore, patched: ProbeScore) -> Row:
    last = probe.prompt if probe.messages is None else probe.messages[-1].content
    outcomes: dict[tuple[bool, bool], Outcome] = {
        (False, True): "fixed",
        (True, False): "broke",
        (True, True): "stayed solved",
        (False, False): "stayed failing",
    }
    return Row(
        id=probe.id,
        category=probe.category,
        asked=f"{last}{probe.prefix}",
        answer=" or ".join(probe.answers),
        base=base.margin,
        patched=patched.margin,
        outcome=outcomes[base.solved, patched.solved],
    )


def chosen(rows: Iterable[Row], outcome: str = "", words: str = "") -> tuple[Row, ...]:
    """Those of that outcome, any when empty, that have all the words in what is to be seen of them; case is nothing."""
    needles = words.casefold().split()
    return tuple(
        row
        for row in rows
        if outcome in ("", row.outcome)
        and all(
            needle in f"{row.id} {row.category} {row.asked} {row.answer}".casefold() for needle in needles
        )
    )
