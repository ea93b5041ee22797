"""How often the verdict of `bankai fix` is right, on simulated tables whose truth is known.

A patch of a simulated table fixes every unseen failing row with one probability, breaks every general question that was
right with another, and mends those that were wrong with a third. No model is run.
"""

from collections import Counter
from collections.abc import Iterator
from random import Random
from typing import Any

from bankai.evaluation.report import Counts
from bankai.jobs.fix.verdict import judge_patch

__all__ = ["TRUTHS", "run", "simulate", "table"]

SIZES = 12, 36, 100  # unseen failing rows
RIGHT, WRONG = 190, 220  # of the general questions, as of SmolLM2
TABLES = 20
UNSURE = "too few rows to tell"  # never right, and never wrong
CHURN = 0.02  # of what is right or wrong turns by chance, either way

TRUTHS = {
    "does nothing": (0.02, 0.0, "do not ship this"),
    "fixes 5 %": (0.05, 0.0, "do not ship this"),
    "fixes 20 %": (0.20, 0.0, "helps"),
    "fixes 50 %": (0.50, 0.0, "helps"),
    "fixes 50 %, loses 8 %": (0.50, 0.08, "helps at a price"),
    "fixes 50 %, loses 25 %": (0.50, 0.25, "do not ship this"),
}
"""Chance that a failing row is fixed and that a right answer is lost, and the verdict that is right."""


def run(quick: bool) -> dict[str, Any]:
    tables = 4 if quick else TABLES
    return {
        "tables": tables,
        "found": [
            {"truth": truth, "rows": rows, "verdicts": dict(Counter(simulate(truth, rows, tables)))}
            for truth in TRUTHS
            for rows in SIZES
        ],
    }


def simulate(truth: str, rows: int, tables: int) -> Iterator[str]:
    """The verdicts on so many tables; the seed is the number of the table."""
    gain, loss, _ = TRUTHS[truth]
    for seed in range(tables):
        rng = Random(f"{truth} {rows} {seed}")
        failing = Counts.of([False] * rows, [rng.random() < gain for _ in range(rows)])
        was = [True] * RIGHT + [False] * WRONG
        now = [
            rng.random() >= CHURN + loss if right else rng.random() < CHURN * RIGHT / WRONG for right in was
        ]
        yield judge_patch(failing, [Counts.of(was, now)], crossed=False).kind


def table(result: dict[str, Any]) -> str:
    kinds = ("helps", "helps at a price", "do not ship this", UNSURE)
    lines = [
        "| truth | unseen failing rows | " + " | ".join(kinds) + " | right | wrong |",
        "|---|--:" + "|--:" * (len(kinds) + 2) + "|",
    ]
    for one in result["found"]:
        counts = one["verdicts"]
        right = counts.get(TRUTHS[one["truth"]][2], 0)
        wrong = result["tables"] - right - counts.get(UNSURE, 0)
        cells = " | ".join(str(counts.get(kind, 0)) for kind in kinds)
        lines.append(f"| {one['truth']} | {one['rows']} | {cells} | {right} | {wrong} |")
    return "\n".join(lines)
