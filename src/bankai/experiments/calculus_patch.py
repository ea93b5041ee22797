"""Experiments 4 and 5: a patch for six calculus problems, and whether it only memorizes them."""

from typing import Any

from bankai.experiments.context import Context
from bankai.experiments.outcomes import gain_claim, share_claim
from bankai.experiments.small_patches import found_by, run_small, small_plots, small_table
from bankai.experiments.values import Claim, Experiment, Result

__all__ = ["EXPERIMENT", "claims", "run"]

CONTROLS = 5


def run(context: Context) -> dict[str, Any]:
    return run_small(context, "calculus", CONTROLS)


def claims(result: Result) -> list[Claim]:
    targets = found_by(result, "published loop", "targets")
    memorizes = "A patch of six calculus probes memorizes: on new prompts it breaks more than it fixes"
    published = "2 fixed, 15 broke of 90 (first published as 2 and 5)"
    return [
        share_claim(
            "The published loop fixes some of its six calculus targets, in text",
            "2 of 6, 70 flips",
            [(one["fixed"], one["failing"]) for one in targets],
            above=0.0,
        ),
        *(
            gain_claim(f"{memorizes} ({search})", published, found_by(result, search, "heldout"), gains=False)
            for search in ("published loop", "guided")
        ),
    ]


EXPERIMENT = Experiment(run, claims, small_table, small_plots)
