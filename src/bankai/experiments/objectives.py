"""What the search is asked to raise: whole answers, margins or the worst category, and how much controls weigh."""

from typing import Any

from bankai.experiments.context import Context
from bankai.experiments.outcomes import mean_claim
from bankai.experiments.values import Claim, Experiment, Result
from bankai.experiments.variants import broken, found_with, run_variants, variant_plots, variant_table

__all__ = ["EXPERIMENT", "claims", "run"]

PENALTIES = (0.0, 0.5, 2.0, 8.0)
VARIANTS: dict[str, dict[str, Any]] = {
    **{f"full answer, λ = {penalty:g}": {"penalty": penalty, "drift": 0.0} for penalty in PENALTIES},
    "margins near the boundary, λ = 2": {"penalty": 2.0, "drift": 0.0, "gain": "boundary"},
    "margin loss of controls, λ = 2": {"penalty": 2.0, "drift": 0.0, "loss": "margin"},
    "defaults (λ = 4, drift 3)": {},
}


def run(context: Context) -> dict[str, Any]:
    return run_variants(context, "objectives", VARIANTS)


def claims(result: Result) -> list[Claim]:
    light, usual, heavy = (f"full answer, λ = {penalty:g}" for penalty in PENALTIES[1:])
    falls = [low - high for low, high in zip(broken(result, light), broken(result, usual), strict=True)]
    flips = [found_with(result, name, "flips") for name in (usual, heavy)]
    fewer = [few / max(1, many) for many, few in zip(*flips, strict=True)]
    return [
        mean_claim(
            "A light penalty, λ < 1, lets controls fall: unseen broken at 0.5 less those at 2, points",
            "λ < 1 lets controls fall, λ = 1.5 to 3 are alike",
            falls,
            " points",
            above=0.0,
        ),
        mean_claim(
            "A heavy penalty, λ > 4, accepts little: flips at 8 over those at 2, below half",
            "λ > 4 accepts little",
            fewer,
            below=0.5,
        ),
    ]


EXPERIMENT = Experiment(run, claims, variant_table, variant_plots)
