"""Exact paired test and proportion interval, in plain Python."""

import math

__all__ = ["mcnemar_exact", "percent", "wilson"]

_Z95 = 1.959963984540054  # the normal quantile of 0.975


def mcnemar_exact(fixed: int, broke: int) -> float:
    """Two-sided exact McNemar p-value: under no effect, ``fixed`` is Binomial(fixed + broke, 1/2).

    McNemar (1947) with the exact binomial tail instead of the chi-squared approximation.
    """
    if fixed < 0 or broke < 0:
        raise ValueError("counts must not be negative")
    n = fixed + broke
    tail, ways = 0, 1  # ways = n choose k
    for k in range(min(fixed, broke) + 1):
        tail += ways
        ways = ways * (n - k) // (k + 1)
    return min(1.0, 2 * tail / (1 << n))


def percent(part: float, whole: float) -> float:
    """0 of nothing."""
    return 100 * part / whole if whole else 0.0


def wilson(k: int, n: int) -> tuple[float, float]:
    """95 % interval for a proportion of ``k`` in ``n``.

    Wilson (1927), no continuity correction; (0, 1) for n = 0.
    """
    if not 0 <= k <= n:
        raise ValueError("k must lie between 0 and n")
    if n == 0:
        return 0.0, 1.0
    rate, z2 = k / n, _Z95**2
    centre = (rate + z2 / (2 * n)) / (1 + z2 / n)
    half = _Z95 / (1 + z2 / n) * math.sqrt(rate * (1 - rate) / n + z2 / (4 * n * n))
    # At k = 0 and k = n the bound is exact; the rounded difference would leave 3e-18.
    return (0.0 if k == 0 else centre - half), (1.0 if k == n else centre + half)
