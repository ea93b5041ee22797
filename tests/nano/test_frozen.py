"""nano is frozen: every published figure refers to these bytes."""

import hashlib

from bankai.checkpoint.model_file import builtin_models
from bankai.evaluation.scoring import score_probes
from bankai.model import load
from bankai.probes import Probe, load_probe_set

SHA256 = "04ba512414a9b94cb65059860105fb186b705bfa5173c52bc5db15973f5f5fcf"


def test_nano_is_the_frozen_file() -> None:
    assert hashlib.sha256(builtin_models()["nano"].read_bytes()).hexdigest() == SHA256


def shares_solved(probes: tuple[Probe, ...]) -> dict[str, float]:
    model, tokenizer = load("nano", dense=True)
    solved: dict[str, list[bool]] = {}
    for probe, score in zip(probes, score_probes(model, tokenizer, probes), strict=True):
        solved.setdefault(probe.category, []).append(score.solved)
    return {category: sum(found) / len(found) for category, found in solved.items()}


def test_elicitable_categories_fail_though_the_model_knows() -> None:
    probes = load_probe_set("elicitable")
    failing, clean = shares_solved(probes.split("heldout")), shares_solved(probes.split("unseen"))
    assert len(failing) >= 4
    assert all(0.05 <= share <= 0.60 for share in failing.values()), failing
    assert all(clean[category] >= 0.80 for category in failing), clean


def test_capability_limited_categories_are_partly_solved() -> None:
    limited = shares_solved(load_probe_set("limited").split("heldout"))
    assert len(limited) >= 2
    assert all(0.40 <= share <= 0.90 for share in limited.values()), limited
