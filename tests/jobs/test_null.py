"""A patch against random ones, measured on nano."""

from pathlib import Path
from random import Random

import pytest

from bankai.checkpoint.model_file import open_checkpoint
from bankai.evaluation import evaluate_file
from bankai.jobs.null import Null, Outcome, compare_with_null
from bankai.patch import Patch, bind, read_patch, write_patch
from bankai.search import matched_flips

ELICITABLE = Path(__file__).parents[1] / "nano" / "elicitable.bankai"


@pytest.fixture(scope="module")
def result():
    steps = []
    found = compare_with_null(
        "nano", "elicitable", ELICITABLE, 4, seed=3, listen=lambda *step: steps.append(step)
    )
    assert steps == [("random patches", done, 4) for done in range(1, 5)]
    return found


def test_the_patch_is_measured_as_without_null(result):
    plain = evaluate_file("nano", "elicitable", ELICITABLE).to_dict()
    document = result.to_dict()
    assert {name: document[name] for name in plain} == plain and {*document} - {*plain} == {"null"}


def test_each_random_patch_is_what_it_measures_alone(result, tmp_path):
    flips, rng = read_patch(ELICITABLE).flips, Random(3)
    with open_checkpoint("nano") as checkpoint:
        for outcome in result.null.patches[:2]:
            write_patch(bind(Patch(matched_flips(flips, checkpoint, rng)), checkpoint), tmp_path / "p.bankai")
            alone = evaluate_file("nano", "elicitable", tmp_path / "p.bankai")
            assert (outcome.fixed, outcome.broke) == (alone.fixed, alone.broke)


def test_a_patch_that_was_searched_beats_them_all(result):
    assert result.null.p_value == 1 / 5 and result.null.seed == 3
    assert result.null.max.net < (result.fixed - result.broke) / 10


def test_the_first_of_a_seed_stay_the_same(result):
    assert (
        compare_with_null("nano", "elicitable", ELICITABLE, 1, seed=3).null.patches == result.null.patches[:1]
    )
    other = compare_with_null("nano", "elicitable", ELICITABLE, 1, seed=4)
    assert other.null.patches != result.null.patches[:1]


def test_numbers_of_a_null():
    outcomes = tuple(
        Outcome(fixed, broke, fixed - broke) for fixed, broke in [(5, 1), (2, 2), (9, 6), (0, 4)]
    )
    null = Null.of(7, 3, outcomes)
    assert null.p_value == 3 / 5  # nets of 4, 0, 3 and -4: two reach 3
    assert null.median == Outcome(3.5, 3.0, 1.5) and null.max == Outcome(9, 6, 4)
    assert Null.of(7, 5, outcomes).p_value == 1 / 5 and Null.of(7, -4, outcomes).p_value == 1
