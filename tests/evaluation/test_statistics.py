"""Exact p-values and intervals against published values and direct enumeration."""

from itertools import product

import pytest

from bankai.evaluation.statistics import mcnemar_exact, wilson


@pytest.mark.parametrize(
    ("fixed", "broke", "p"),
    [
        (0, 0, 1.0),
        (1, 0, 1.0),
        (5, 0, 0.0625),
        (6, 0, 0.03125),
        (10, 2, 158 / 4096),  # 2 * (1 + 12 + 66) / 2^12
        (12, 1, 28 / 8192),  # 2 * (1 + 13) / 2^13
        (4, 4, 1.0),
    ],
)
def test_mcnemar_known_values(fixed, broke, p):
    assert mcnemar_exact(fixed, broke) == pytest.approx(p, rel=1e-12)
    assert mcnemar_exact(broke, fixed) == mcnemar_exact(fixed, broke)


@pytest.mark.parametrize("fixed", range(6))
@pytest.mark.parametrize("broke", range(6))
def test_mcnemar_counts_outcomes_at_least_as_lopsided(fixed, broke):
    n = fixed + broke
    outcomes = [abs(2 * sum(coins) - n) for coins in product((0, 1), repeat=n)]
    expected = sum(outcome >= abs(fixed - broke) for outcome in outcomes) / len(outcomes)
    assert mcnemar_exact(fixed, broke) == pytest.approx(expected)


def test_mcnemar_handles_large_counts():
    assert 0 < mcnemar_exact(900, 700) < 1e-5
    assert mcnemar_exact(5000, 5000) == 1.0


# Newcombe (1998), Statistics in Medicine 17, table I, method 3 (score, no continuity correction).
@pytest.mark.parametrize(
    ("k", "n", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_published_values(k, n, low, high):
    assert wilson(k, n) == pytest.approx((low, high), abs=5e-5)


def test_wilson_edges():
    assert wilson(0, 0) == (0.0, 1.0)
    low, high = wilson(20, 20)
    assert high == pytest.approx(1) and low == pytest.approx(1 - wilson(0, 20)[1])


@pytest.mark.parametrize("n", [1, 7, 29, 360, 1000])
def test_wilson_is_exact_at_none_and_all(n):
    assert wilson(0, n)[0] == 0.0 and wilson(n, n)[1] == 1.0


@pytest.mark.parametrize("bad", [(-1, 3), (4, 3)])
def test_impossible_counts_are_refused(bad):
    with pytest.raises(ValueError, match="k must"):
        wilson(*bad)
    with pytest.raises(ValueError, match="negative"):
        mcnemar_exact(-1, 3)
