"""What a run of a bench leaves: a JSON file that says where it ran, and its table on the page.

Does not know: what is measured.
"""

import json
import os
import platform
import subprocess
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

__all__ = ["PAGE", "RESULTS", "ROOT", "Table", "about", "fill", "footer", "read", "write"]

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
PAGE = ROOT / "docs" / "benchmarks.md"
PACKAGES = ("bankai", "torch", "transformers", "numpy")
OWN = (
    ":!benchmarks/results",
    ":!docs/benchmarks.md",
    ":!docs/frontier.svg",
)  # what a run itself writes does not make the tree dirty
Table = Callable[[dict[str, Any]], str]


def about() -> dict[str, Any]:
    """When, on which commit, where and with what: fields of a result."""
    versions = {"python": platform.python_version()} | {package: version(package) for package in PACKAGES}
    return {
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "commit": _git("rev-parse", "--short=12", "HEAD"),
        "dirty": bool(_git("status", "--porcelain", "--", ".", *OWN)),
        "machine": _machine(),
        "versions": versions,
        "threads": torch.get_num_threads(),
    }


def _git(*arguments: str) -> str:
    """What git prints; nothing outside a repository."""
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip()


def _machine() -> dict[str, Any]:
    """Nothing that names the machine."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {"cpu": _cpu(), "cores": cores, "memory_gib": round(memory, 1)}


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


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
