"""Null controls: random flips that match a patch, and targets whose answers belong to others."""

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wide import LAYERS, SHAPES, name, places

from bankai.checkpoint.model_file import open_checkpoint
from bankai.errors import PlaceError, UnknownTensorError
from bankai.model import ModelMatrices, load
from bankai.patch import Flip, Patch, bind
from bankai.probes import Message, Probe
from bankai.search import matched_flips, shuffled_answers

UP = name(0, "up_proj")


@pytest.fixture(scope="module")
def tensors(wide_gguf):
    with open_checkpoint(wide_gguf) as checkpoint:
        yield checkpoint


def kinds(flips):
    """How many flips of each tensor and kind."""
    return Counter((flip.tensor, flip.group is None, flip.bit is None) for flip in flips)


@given(flips=st.frozensets(places(), max_size=40), seed=st.integers(0, 2**63 - 1))
def test_as_many_of_each_kind_elsewhere(tensors, flips, seed):
    drawn = matched_flips(flips, tensors, random.Random(seed))
    assert kinds(drawn) == kinds(flips) and not drawn & flips
    bind(Patch(drawn), tensors)  # every place is one of the model
    assert drawn == matched_flips(flips, tensors, random.Random(seed))


def test_another_seed_draws_other_places(tensors):
    flips = frozenset(Flip(name(layer, "gate_proj"), row) for layer in range(LAYERS) for row in range(9))
    draws = {matched_flips(flips, tensors, random.Random(seed)) for seed in range(20)}
    assert len(draws) == 20
    rng = random.Random(0)
    first, second = (matched_flips(flips, tensors, rng) for _ in range(2))
    assert first in draws and first != second


def test_every_other_place_is_alike_likely(tensors):
    """2,000 draws of one of 767 groups: each should come 2.6 times, and chi-square has 766 degrees of freedom."""
    own, rng = Flip(UP, 3, 1), random.Random(1)
    counts = Counter(next(iter(matched_flips([own], tensors, rng))) for _ in range(2000))
    others = [Flip(UP, row, group) for row in range(384) for group in range(2)]
    others.remove(own)
    assert set(counts) <= set(others)
    expected = 2000 / len(others)
    chi = sum((counts[place] - expected) ** 2 / expected for place in others)
    assert 600 < chi < 950  # four standard deviations of 39 either way


def test_a_file_and_a_model_draw_alike(tensors, wide_gguf):
    flips = [Flip(UP, 3), Flip(name(2, "down_proj"), 5, 2), Flip(name(1, "q_proj"), 5, 0, 127)]
    model, _ = load(wide_gguf)
    draws = [matched_flips(flips, found, random.Random(5)) for found in (tensors, ModelMatrices(model))]
    assert draws[0] == draws[1]


def test_half_of_a_tensor_is_the_most(tensors):
    rows = SHAPES["mlp.up_proj"][0]
    half = frozenset(Flip(UP, row) for row in range(rows // 2))
    drawn = matched_flips(half, tensors, random.Random(0))
    assert {flip.row for flip in drawn} == set(range(rows // 2, rows))
    with pytest.raises(PlaceError, match=f"{rows // 2 + 1} of the {rows} rows of {UP}"):
        matched_flips(half | {Flip(UP, rows - 1)}, tensors, random.Random(0))


def test_no_flips_and_no_tensor(tensors):
    assert matched_flips([], tensors, random.Random(0)) == frozenset()
    with pytest.raises(UnknownTensorError):
        matched_flips([Flip("model.layers.99.mlp.up_proj", 0)], tensors, random.Random(0))


def make(index, category, *answers, **changes):
    fields = {"prompt": f"question {index}", "distractor": "no", "prefix": "so:"} | changes
    return Probe(id=str(index), item=str(index), category=category, split="target", answers=answers, **fields)


@st.composite
def probe_lists(draw):
    rows = draw(
        st.lists(
            st.tuples(
                st.sampled_from("ab"),
                st.lists(st.sampled_from(["1", " 1", "2", "3", "4 ", "5"]), min_size=1, max_size=2),
            ),
            max_size=24,
        )
    )
    return [make(index, category, *answers) for index, (category, answers) in enumerate(rows)]


def texts(probe):
    return {answer.strip() for answer in probe.answers}


def largest_class(probes):
    """Most probes that hang together by shared answers, by repeated merging."""
    groups = [(texts(probe), 1) for probe in probes]
    merged = True
    while merged:
        merged = False
        for one in groups:
            other = next((g for g in groups if g is not one and g[0] & one[0]), None)
            if other is not None:
                groups = [g for g in groups if g is not one and g is not other]
                groups.append((one[0] | other[0], one[1] + other[1]))
                merged = True
                break
    return max(count for _, count in groups)


@given(probes=probe_lists(), seed=st.integers(0, 1000))
def test_answers_are_those_of_others(probes, seed):
    found = shuffled_answers(probes, random.Random(seed))
    assert found == shuffled_answers(probes, random.Random(seed))
    for category in {probe.category for probe in probes}:
        pairs = [(old, new) for old, new in zip(probes, found, strict=True) if old.category == category]
        before, after = (Counter(probe.answers for probe in side) for side in zip(*pairs, strict=True))
        assert before == after
        size, largest = len(pairs), largest_class([old for old, _ in pairs])
        right = sum(bool(texts(old) & texts(new)) for old, new in pairs)
        assert right <= max(0, 2 * largest - size)  # none where no answers prevail


@given(probes=probe_lists())
def test_all_else_is_kept_but_the_distractor(probes):
    for old, new in zip(probes, shuffled_answers(probes, random.Random(0)), strict=True):
        assert new.distractor is None
        for field in ("id", "item", "category", "split", "prompt", "messages", "prefix", "stop"):
            assert getattr(new, field) == getattr(old, field)


def test_seeds_give_other_orders():
    probes = [make(index, "a", str(index)) for index in range(8)]
    orders = {tuple(p.answers for p in shuffled_answers(probes, random.Random(seed))) for seed in range(20)}
    assert len(orders) == 20


def test_alternates_go_together_and_chats_stay_chats():
    messages = (Message("user", "how many?"),)
    probes = [make(0, "a", "six", "6"), make(1, "a", "two", prompt=None, messages=messages)]
    first, second = shuffled_answers(probes, random.Random(0))
    assert first.answers == ("two",) and second.answers == ("six", "6")
    assert second.messages == messages and second.stop is None and first.stop == "\n"


def test_no_one_to_change_with():
    probes = [make(0, "a", "1"), make(1, "b", "2"), make(2, "b", "2")]
    assert [p.answers for p in shuffled_answers(probes, random.Random(0))] == [("1",), ("2",), ("2",)]
    assert shuffled_answers([], random.Random(0)) == ()
