"""Tables of several columns, on stdout."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from bankai.cli.output import clean, print_line

if TYPE_CHECKING:
    from bankai.evaluation.known import KnowledgeReport
    from bankai.evaluation.report import Comparison, Counts, Summary

__all__ = ["print_comparison", "print_knowledge", "print_table"]


def print_table(
    title: str, columns: Sequence[str], rows: Iterable[Sequence[object]], *, words: bool = False
) -> None:
    """First column to the left, the others to the right unless they are words.

    Text is cleaned, and printed without markup.
    """
    table = Table(box=None, pad_edge=False)
    for index, column in enumerate(columns):
        table.add_column(clean(column), justify="left" if words or index == 0 else "right")
    for row in rows:
        table.add_row(*map(clean, row))
    console = Console(markup=False, highlight=False)
    # Not as the table's title, which folds at its width and is filled up with blanks.
    console.print(clean(title), style="bold", soft_wrap=True)
    console.print(table)


def print_comparison(title: str, result: "Comparison | Summary") -> None:
    """Solved probes by category and together; with a patch also what it fixed and broke."""
    from bankai.evaluation.report import Summary

    if isinstance(result, Summary):
        bases = [*sorted(result.categories.items()), ("all", result)]
        solved = [(name, row.probes, row.base.solved) for name, row in bases]
        print_table(title, ("", "probes", "solved"), solved)
        return
    rows = [*sorted(result.categories.items()), ("all", result)]
    columns = ("", "probes", "base", "patched", "fixed", "broke", "p")
    print_table(title, columns, [_compared(name, row) for name, row in rows])


def _compared(name: str, row: "Counts") -> tuple[object, ...]:
    failing = row.probes - row.base.solved
    fixed, broke = f"{row.fixed} of {failing}", f"{row.broke} of {row.base.solved}"
    return name, row.probes, row.base.solved, row.patched.solved, fixed, broke, f"{row.p_value:.2g}"


def print_knowledge(report: "KnowledgeReport") -> None:
    """How the model shows that it knows answers that it fails, by category and together; nothing without failures."""
    if not report.failed:
        return
    rows = [*report.categories.items(), ("all", report)]
    ways = {"by its reply": "reply", "after examples": "examples"}
    if report.samples:  # only graders draw replies
        ways["when drawn"] = "samples"
    columns = ("", "failed", "known", *ways)
    counts = [
        (name, row.failed, row.known, *(getattr(row, way) for way in ways.values())) for name, row in rows
    ]
    print_table("Failures whose answer the model knows", columns, counts)
    print_line(
        f"{report.known} of {report.failed} failures are known; a patch can be expected to help with "
        f"{'those' if report.known else 'none of them'}"
    )
