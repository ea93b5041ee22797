"""The verdict follows its rule at every border, and on simulated tables it says what is true."""

import pytest
from benchmarks.verdict import SIZES, TRUTHS, UNSURE, simulate

from bankai.evaluation.report import Counts
from bankai.jobs.fix.verdict import judge_patch


def counts(fixed, failing, broke=0, solved=0):
    return Counts.of(
        [False] * failing + [True] * solved,
        [True] * fixed + [False] * (failing - fixed + broke) + [True] * (solved - broke),
    )


NOTHING = Counts.of([], [])


@pytest.mark.parametrize(
    ("failing", "kept", "crossed", "kind"),
    [
        (counts(19, 19), [NOTHING], False, "too few rows to tell"),
        (NOTHING, [NOTHING], False, "too few rows to tell"),
        (counts(20, 20), [NOTHING], False, "probably helps"),  # nothing tells what it breaks
        (counts(20, 20), [counts(0, 5, 0, 50)], False, "helps"),
        (counts(20, 20), [counts(0, 5, 0, 50)], True, "probably helps"),
        (counts(5, 5), [counts(0, 10, 30, 100)], False, "do not ship this"),  # few rows, but much is lost
        (counts(4, 40), [NOTHING], False, "do not ship this"),  # a tenth, not more
        (counts(5, 40), [NOTHING], False, "too few rows to tell"),
        (counts(12, 40), [counts(0, 5, 0, 50)], False, "helps"),
        (counts(30, 40), [counts(0, 10, 5, 100)], False, "helps"),  # p = 0.06
        (counts(30, 40), [counts(0, 10, 6, 100)], False, "helps at a price"),
        (counts(30, 40), [counts(0, 10, 6, 100)], True, "helps at a price"),
        (counts(30, 40), [counts(0, 10, 11, 100)], False, "do not ship this"),
        (counts(30, 40), [counts(8, 10, 8, 100)], False, "helps"),  # as many come right
        (counts(30, 40), [counts(0, 0, 3, 50), counts(0, 10, 3, 50)], False, "helps at a price"),
    ],
)
def test_the_rule(failing, kept, crossed, kind):
    found = judge_patch(failing, kept, crossed=crossed)
    assert found.kind == kind and found.text
    assert found.good == (kind in ("helps", "probably helps"))


def test_the_text_has_the_counts_and_their_interval():
    text = judge_patch(counts(31, 40), [counts(0, 5, 1, 60)], crossed=False).text
    assert text == (
        "31 of 40 unseen failing rows fixed (95 % interval 62 to 88 %), nothing measurable lost (elsewhere 1 of 60 "
        "right answers broken and 0 wrong ones fixed)"
    )


@pytest.mark.parametrize("truth", TRUTHS)
@pytest.mark.parametrize("rows", SIZES)
def test_on_tables_of_known_truth_it_is_seldom_wrong(truth, rows):
    """A small loss is found in most of them only: 380 questions tell no more."""
    verdicts = list(simulate(truth, rows, 20))
    wrong = [one for one in verdicts if one not in (TRUTHS[truth][2], UNSURE)]
    assert len(wrong) <= (7 if "loses 8" in truth else 2)
    assert rows >= 20 or not {"helps", "helps at a price"} & set(verdicts)
