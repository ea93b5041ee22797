"""Where and with what a result was measured. Nothing in it names the machine."""

import os
import platform
import subprocess
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

__all__ = ["about"]

SOURCE = Path(__file__).parents[1]
PACKAGES = ("bankai", "torch", "transformers", "numpy")


def about(source: Path = SOURCE, besides: Sequence[str] = ()) -> dict[str, Any]:
    """Date, commit of the source (empty outside a repository), machine, versions, threads.

    `dirty`: the source has changes, those that the pathspecs `besides` leave out not counted.
    """
    versions = {"python": platform.python_version()} | {package: version(package) for package in PACKAGES}
    return {
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "commit": _git(source, "rev-parse", "--short=12", "HEAD"),
        "dirty": bool(_git(source, "status", "--porcelain", "--", ".", *besides)),
        "machine": _machine(),
        "versions": versions,
        "threads": torch.get_num_threads(),
    }


def _git(source: Path, *arguments: str) -> str:
    """What git prints; nothing where there is no git or no repository."""
    try:
        done = subprocess.run(["git", *arguments], cwd=source, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return done.stdout.strip()


def _machine() -> dict[str, Any]:
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
