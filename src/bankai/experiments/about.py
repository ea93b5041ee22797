"""Where and with what a result was measured. Nothing in it names the machine."""

import os
import platform
import subprocess
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

__all__ = ["about"]

PACKAGES = ("bankai", "torch", "transformers", "numpy")


def about() -> dict[str, Any]:
    """Date, commit of the source (empty outside a repository), machine, versions, threads."""
    versions = {"python": platform.python_version()} | {package: version(package) for package in PACKAGES}
    return {
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "commit": _git("rev-parse", "--short=12", "HEAD"),
        "dirty": bool(_git("status", "--porcelain", "--", ".")),
        "machine": _machine(),
        "versions": versions,
        "threads": torch.get_num_threads(),
    }


def _git(*arguments: str) -> str:
    """What git prints of the package's own source; nothing where there is no git or no repository."""
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=Path(__file__).parents[1], capture_output=True, text=True, check=False
        )
    except OSError:
        return ""
    return done.stdout.strip()


def _machine() -> str:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{_cpu()}, {cores} cores usable"


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())
