"""Paired counts, by hand and by their sums."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bankai.evaluation import ProbeScore, compare, mcnemar_exact, summarize, wilson
from bankai.probes import Probe


def scores(flags):
    return [ProbeScore(-1.0, 1.0 if flag else -1.0) for flag in flags]


def probes(categories):
    return [
        Probe(id=str(i), item=str(i), category=name, split="heldout", prompt="p", answers=("a",))
        for i, name in enumerate(categories)
    ]


def test_counts_by_hand():
    base, patched = [0, 0, 0, 1, 1, 0], [1, 1, 0, 1, 0, 1]
    found = compare(scores(base), scores(patched), probes("aabbba"))
    assert found.counts == {"probes": 6, "base": 2, "patched": 4, "fixed": 3, "broke": 1}
    assert (found.stayed_solved, found.stayed_failing) == (1, 1)
    assert found.base.interval == wilson(2, 6) and found.patched.interval == wilson(4, 6)
    assert found.fixed_interval == wilson(3, 4) and found.broke_interval == wilson(1, 2)
    assert found.p_value == mcnemar_exact(3, 1) == 0.625
    assert list(found.categories) == ["a", "b"]
    assert found.categories["a"].counts == {"probes": 3, "base": 0, "patched": 3, "fixed": 3, "broke": 0}
    assert found.categories["b"].counts == {"probes": 3, "base": 2, "patched": 1, "fixed": 0, "broke": 1}


@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.sampled_from("abc")), max_size=30))
def test_counts_add_up(rows):
    found = compare(scores(r[0] for r in rows), scores(r[1] for r in rows), probes(r[2] for r in rows))
    assert found.probes == len(rows)
    assert found.fixed - found.broke == found.patched.solved - found.base.solved
    assert found.fixed + found.broke + found.stayed_solved + found.stayed_failing == len(rows)
    for key, value in found.counts.items():
        assert value == sum(part.counts[key] for part in found.categories.values())


def test_json_has_the_promised_keys():
    found = compare(scores([0, 1]), scores([1, 1]), probes("ab"))
    data = found.to_dict()
    assert msgspec.json.decode(msgspec.json.encode(found)) == msgspec.json.decode(msgspec.json.encode(data))
    for part in (data, data["categories"]["a"]):
        assert {"probes", "base", "patched", "fixed", "broke", "p_value"} <= part.keys()
    assert data["base"]["solved"] == 1 and data["patched"]["solved"] == 2


def test_summary_of_one_model():
    found = summarize(scores([1, 0, 1]), probes("aab"))
    assert (found.probes, found.base.solved, found.base.interval) == (3, 2, wilson(2, 3))
    assert [found.categories[name].base.solved for name in "ab"] == [1, 1]


def test_unequal_lengths_are_refused():
    with pytest.raises(ValueError):
        compare(scores([1]), scores([1, 0]), probes("a"))
    with pytest.raises(ValueError):
        compare(scores([1, 0]), scores([1, 0]), probes("a"))
