"""Graders: right and wrong replies of each kind, how a table spells them, and patterns that would never end."""

import time

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bankai.errors import ProbeFormatError
from bankai.probes.graders import Grader, parse_grader

JUDGED = [
    ("exact", ["Paris"], ["Paris", " Paris\n"], ["paris", "Paris.", "It is Paris", ""]),
    ("contains", ["Paris"], ["It is paris.", "PARIS", "(Paris)"], ["Parisian", "London", ""]),
    ("contains", ["7"], ["It is 7.", "7 days"], ["17", "7.4", "-7", "70"]),
    ("starts", ["yes"], ["Yes, of course", "yes"], ["yesterday", "Oh yes", ""]),
    ("starts", ["7"], ["7 days", "7."], ["7.4", "70", "a 7"]),
    (r"regex:^\d+$", [], ["12", " 12 "], ["12a", "a", ""]),
    ("regex", ["a+b", "c"], ["xaab", "c"], ["b", ""]),
    ("number", ["42"], ["In 2 steps: 42.", "42.0", "= 42"], ["4", "42 and 43", "-42", "none", ""]),
    ("number", ["1,234.5"], ["1234.5", "1,234.5 kg"], ["1,234", "234.5"]),
    ("number", ["-5"], ["x = -5", "−5"], ["5", "10-5"]),
    ("number", ["0.3"], ["0.30000000000000004"], ["0.31"]),
    ("number", ["1000"], ["It costs 1,000, I think"], ["1,000,000, or so"]),
    ("number", [".5"], ["0.5", "about .5"], ["5"]),
    ("number", ["12345678901"], ["12,345,678,901"], ["12345678905"]),
    ("number:0.5", ["10"], ["10.5", "9.5"], ["10.6"]),
    ("number:1%", ["1000"], ["1009", "991"], ["1011", "980"]),
    ("choice:yes,no,maybe", ["yes"], ["Yes.", "I say yes"], ["yes or no", "no", "maybe yes", ""]),
    ("choice:good,very good", ["very good"], ["Very good."], ["good", "good, very good"]),
    ("json", [], ['{"a": 1}', "[]", '```json\n{"a": 1}\n```', "3"], ["{a: 1}", "", "Sure: {}", "NaN"]),
    ("json:name, age", [], ['{"name": "A", "age": 7, "x": 1}'], ['{"name": "A"}', "[]", "name age"]),
    ('json:{"age": 7}', [], ['{"age": 7, "b": 2}'], ['{"age": 8}', '{"age": "7"}', '{"b": 7}']),
    ('json:{"ok": true}', [], ['{"ok": true}'], ['{"ok": 1}', '{"ok": true, "ok": true}']),
    ("length:2-3 words", [], ["a b", "a  b\nc"], ["a", "a b c d", ""]),
    ("length:-5 characters", [], ["12345", ""], ["123456"]),
    ("length:2- lines", [], ["a\nb", "a\nb\nc"], ["a", ""]),
    ("length:3", [], ["a b c"], ["a b", "a b c d"]),
    ("not contains", ["sorry"], ["Here it is", "", "Sorryville"], ["Sorry, no", "so sorry."]),
    ("NOT regex:!", [], ["calm"], ["wow!"]),
]


@pytest.mark.parametrize(("spec", "answers", "right", "wrong"), JUDGED)
def test_right_and_wrong_replies(spec, answers, right, wrong):
    grader = parse_grader(spec, answers)
    assert [reply for reply in right if not grader.accepts(reply)] == []
    assert [reply for reply in wrong if grader.accepts(reply)] == []


@pytest.mark.parametrize(("spec", "answers", "right", "wrong"), JUDGED)
def test_the_negation_is_the_opposite(spec, answers, right, wrong):
    negated = spec[4:] if spec.lower().startswith("not ") else f"not {spec}"
    grader, opposite = parse_grader(spec, answers), parse_grader(negated, answers)
    assert all(grader.accepts(reply) != opposite.accepts(reply) for reply in [*right, *wrong])


@pytest.mark.parametrize(("spec", "answers", "right", "wrong"), JUDGED)
def test_a_grader_round_trips_through_json(spec, answers, right, wrong):
    grader = parse_grader(spec, answers)
    assert msgspec.json.decode(msgspec.json.encode(grader), type=Grader) == grader


@pytest.mark.parametrize(
    ("spec", "answers", "match"),
    [
        ("fuzzy", ["a"], "no grader 'fuzzy'; give one of exact, contains"),
        ("", ["a"], "no grader ''; give one of"),
        ("not not exact", ["a"], "no grader 'not exact'"),
        ("exact", [], "no answer|there is none; give one"),
        ("contains", [" "], "there is none; give one"),
        ("exact:a", ["a"], "takes the row's answers and nothing after a colon"),
        ("regex", [], "has no pattern; give one"),
        ("regex:(", [], "cannot be used .*; write it as RE2 has it"),
        ("regex:(?=a)b", [], "cannot be used"),
        ("number", ["many"], "'many' holds no number; give one"),
        ("number:-1", ["1"], "is not like 0.01 or 1%"),
        ("number:1e99%%", ["1"], "is not like"),
        ("choice", ["a"], "is none of the choices \\(none\\); add it"),
        ("choice:b,c", ["a"], "'a' is none of the choices \\('b', 'c'\\); add it"),
        ("json:{", [], "is no JSON object such as"),
        ('json:{"a": 1, "a": 1}', [], "is no JSON object"),
        ("length:many", [], "is not like 1-20 words"),
        ("length:1-2 pages", [], "is not like"),
        ("length:", [], "is not like"),
        ("length:-", [], "is not like"),
        ("length:20-5", [], "give the smaller one first"),
        ("contains", ["a", " "], "there is none; give one"),
    ],
)
def test_faults_name_the_remedy(spec, answers, match):
    with pytest.raises(ProbeFormatError, match=match):
        parse_grader(spec, answers)


@pytest.mark.parametrize(
    "pattern",
    ["(a+)+$", "(x+x+)+y", r"(\w+\s?)*$", "(a?){1000}a{1000}", "((a|aa)*)*b", "(?:a*)*(?:a*)*(?:a*)*c"],
)
def test_patterns_that_explode_elsewhere_are_read_in_linear_time(pattern):
    grader = parse_grader(f"regex:{pattern}", [])
    start = time.process_time()
    grader.accepts("a" * 20_000 + "!")
    assert time.process_time() - start < 5  # backtracking takes longer than the sun lasts


@pytest.mark.parametrize(
    "pattern", ["a{1000000}", "((a{1000}){1000}){1000}", "(?R)", "(a)\\1", "(?:(?:(?:x{100}){100}){100})"]
)
def test_patterns_that_take_much_memory_are_refused(pattern):
    with pytest.raises(ProbeFormatError, match="cannot be used"):
        parse_grader(f"regex:{pattern}", [])


@given(reply=st.text(max_size=300), spec=st.sampled_from([(spec, answers) for spec, answers, *_ in JUDGED]))
def test_any_reply_is_judged(reply, spec):
    assert parse_grader(*spec).accepts(reply) in (True, False)


@given(spec=st.text(max_size=40), answer=st.text(max_size=10))
def test_any_spelling_is_read_or_refused(spec, answer):
    try:
        parse_grader(spec, [answer])
    except ProbeFormatError as error:
        assert ";" in str(error) or "is not like" in str(error)
