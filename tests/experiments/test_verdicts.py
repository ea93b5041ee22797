"""The rule for verdicts and its statistics, on cases worked by hand."""

import math

import pytest

from bankai.evaluation.statistics import wilson
from bankai.experiments.values import Claim
from bankai.experiments.verdicts import holm, hull, mean_interval, share_interval, verdict


def claim(low: float, high: float, **bounds: float) -> Claim:
    return Claim("", "", "", (low + high) / 2, (low, high), **bounds)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (claim(1.1, 2.0, above=1), "replicates"),
        (claim(0.9, 2.0, above=1), "cannot tell"),
        (claim(0.5, 1.0, above=1), "does not"),
        (claim(-0.5, 0.5, above=-1, below=1), "replicates"),
        (claim(-1.5, 0.5, above=-1, below=1), "cannot tell"),
        (claim(1.0, 3.0, above=-1, below=1), "does not"),
        (claim(-math.inf, math.inf, below=1), "cannot tell"),
    ],
)
def test_the_whole_interval_decides(found: Claim, expected: str) -> None:
    assert verdict(found) == expected


def test_a_headline_needs_its_corrected_p() -> None:
    found = claim(1.1, 2.0, above=1)
    assert verdict(found, 0.049) == "replicates" and verdict(found, 0.05) == "cannot tell"
    assert verdict(claim(0.1, 0.9, above=1), 0.001) == "does not"


def test_holm() -> None:
    # 3 values: the smallest times 3, the next times 2, the last once, never falling.
    assert holm([0.04, 0.01, 0.03]) == pytest.approx([0.06, 0.03, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0] and holm([]) == []


def test_intervals() -> None:
    assert hull([(0.2, 0.4), (0.1, 0.3)]) == (0.1, 0.4)
    assert share_interval([(1, 10), (5, 10)]) == (wilson(1, 10)[0], wilson(5, 10)[1])
    # Mean 2, deviation 1: t(2) = 4.303 over the root of 3.
    assert mean_interval([1, 2, 3]) == pytest.approx((2 - 4.303 / math.sqrt(3), 2 + 4.303 / math.sqrt(3)))
    assert mean_interval([1.0]) == (-math.inf, math.inf)
