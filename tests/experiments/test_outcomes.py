"""Claims from counts worked by hand."""

import pytest

from bankai.evaluation.statistics import percent, wilson
from bankai.experiments.outcomes import changes, gain_claim, mean_claim, net, over, share_claim, told
from bankai.experiments.verdicts import verdict

PUBLISHED = {"failing": 41, "solved": 49, "fixed": 2, "broke": 15, "p": 0.0023}
HELPED = {"failing": 16, "solved": 14, "fixed": 5, "broke": 0, "p": 0.0625}


def test_cells() -> None:
    assert (
        net(PUBLISHED) == pytest.approx(-1300 / 90)
        and over([3, 1, 2], 0) == "2 (1 to 3)"
        and over([2]) == "2.0"
    )
    assert percent(1, 4) == 25 and percent(0, 0) == 0
    assert changes([PUBLISHED]) == "2 of 41 fixed, 15 of 49 broke"
    assert told([HELPED]) == ["31.2", "0.0"] and told([{**HELPED, "solved": 0}])[1] == "0.0"


def test_the_published_variation_is_harm() -> None:
    harm = gain_claim("", "", [PUBLISHED], gains=False)
    assert harm.value == 2 / 17 and harm.interval == wilson(2, 17) and harm.p == 0.0023
    assert verdict(harm, 0.0023) == "replicates"
    assert verdict(gain_claim("", "", [PUBLISHED], gains=True), 0.0023) == "does not"


def test_five_of_five_is_not_yet_significant() -> None:
    found = gain_claim("", "", [HELPED], gains=True)
    assert found.value == 1 and verdict(found, found.p) == "cannot tell"


def test_seeds_are_put_together_by_their_worst() -> None:
    found = gain_claim("", "", [HELPED, PUBLISHED], gains=True)
    assert (
        found.interval == (wilson(2, 17)[0], wilson(5, 5)[1]) and found.p == 0.0625 and found.value == 7 / 22
    )


def test_nothing_changed_tells_nothing() -> None:
    still = {"failing": 3, "solved": 3, "fixed": 0, "broke": 0, "p": 1.0}
    found = gain_claim("", "", [still], gains=True)
    assert found.value == 0.5 and found.interval == (0, 1) and verdict(found, 1.0) == "cannot tell"


def test_shares_and_means() -> None:
    share = share_claim("", "", [(1, 6), (3, 6)], above=0.0)
    assert share.value == 4 / 12 and share.interval == (wilson(1, 6)[0], wilson(3, 6)[1])
    mean = mean_claim("", "", [1.0, 3.0], " %", below=2.0)
    assert mean.value == 2 and mean.ours == "2.00 (1.00 to 3.00) %"
