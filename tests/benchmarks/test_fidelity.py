"""The bench of attribution: exact effects against flipping by hand, shares counted right, a report that adds up."""

import numpy as np
import pytest
from benchmarks import fidelity
from benchmarks.draw import small

from bankai.evaluation.scoring import score_probes
from bankai.model import flip, load
from bankai.model.decoder import Decoder
from bankai.patch import Flip
from bankai.search import Space


def made(estimated, exact):
    flips = [Flip("tensor", row) for row in range(len(exact))]
    return fidelity.Measured(flips, np.array(estimated, dtype=float), np.array(exact, dtype=float))


def test_exact_effects_are_those_of_flipping():
    model, tokenizer = load("nano", dense=True)
    draw = fidelity._Draw(Decoder(model), tokenizer, 0, fidelity.QUICK)
    flips = [Flip("model.layers.2.mlp.gate_proj", 5, 1), Flip("model.layers.0.mlp.up_proj", 9, 0)]
    measured = draw.measured(flips, Space(granularity="group"))
    probes = small(0, targets=fidelity.QUICK.targets).searched.targets

    def mean():
        return np.mean([one.score for one in score_probes(model, tokenizer, probes)])

    base = mean()
    for place, estimated, exact in zip(flips, measured.estimated, measured.exact, strict=True):
        flip(model, [place])
        assert exact == pytest.approx(mean() - base, abs=1e-5)
        flip(model, [place])
        # First order: half of a group's effect at worst, for the small ones here.
        assert estimated == pytest.approx(exact, rel=0.5, abs=1e-3)


@pytest.mark.parametrize(
    ("estimated", "share"),
    [
        ([9, 8, 7, 6, 5, 4, 3, 2], 1.0),
        ([1, 8, 7, 6, 5, 4, 3, 2], 0.5),  # the best is estimated last
        ([6, 7, 8, 9, 5, 4, 3, 2], 1.0),  # any order within twice as many
        ([1, 2, 7, 6, 5, 4, 8, 9], 0.0),
    ],
)
def test_the_share_of_the_best_that_is_found(estimated, share):
    assert fidelity.found_among(made(estimated, [8, 7, 6, 5, 4, 3, 2, 1]), top=2) == share


def test_measured_places_of_one_tensor():
    flips = [Flip("a", 0), Flip("b", 0), Flip("a", 1), Flip("a", 2)]
    whole = fidelity.Measured(flips, np.array([1.0, 9.0, 2.0, 3.0]), np.array([3.0, 9.0, 2.0, 1.0]))
    part = whole.of("a")
    assert (part.flips, part.estimated.tolist()) == ([flips[0], flips[2], flips[3]], [1.0, 2.0, 3.0])
    assert part.correlation == pytest.approx(-1.0)


def test_the_report_adds_up():
    result = fidelity.run(quick=True)
    assert result["pool"] == 3 * 12
    assert len(result["rows"]) == 12 and len(result["attention"]) == 16
    assert len(result["found"]) == 1 and 0 <= result["found"][0] <= 1
    assert [one["kind"] for one in result["others"]] == ["groups", "bits", "drift of rows"]
    values = [one["median"] for one in result["rows"]]
    assert all(-1.0001 <= value <= 1.0001 for value in values)
    text = fidelity.table(result)
    assert f"| MLP rows | {np.median(values):.3f} |" in text
    assert all(f"| {name} |" in text for name in ("gate", "up", "down", "q", "k", "v", "o"))


def test_the_verdict_follows_both_bars():
    assert fidelity._verdict(0.85, 0.9).count("meets") == 2
    assert fidelity._verdict(0.849, 0.89).count("misses") == 2
