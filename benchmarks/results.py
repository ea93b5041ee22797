"""What a run of a bench leaves: a JSON file that says where it ran, and its table on the page."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from bankai.experiments.about import about as measured_with

__all__ = ["PAGE", "RESULTS", "ROOT", "Table", "about", "fill", "footer", "read", "write"]

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
PAGE = ROOT / "docs" / "benchmarks.md"
OWN = (
    ":!benchmarks/results",
    ":!docs/benchmarks.md",
    ":!docs/frontier.svg",
)  # what a run itself writes does not make the tree dirty
Table = Callable[[dict[str, Any]], str]


def about() -> dict[str, Any]:
    """When, on which commit, where and with what: fields of a result."""
    return measured_with(ROOT, OWN)


def write(folder: Path, report: Mapping[str, Any]) -> Path:
    """`NAME.json` in the folder; `report` holds the fields of :func:`about`, "bench", "seconds", "quick", "result"."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{report['bench']}.json"
    path.write_text(json.dumps(report, indent=1) + "\n")
    return path


def read(folder: Path, name: str) -> dict[str, Any] | None:
    """The report of a bench; None when it has not run."""
    path = folder / f"{name}.json"
    return json.loads(path.read_text()) if path.exists() else None


def footer(report: Mapping[str, Any]) -> str:
    """One line: where and when."""
    machine, versions = report["machine"], report["versions"]
    changed = " with changes" if report["dirty"] else ""
    return (
        f"*{report['date']}, {machine['cpu']}, {machine['cores']} cores usable, {report['threads']} threads, "
        f"{machine['memory_gib']:g} GiB; Python {versions['python']}, torch {versions['torch']}, transformers "
        f"{versions['transformers']}; commit {report['commit']}{changed}; {report['seconds']:.0f} s.*"
    )


def fill(page: str, folder: Path, tables: Mapping[str, Table]) -> str:
    """The page with each table between its markers written anew from the results in the folder.

    A bench that has not run, or of which `tables` has nothing, keeps what stands there.
    """
    for name, table in tables.items():
        report = read(folder, name)
        if report is not None:
            begin, end = f"<!-- bench:{name} -->", f"<!-- /bench:{name} -->"
            text = f"{begin}\n{table(report['result']).strip()}\n\n{footer(report)}\n{end}"
            head, _, rest = page.partition(begin)
            page = head + text + rest.partition(end)[2]
    return page
