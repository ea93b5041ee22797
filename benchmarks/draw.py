"""The probes of a seed: which of the built-in probes a search on `nano` reads, and which only judge it.

Every seed draws anew what is a target and what validates, which controls are read and which neutral texts; the held-out
and the unseen probes are the same for all.
"""

import random
from collections.abc import Sequence

import msgspec

from bankai.jobs.task import Task
from bankai.probes import Probe, ProbeSet, load_probe_set
from bankai.probes.neutral import load_neutral_texts
from bankai.search.parts import spread

__all__ = ["CONTROLS", "TARGETS", "TEXTS", "drawn", "small"]

TARGETS = 36  # of each category that can be elicited; the others of it validate
CONTROLS = 240
TEXTS = 60


def drawn(seed: int, *, controls: int | None = CONTROLS, texts: int = TEXTS) -> Task:
    """180 targets, 30 validation probes, as many controls in equal shares of their categories, and neutral texts.

    Held-out are the 400 and unseen the 512 probes of `elicitable`. `controls` None stands for all of them.
    """
    rng, elicitable = random.Random(seed), load_probe_set("elicitable")
    targets, validation = _divided([*elicitable.split("target"), *elicitable.split("validation")], rng)
    pool = load_probe_set("controls").probes
    read = [pool[index] for index in spread(pool, seed)[:controls]]
    reported = [*elicitable.split("heldout"), *elicitable.split("unseen")]
    probes = ProbeSet(f"elicitable, draw {seed}", [*targets, *validation, *read, *reported])
    return Task.of([probes], texts=rng.sample(load_neutral_texts("nano-neutral"), texts))


def small(seed: int, *, targets: int = 60, controls: int = 120) -> Task:
    """The draw of a seed cut to what the published loop could afford to read, without neutral texts."""
    return drawn(seed, controls=controls, texts=0).drawn(targets, controls, seed)


def _divided(probes: Sequence[Probe], rng: random.Random) -> tuple[list[Probe], list[Probe]]:
    """`TARGETS` of each category as targets, the others as validation."""
    targets, validation = [], []
    for category in dict.fromkeys(probe.category for probe in probes):
        members = [probe for probe in probes if probe.category == category]
        members = rng.sample(members, len(members))
        targets += [msgspec.structs.replace(probe, split="target") for probe in members[:TARGETS]]
        validation += [msgspec.structs.replace(probe, split="validation") for probe in members[TARGETS:]]
    return targets, validation
