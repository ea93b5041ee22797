"""Which failures a model knows: words in replies, examples before a question, items; and nano for real."""

import pytest

from bankai.evaluation import open_engine
from bankai.evaluation.known import (
    REPLY_TOKENS,
    Knowledge,
    by_item,
    choose_examples,
    count_known,
    find_known,
    names_answer,
    read_replies,
)
from bankai.probes import Message, Probe, load_probe_set


def probe(name="a", prompt="the question is", answers=("six",), **changes):
    fields = {"item": name, "category": "c", "split": "target", "prompt": prompt} | changes
    return Probe(id=name, answers=answers, **fields)


def chat(name, *contents, **changes):
    return probe(name, None, messages=tuple(Message("user", content) for content in contents), **changes)


@pytest.mark.parametrize(
    ("answer", "reply", "named"),
    [
        (" Paris", "The capital of France is Paris.", True),
        ("paris", "It is\nPARIS, of course", True),
        ("Paris.", "Paris is the capital", True),
        ("Paris", "Parisians live there", False),
        ("Paris", "I do not know", False),
        ("cat", "concatenate", False),
        ("ice cream", "they like ice\n  cream a lot", True),
        ("é", "café", False),
        ("12", "5 + 7 = 12.", True),
        ("12", "12, then 13", True),
        ("12", "112 or 120", False),
        ("12", "it is -12", False),
        ("12", "12.5 or 3.12 or 12,000", False),
        ("3x^2", "the answer is 13x^2", False),
        ("3x^2", "the answer is 3x^2", True),
        ("C++", "they wrote C++ then", True),
        ("!", "what !", True),
    ],
)
def test_answers_are_whole_words(answer, reply, named):
    assert names_answer(probe(answers=("nothing else", answer)), reply) == named


def test_a_reply_that_may_only_repeat_the_question_names_nothing():
    asked = "Which is larger, a mouse or an Elephant?"
    reply = "An elephant is larger than a mouse."
    for case in (
        probe(prompt=asked, answers=("elephant",)),
        chat("a", "hello", asked, answers=("elephant",)),
    ):
        assert not names_answer(case, reply)
    assert names_answer(probe(prompt=asked, answers=("elephant", "larger than a mouse")), reply)
    assert names_answer(probe(prompt="2 + 12", answers=("2",)), "2") is False
    assert names_answer(probe(prompt="1 + 12", answers=("2",)), "2") is True


def test_an_answer_that_was_cut_is_read_with_its_beginning():
    cut = probe(prefix="The answer is 4", answers=("2",))
    assert names_answer(cut, "2, I think") and not names_answer(cut, "1 or 2")
    assert names_answer(cut, "1, no, it is 42") and not names_answer(cut, "23")
    whole = probe(prefix="The answer is", answers=(" 42",))
    assert names_answer(whole, " 42.") and not names_answer(whole, " 2")


def test_examples_are_of_other_items_and_other_answers():
    case = probe("asked", answers=("six", "6"))
    others = [
        probe("asked"),
        probe("same answer", answers=("Six ",)),
        probe("one", answers=("1",)),
        probe("phrasing", answers=("one",), item="one"),
        probe("two", answers=("2",)),
        probe("three", answers=("3",)),
        probe("four", answers=("4",)),
    ]
    assert [other.id for other in choose_examples(case, others)] == ["one", "two", "three"]
    assert [other.id for other in choose_examples(case, others[:4])] == ["one"]
    # The same word after another beginning is another answer.
    assert choose_examples(case, [probe("prefix", prefix="sixty ")]) != []


def test_a_row_is_known_when_its_item_is():
    a, b, c, d = (probe(name, item=item) for name, item in zip("abcd", "iijk", strict=True))
    found = {"a": "no", "b": "examples", "c": "no", "d": "no"}
    assert by_item(found, [a, b, c, d]) == {"a": "examples", "b": "examples", "c": "no", "d": "no"}
    assert by_item(found, [a, b, c, d], {"j", "other"})["c"] == "reply"
    assert by_item(found | {"a": "reply"}, [a, b])["b"] == "examples"  # its own way stands


def test_counts():
    cases = [probe(name, category=category) for name, category in zip("abcd", "xyyy", strict=True)]
    report = count_known(dict(zip("abcd", ("no", "reply", "examples", "reply"), strict=True)), cases)
    assert (report.failed, report.known, report.reply, report.examples) == (4, 3, 2, 1)
    assert report.categories == {"x": Knowledge(1, 0, 0, 0, 0), "y": Knowledge(3, 3, 2, 1, 0)}
    assert count_known({}, []).failed == 0


@pytest.fixture(scope="module")
def nano():
    return open_engine("torch", "nano")


def test_replies_go_on_past_the_stop(nano):
    """nano says the value in another form, and goes on."""
    value = probe(prompt="What is the value of 34 cos(180)? Answer:", answers=(" -34",))
    replies = read_replies(nano, [value], REPLY_TOKENS)
    text, stop, rest = replies["a"].text.partition(value.stop)
    assert (text, stop) == (" x = -34", "\n") and rest
    assert find_known(nano, [value], [], replies) == {"a": "reply"}
    assert read_replies(nano, [value], 0) == {} and find_known(nano, [value], [], {}) == {"a": "no"}


def test_what_examples_bring_out(nano):
    """Found by solving the same question after those examples, and only with examples of its kind."""
    probes = load_probe_set("limited")
    scores = nano.score(probes.probes)
    failing = [
        p for p, s in zip(probes, scores, strict=True) if p.category == "subtraction" and not s.solved
    ][:40]
    found = find_known(nano, failing, probes.probes, {}, seed=1)
    known = [case for case in failing if found[case.id] == "examples"]
    assert 0 < len(known) < len(failing) and {*found.values()} == {"examples", "no"}
    assert find_known(nano, failing, probes.probes, {}, seed=1) == found
    others = [case for case in probes if case.category != "subtraction"]
    assert {*find_known(nano, failing, others, {}).values()} == {"no"}
    chats = [case for case in probes if case.category == "subtraction" and case.messages]
    plain = [case for case in failing if case.prompt]
    assert plain and {*find_known(nano, plain, chats, {}).values()} == {"no"}


def test_examples_that_fit_no_context_show_nothing(nano):
    long = [probe(f"{n}", prompt="x" * 300 + f" {n}", answers=(f"{n}",)) for n in range(4)]
    assert find_known(nano, long[:1], long, {}) == {"0": "no"}
