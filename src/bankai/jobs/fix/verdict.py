"""Whether a patch helps, by a rule that is stated before anything is measured."""

from collections.abc import Iterable
from typing import Literal

import msgspec

from bankai.evaluation.report import Counts
from bankai.evaluation.statistics import mcnemar_exact, percent

__all__ = ["LEAST_ROWS", "RULE", "Kind", "Verdict", "judge_patch"]

Kind = Literal["helps", "probably helps", "helps at a price", "too few rows to tell", "do not ship this"]

LEAST_ROWS = 20  # unseen failing rows
LEAST_SHARE = 0.1  # of them that a patch has to fix, with 95 % confidence
MOST_LOST = 10.0  # percent of what was right
SURE = 0.05

RULE = (
    f"A patch helps when it fixes more than {LEAST_SHARE:.0%} of the failing rows that its search never read, with "
    "95 % confidence (Wilson), and what breaks elsewhere is not significantly more than what comes right there (exact "
    f"McNemar test, p < {SURE:g}). Where it is, the patch helps at a price, and when more than {MOST_LOST:g} % of what "
    f"was right is lost, net, do not ship it; nor when it fixes {LEAST_SHARE:.0%} or less. There are too few rows to "
    f"tell when fewer than {LEAST_ROWS} failing ones are unseen, or when it fixes more than {LEAST_SHARE:.0%} of them "
    "without that confidence. It probably helps, no more, where nothing told what it breaks, and where rows were too "
    "few to keep some unseen: then two patches were searched on one half each and measured on the other, and the patch "
    "itself was searched on all rows."
)


class Verdict(msgspec.Struct, frozen=True):
    """What the rule says, and why in a sentence."""

    kind: Kind
    text: str

    @property
    def good(self) -> bool:
        return self.kind in ("helps", "probably helps")


def judge_patch(failing: Counts, kept: Iterable[Counts], *, crossed: bool) -> Verdict:
    """The verdict from failing rows that no search read, and from what was right elsewhere.

    `crossed`: the failing rows were measured by two patches, each searched on the half that it was not measured on.
    """
    asked = failing.probes - failing.base.solved
    rows = "rows of the other half" if crossed else "unseen failing rows"
    low, high = failing.fixed_interval
    fixed = f"{failing.fixed} of {asked} {rows} fixed (95 % interval {100 * low:.0f} to {100 * high:.0f} %)"
    kept = [*kept]
    lost, told = _lost(kept)
    if lost is not None and lost > MOST_LOST:
        return Verdict("do not ship this", f"{fixed}, but {told}")
    if asked < LEAST_ROWS:
        few = (
            f"{fixed}; with fewer than {LEAST_ROWS} chance decides"
            if asked
            else "no row was left to measure on"
        )
        return Verdict("too few rows to tell", few)
    if failing.fixed <= LEAST_SHARE * asked:
        return Verdict("do not ship this", f"{fixed}; that is not more than one in ten")
    if low <= LEAST_SHARE:
        return Verdict("too few rows to tell", f"{fixed}; the true share may be below one in ten")
    if lost is not None:
        return Verdict("helps at a price", f"{fixed}, but {told}")
    sure = not crossed and any(counts.base.solved for counts in kept)
    return Verdict("helps" if sure else "probably helps", f"{fixed}, {told}")


def _lost(kept: list[Counts]) -> tuple[float | None, str]:
    """Percent of what was right that is lost, net, None when that can be chance; and in words."""
    solved = sum(counts.base.solved for counts in kept)
    broke, came = sum(counts.broke for counts in kept), sum(counts.fixed for counts in kept)
    told = f"elsewhere {broke} of {solved} right answers broken and {came} wrong ones fixed"
    if not solved:
        return None, "nothing tells what it breaks"
    if broke <= came or mcnemar_exact(came, broke) >= SURE:
        return None, f"nothing measurable lost ({told})"
    return percent(broke - came, solved), told
