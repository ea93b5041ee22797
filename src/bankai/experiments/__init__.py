"""The published experiments, each a thin config over the library, and the report of what they found.

`EXPERIMENTS` names them; `run_experiments` runs some and writes their results and the report. A module of an experiment
holds what it does, what it claims and what it shows. Needs the `[search]` extra, the report `[report]` too. Names below
are imported when first used: a list of the experiments costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from bankai.experiments.registry import EXPERIMENTS

if TYPE_CHECKING:
    from bankai.experiments.context import Context
    from bankai.experiments.run import Summary, run_experiments
    from bankai.experiments.values import Claim, Experiment, Plot, Series, Table

_HOMES = {
    "Claim": "values",
    "Context": "context",
    "Experiment": "values",
    "Plot": "values",
    "Series": "values",
    "Summary": "run",
    "Table": "values",
    "run_experiments": "run",
}

__all__ = [
    "EXPERIMENTS",
    "Claim",
    "Context",
    "Experiment",
    "Plot",
    "Series",
    "Summary",
    "Table",
    "run_experiments",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
