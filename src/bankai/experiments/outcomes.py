"""Claims and cells from what patches fixed and broke."""

from collections.abc import Sequence
from statistics import fmean, median

from bankai.evaluation.statistics import percent
from bankai.experiments.values import Claim
from bankai.experiments.verdicts import mean_interval, share_interval
from bankai.jobs.judge import Found

__all__ = ["changes", "gain_claim", "mean_claim", "net", "over", "share_claim", "told"]

EVEN = 0.5  # fixes among the changes when a patch does as much good as harm


def net(found: Found) -> float:
    """Fixed less broken, in percent of all probes."""
    return 100 * (found["fixed"] - found["broke"]) / (found["failing"] + found["solved"])


def over(values: Sequence[float], digits: int = 1) -> str:
    """Median and range as text."""
    middle, low, high = (f"{value:.{digits}f}" for value in (median(values), min(values), max(values)))
    return middle if low == high else f"{middle} ({low} to {high})"


def changes(found: Sequence[Found]) -> str:
    """What was fixed of the failing and broken of the solved, over the seeds."""
    failing, solved = found[0]["failing"], found[0]["solved"]
    fixed, broke = (over([one[name] for one in found], 0) for name in ("fixed", "broke"))
    return f"{fixed} of {failing} fixed, {broke} of {solved} broke"


def told(found: Sequence[Found]) -> list[str]:
    """Two cells: fixed and broken in percent of the failing and of the solved."""
    cells = []
    for name, whole in (("fixed", "failing"), ("broke", "solved")):
        cells.append(over([percent(one[name], one[whole]) for one in found]))
    return cells


def gain_claim(what: str, published: str, found: Sequence[Found], *, gains: bool) -> Claim:
    """That patches do more good than harm, or more harm than good: the share of fixes among all changes.

    One comparison a seed; the p-value is McNemar's.
    """
    fixed, changed = sum(one["fixed"] for one in found), sum(one["fixed"] + one["broke"] for one in found)
    return Claim(
        what=what,
        published=published,
        ours=changes(found),
        value=fixed / changed if changed else EVEN,
        interval=share_interval((one["fixed"], one["fixed"] + one["broke"]) for one in found),
        above=EVEN if gains else None,
        below=None if gains else EVEN,
        p=max(one["p"] for one in found),
    )


def share_claim(what: str, published: str, pairs: Sequence[tuple[int, int]], above: float) -> Claim:
    """That a share, k of n in each seed, exceeds a bound."""
    k, n = (sum(column) for column in zip(*pairs, strict=True))
    text = f"{over([k for k, _ in pairs], 0)} of {over([n for _, n in pairs], 0)}"
    return Claim(what, published, text, k / n if n else 0.0, share_interval(pairs), above=above)


def mean_claim(
    what: str,
    published: str,
    values: Sequence[float],
    unit: str = "",
    *,
    above: float | None = None,
    below: float | None = None,
) -> Claim:
    """That the mean over the seeds lies within bounds."""
    text = f"{over(values, 2)}{unit}"
    return Claim(what, published, text, fmean(values), mean_interval(values), above=above, below=below)
