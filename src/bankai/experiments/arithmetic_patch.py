"""Experiment 3: a patch for six arithmetic problems that the model fails."""

from typing import Any

from bankai.evaluation.statistics import percent
from bankai.experiments.context import Context
from bankai.experiments.outcomes import gain_claim, mean_claim, share_claim
from bankai.experiments.small_patches import found_by, run_small, small_plots, small_table
from bankai.experiments.values import Claim, Experiment, Result

__all__ = ["EXPERIMENT", "claims", "run"]

CONTROLS = 4


def run(context: Context) -> dict[str, Any]:
    return run_small(context, "arithmetic", CONTROLS)


def claims(result: Result) -> list[Claim]:
    targets, unseen = (found_by(result, "published loop", part) for part in ("targets", "unseen"))
    broken = [percent(one["broke"], one["solved"]) for one in unseen]
    return [
        share_claim(
            "The published loop fixes some of its six arithmetic targets, in text",
            "1 of 6 (2 + 2), 72 flips",
            [(one["fixed"], one["failing"]) for one in targets],
            above=0.0,
        ),
        mean_claim(
            "Its controls hold: less than 2 % of unseen ones break",
            "4 controls held",
            broken,
            " %",
            below=2.0,
        ),
        gain_claim(
            "Six arithmetic probes help on new problems (guided)",
            "not measured",
            found_by(result, "guided", "heldout"),
            gains=True,
        ),
    ]


EXPERIMENT = Experiment(run, claims, small_table, small_plots)
