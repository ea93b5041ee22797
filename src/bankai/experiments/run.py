"""Experiments from a model to a folder of results and one report. Nothing here prints.

The folder holds NAME.json for every experiment that is done, `report.html` and `report.json`; it is brought up to date
after each experiment, so a run that was cut short has lost only the one it was at, and goes on with the others. Long
experiments keep what they have measured so far in `cells`, and lose only the cell they were at.
"""

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from shutil import rmtree
from typing import Any

from bankai.checkpoint.model_file import open_checkpoint
from bankai.errors import MissingExtraError, StoreError
from bankai.experiments.about import about
from bankai.experiments.context import BONSAI, NANO, Context, Sets
from bankai.experiments.registry import PURPOSES, experiment
from bankai.experiments.report import Summary, read_results, write_report
from bankai.io import writing
from bankai.jobs.checks import require_base
from bankai.jobs.workbench import Workbench
from bankai.patch import fingerprint
from bankai.steps import StepListener, ignore_steps

__all__ = ["SEEDS", "Summary", "run_experiments"]

SEEDS = 3
Told = Callable[[str], None]


def run_experiments(
    names: Sequence[str],
    model: str | Path,
    out: Path,
    *,
    quick: bool = False,
    seeds: int | None = None,
    again: bool = False,
    sets: Sets | None = None,
    listen: StepListener = ignore_steps,
    tell: Told = lambda line: None,
) -> Summary:
    """Run the named experiments and write the report of all that the folder holds.

    One whose result is there already, asked the same way of the same model, is not run again unless `again`. `seeds`
    are 3, quick 1. `sets` are those of `nano` for that model, else those for Bonsai. `tell` gets a line after each
    experiment. Raises StoreError for a folder that cannot be written, StateError when the model has patches on,
    MissingExtraError without the `[report]` extra.
    """
    _require_report()
    require_base(model, "measure")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"{out} cannot be made: {error}; choose another folder") from error
    asked = _asked(model, quick, tuple(range(seeds or (1 if quick else SEEDS))))
    done = read_results(out)
    cells = out / "cells" / f"{asked['fingerprint'][:12]}{'-quick' if quick else ''}"
    if again:
        if all(done.get(name, {}).get("asked") == asked for name in names):  # else it goes on
            rmtree(cells, ignore_errors=True)
        done = {}
    missing = [name for name in names if done.get(name, {}).get("asked") != asked]
    for name in names:
        if name not in missing:
            tell(f"{name}: done before")
    summary = write_report(out)
    if missing:
        sets = sets or (NANO if str(model) == "nano" else BONSAI)
        context = Context(Workbench(model), sets, tuple(asked["seeds"]), quick, listen, folder=cells)
        for name in missing:
            tell(f"{name}: {PURPOSES[name]}")
            _run_one(name, context, asked, out)
            summary = write_report(out)
    return summary


def _run_one(name: str, context: Context, asked: dict[str, Any], out: Path) -> None:
    start = time.monotonic()
    result = experiment(name).run(context)
    seconds = time.monotonic() - start
    document = {"experiment": name, "asked": asked, "about": about(), "result": result, "seconds": seconds}
    with writing(out / f"{name}.json") as temporary:
        temporary.write_text(json.dumps(document, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def _asked(model: str | Path, quick: bool, seeds: tuple[int, ...]) -> dict[str, Any]:
    """What a result depends on but the code."""
    with open_checkpoint(model) as checkpoint:
        name = fingerprint(checkpoint).hex()
    return {"model": Path(model).name, "fingerprint": name, "quick": quick, "seeds": list(seeds)}


def _require_report() -> None:
    try:
        import jinja2  # noqa: F401
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise MissingExtraError(
            f"{error.name} is not installed, which the report needs; run: pip install 'bankai[report]'"
        ) from error
