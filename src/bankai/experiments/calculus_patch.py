"""Experiments 4 and 5: a patch for six calculus problems, and whether it only memorizes them.

Beside it how much less than a patch is enough to change answers: one more space at the end of the prompt.
"""

from typing import Any

import msgspec

from bankai.experiments.context import Context
from bankai.experiments.outcomes import gain_claim, share_claim
from bankai.experiments.small_patches import found_by, run_small, small_plots, small_table
from bankai.experiments.values import Claim, Experiment, Result
from bankai.probes import Probe

__all__ = ["EXPERIMENT", "claims", "run", "spaced"]

CONTROLS = 5


def run(context: Context) -> dict[str, Any]:
    probes = context.some(context.load("calculus").split("heldout"))
    before, after = (context.score(asked) for asked in (probes, [spaced(probe) for probe in probes]))
    changed = sum(old.solved != new.solved for old, new in zip(before, after, strict=True))
    found = run_small(context, "calculus", CONTROLS)
    return {**found, "spaced": {"probes": len(probes), "changed": changed}}


def spaced(probe: Probe) -> Probe:
    """The same with the space before the answer moved to the end of what is asked; as it is where there is none."""
    if not all(answer.startswith(" ") for answer in probe.answers):
        return probe
    end = {"prefix": f"{probe.prefix} "} if probe.prompt is None else {"prompt": f"{probe.prompt} "}
    answers = tuple(answer.removeprefix(" ") for answer in probe.answers)
    return msgspec.structs.replace(probe, answers=answers, distractor=None, **end)


def claims(result: Result) -> list[Claim]:
    targets = found_by(result, "published loop", "targets")
    memorizes = "A patch of six calculus probes memorizes: on new prompts it breaks more than it fixes"
    space = result["spaced"]
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
        share_claim(
            "A space at the end of the prompt alone changes whether an answer is right",
            "1 of 6 probes",
            [(space["changed"], space["probes"])],
            above=0.0,
        ),
    ]


EXPERIMENT = Experiment(run, claims, small_table, small_plots)
