"""A table of probes: the counts are those of `bankai eval`, and filters choose among what is seen."""

from collections import Counter

import pytest

from bankai.errors import StudioError, UnknownModelError
from bankai.probes import Message, Probe, load_probe_set
from bankai.studio.probes import MOST, OUTCOMES, chosen, measure


@pytest.fixture(scope="module")
def probes():
    return load_probe_set("elicitable").split("heldout")[:80]


@pytest.fixture(scope="module")
def found(shared, probes):
    steps = []
    result = measure(shared, probes, ["elicit"], lambda *step: steps.append(step))
    assert steps[-1] == ("patched", 80, 80) and ("base", 80, 80) in steps
    return result


def test_counts_are_those_of_the_workbench(shared, probes, found):
    patch = shared.catalog.resolve(["elicit"]).patch
    assert found.comparison == shared.bench.compare(patch, probes)
    assert found.comparison.fixed > 40


def test_rows_say_what_the_counts_say(probes, found):
    assert [row.id for row in found.rows] == [probe.id for probe in probes]
    outcomes = Counter(row.outcome for row in found.rows)
    counts = found.comparison
    told = (counts.fixed, counts.broke, counts.stayed_solved, counts.stayed_failing)
    assert tuple(outcomes[name] for name in OUTCOMES) == told
    for row in found.rows:
        assert (row.base > 0, row.patched > 0) == {
            "fixed": (False, True),
            "broke": (True, False),
            "stayed solved": (True, True),
            "stayed failing": (False, False),
        }[row.outcome]


def test_filters(found):
    fixed = chosen(found.rows, "fixed")
    assert fixed and {row.outcome for row in fixed} == {"fixed"}
    category = found.rows[0].category
    some = chosen(found.rows, "fixed", category.upper())
    assert some and all(category in f"{row.id} {row.asked} {row.category}" for row in some)
    assert chosen(found.rows) == found.rows and chosen(found.rows, words="nothing like it") == ()


def test_a_chat_shows_its_last_message(shared):
    chat = Probe(
        id="c",
        item="c",
        category="chat",
        split="heldout",
        messages=(Message("user", "What is 3 + 4?"),),
        prefix="It is",
        answers=(" 7", " seven"),
    )
    (row,) = measure(shared, [chat], []).rows
    assert (row.asked, row.answer) == ("What is 3 + 4?It is", " 7 or  seven")
    assert row.base == row.patched


def test_refusals(shared, probes):
    with pytest.raises(StudioError, match="bankai eval"):
        measure(shared, list(probes) * (MOST // 80 + 1), [])
    with pytest.raises(UnknownModelError):
        measure(shared, probes, ["nobody"])
