"""Spelling, judging, placing and splitting; the model's part is given, so every way to fail can be tried."""

from collections import Counter

import builders
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bankai.evaluation.audit import audit
from bankai.evaluation.engine import Trace
from bankai.evaluation.failures import (
    FAILED_SHARES,
    PASSED_SHARES,
    Dropped,
    Judged,
    assign,
    judge,
    place,
    spell,
)
from bankai.model import make_tokenizer
from bankai.probes import Message, Probe, ProbeSet
from bankai.probes.encode import context_ids, encode, encode_answer

TOKENIZER = make_tokenizer(builders.tiny_tokenizer())
TEXTS = st.text(st.sampled_from("the answer is 0\néあ🙂ing "), min_size=1, max_size=10)


def probe(name="a", prompt="the question is", answers=(" 6",), **changes):
    fields = {"item": name, "category": "c", "split": "target", "prompt": prompt} | changes
    return Probe(id=name, answers=answers, **fields)


def trace(encoded, agreed, log_prob=-1.0):
    """A model that says the first `agreed` tokens of the answer and its stop."""
    margins = [1.0] * agreed + [-1.0] * (len(encoded.answer) - agreed)
    return Trace((log_prob,) * len(margins), tuple(margins))


def judged(case, agreed):
    """One number of agreed tokens for each answer."""
    encoded = encode(case, TOKENIZER)
    traces = [trace(*pair) for pair in zip(encoded, agreed, strict=True)]
    return Judged(case, tuple(encoded), tuple(traces))


def texts(case, longest=100):
    return [spelling.text for spelling in spell(case, TOKENIZER, longest)]


def test_answers_are_spelled_as_given_and_with_a_space():
    assert texts(probe(answers=("6", " six"))) == ["6", " 6", " six"]
    assert texts(probe(prompt="the question is ", answers=("6",))) == ["6"]
    assert texts(probe(prompt="the question is\n", answers=("6",))) == ["6", " 6"]


def test_unsound_spellings_are_left_out():
    assert texts(probe(prompt="what i", answers=("ng",))) == [" ng"]  # "ing" would be one token
    assert texts(probe(answers=("6\n7", "6"))) == ["6", " 6"]


@pytest.mark.parametrize(
    ("case", "kind"),
    [
        (probe(prompt="the question is ", answers=("to",)), "border"),
        (probe(answers=("6\n7",)), "stop-inside"),
        (probe(answers=("6<|im_end|>",)), "unreachable"),
        (probe(prompt="what" * 200), "too-long"),
    ],
)
def test_rows_without_a_sound_spelling_are_dropped(case, kind):
    found = spell(case, TOKENIZER, 100)
    assert isinstance(found, Dropped) and (found.id, found.kind) == ("a", kind)
    assert "; " in found.message


def test_the_likelier_spelling_stands_unless_the_model_says_the_other():
    spellings = spell(probe(answers=("6", "7")), TOKENIZER, 100)
    assert [spelling.text for spelling in spellings] == ["6", " 6", "7", " 7"]
    likely = [-2.0, -1.0, -1.0, -2.0]
    traces = [trace(s.encoded, 0, log_prob) for s, log_prob in zip(spellings, likely, strict=True)]
    found = judge(probe(answers=("6", "7")), spellings, traces)
    assert found.probe.answers == (" 6", "7") and not found.solved
    traces[0] = trace(spellings[0].encoded, len(spellings[0].encoded.answer), -2.0)
    found = judge(probe(answers=("6", "7")), spellings, traces)
    assert found.probe.answers == ("6", "7") and found.solved
    assert [found.encoded[0].ids, found.encoded[1].ids] == [
        spellings[0].encoded.ids,
        spellings[2].encoded.ids,
    ]


def test_answers_given_in_both_spellings_count_once():
    case = probe(answers=("6", " 6"))
    spellings = spell(case, TOKENIZER, 100)
    found = judge(case, spellings, [trace(s.encoded, 0, -len(s.text)) for s in spellings])
    assert sorted(found.probe.answers) == [" 6", "6"]
    found = judge(case, spellings, [trace(s.encoded, 0, len(s.text)) for s in spellings])
    assert found.probe.answers == (" 6",)


@given(
    prompt=TEXTS,
    prefix=st.just("") | TEXTS,
    answers=st.lists(TEXTS.map(str.rstrip).filter(bool), min_size=1, max_size=3, unique=True),
    data=st.data(),
)
def test_prefix_and_answer_are_the_old_answer(prompt, prefix, answers, data):
    case = probe(prompt=prompt.strip() or "the", prefix=prefix, answers=tuple(answers), stop="<|im_end|>")
    if any(finding.severity == "error" for finding in audit(None, TOKENIZER, [case])):
        return
    encoded = encode(case, TOKENIZER)
    agreed = [data.draw(st.integers(0, len(e.answer) - 1)) for e in encoded]
    placed = place(judged(case, agreed), TOKENIZER)
    head = placed.prefix.removeprefix(prefix)
    assert placed.prefix == prefix + head and placed.answers and all(placed.answers)
    assert {head + answer for answer in placed.answers} <= set(answers)
    assert head not in answers and (head == "" or head == head.rstrip(" "))
    context = context_ids(placed, TOKENIZER)
    assert [e.context for e in encode(placed, TOKENIZER)] == [context] * len(placed.answers)
    # What was cut off is what the model says, token by token.
    said = [e.ids[: e.answer_start + count] for e, count in zip(encoded, agreed, strict=True)]
    assert any(ids[: len(context)] == context for ids in said)


