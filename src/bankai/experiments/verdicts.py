"""Verdicts on claims: the rule, and the statistics behind it. In plain Python."""

import math
from collections.abc import Iterable, Sequence
from statistics import fmean, stdev

from bankai.evaluation.statistics import wilson
from bankai.experiments.values import Claim, Interval

__all__ = ["EVERYTHING", "LEVEL", "RULE", "holm", "hull", "mean_interval", "share_interval", "verdict"]

LEVEL = 0.05
EVERYTHING = (-math.inf, math.inf)  # the interval of what is not known
RULE = (
    "Each claim names the range in which it holds. It replicates when our whole 95 % interval lies in that range, and "
    "does not when the whole interval lies outside; otherwise we cannot tell. A claim with a p-value also needs "
    f"p < {LEVEL:g} after Holm's correction over all p-values of the report. Over seeds, the interval of a share goes "
    "from the lowest to the highest end of the seeds' Wilson intervals and p is the largest of theirs; that of other "
    "values is Student's for their mean."
)
# Student's t at 0.975 for 1 to 12 degrees of freedom.
_T975 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179)


def verdict(claim: Claim, corrected: float | None = None) -> str:
    """See `RULE`; `corrected` is the p-value after the correction, None for a claim without one."""
    low, high = claim.interval
    above = -math.inf if claim.above is None else claim.above
    below = math.inf if claim.below is None else claim.below
    if high <= above or low >= below:
        return "does not"
    if low > above and high < below and (corrected is None or corrected < LEVEL):
        return "replicates"
    return "cannot tell"


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values corrected for their number, in their order.

    Holm (1979): of m values in rising order the i-th times m - i + 1, not below the one before, at most 1.
    """
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    corrected, least = [0.0] * len(p_values), 0.0
    for place, at in enumerate(order):
        least = max(least, min(1.0, p_values[at] * (len(p_values) - place)))
        corrected[at] = least
    return corrected


def hull(intervals: Iterable[Interval]) -> Interval:
    """The smallest interval that holds them all."""
    lows, highs = zip(*intervals, strict=True)
    return min(lows), max(highs)


def share_interval(pairs: Iterable[tuple[int, int]]) -> Interval:
    """Of shares k of n, one pair a seed: the hull of their Wilson intervals."""
    return hull(wilson(k, n) for k, n in pairs)


def mean_interval(values: Sequence[float]) -> Interval:
    """95 % interval of the mean of values taken as normal; everything for a single one."""
    if len(values) < 2:
        return EVERYTHING
    degrees = len(values) - 1
    quantile = _T975[degrees - 1] if degrees <= len(_T975) else 2.18
    half = quantile * stdev(values) / math.sqrt(len(values))
    return fmean(values) - half, fmean(values) + half