@pytest.mark.parametrize(
    ("answers", "agreed", "prefix", "left"),
    [
        ((" 42",), [0], "", (" 42",)),
        ((" 42",), [1], "", (" 42",)),  # a blank stays with its answer
        ((" 42",), [2], " 4", ("2",)),
        ((" 42",), [3], " 4", ("2",)),  # all but the stop: its last token stays
        ((" 4", " 42"), [2, 2], "", (" 4", " 42")),  # never past a whole answer
        ((" 42", " 43", " 50"), [2, 2, 1], " 4", ("2", "3")),
        ((" 50", " 432"), [2, 3], " 43", ("2",)),  # the answer followed furthest
        ((" éa",), [2], "", (" éa",)),  # in the middle of a character
        ((" éa",), [3], " é", ("a",)),
    ],
)
def test_the_cut_is_where_the_model_goes_wrong(answers, agreed, prefix, left):
    placed = place(judged(probe(answers=answers), agreed), TOKENIZER)
    assert (placed.prefix, placed.answers) == (prefix, left)


def test_a_whole_reply_is_followed_to_its_wrong_word():
    case = probe(prompt=None, answers=("4", "the answer is 4."), messages=(Message("user", "2+2?"),))
    reply = encode_answer(case, "the answer is 4.", TOKENIZER)
    told = next(n for n in range(len(reply.answer)) if TOKENIZER.decode(reply.answer[:n]) == "the answer is ")
    placed = place(judged(case, [0, told]), TOKENIZER)
    assert (placed.prefix, placed.answers) == ("the answer is", (" 4.",))


CASES = st.lists(
    st.tuples(st.integers(0, 25), st.sampled_from("abc"), st.booleans()), min_size=1, max_size=60
)


def built(rows):
    """Cases of (item, category, solved)."""
    made = []
    for number, (item, category, solved) in enumerate(rows):
        case = probe(f"p{number}", f"the {number}", item=f"i{item}", category=category)
        made.append(judged(case, [len(encode(case, TOKENIZER)[0].answer) if solved else 0]))
    return made


def sides(cases, splits):
    """The set of splits of every item."""
    found = {}
    for case, split in zip(cases, splits, strict=True):
        found.setdefault(case.probe.item, set()).add(split)
    return found


@given(rows=CASES, seed=st.integers(0, 2**32))
def test_every_item_is_in_one_split_of_its_side(rows, seed):
    cases = built(rows)
    splits = assign(cases, seed=seed)
    assert splits == assign(cases, seed=seed)
    failing = {case.probe.item for case in cases if not case.solved}
    for item, used in sides(cases, splits).items():
        assert len(used - {None}) == 1
        assert used <= {*(FAILED_SHARES if item in failing else PASSED_SHARES), None}
    for case, split in zip(cases, splits, strict=True):
        assert (split is None) == (case.solved and case.probe.item in failing)
        assert case.solved or split in FAILED_SHARES


@given(counts=st.lists(st.integers(0, 40), min_size=1, max_size=4), seed=st.integers(0, 99))
def test_categories_and_all_get_their_shares(counts, seed):
    rows = [(100 * k + n, "abcd"[k], False) for k, count in enumerate(counts) for n in range(count)]
    cases = built(rows)
    given_ = Counter(zip((case.probe.category for case in cases), assign(cases, seed=seed), strict=True))
    for split, share in FAILED_SHARES.items():
        found = [given_[category, split] for category in "abcd"[: len(counts)]]
        assert abs(sum(found) - share * sum(counts) / 100) < 1
        for count, here in zip(counts, found, strict=True):
            assert abs(here - share * count / 100) < 2


def test_three_failures_fill_three_splits():
    assert set(assign(built([(n, "a", False) for n in range(3)]))) == set(FAILED_SHARES)
    assert set(assign(built([(n, "a", True) for n in range(2)]))) == set(PASSED_SHARES)


def test_seeds_and_shares_matter():
    cases = built([(n, "a", n % 2 == 0) for n in range(40)])
    assert len({tuple(assign(cases, seed=seed)) for seed in range(5)}) == 5
    found = assign(
        cases, failed={"target": 100, "validation": 0, "heldout": 0}, passed={"control": 50, "unseen": 50}
    )
    assert Counter(found) == {"target": 20, "control": 10, "unseen": 10}


def test_placed_sets_load(tmp_path):
    cases = built([(n, "a", n % 3 == 0) for n in range(30)])
    splits = assign(cases)
    ProbeSet("s", [c.probe for c, s in zip(cases, splits, strict=True) if s]).save(tmp_path / "s.jsonl")
    assert len(ProbeSet.load(tmp_path / "s.jsonl")) == 30
