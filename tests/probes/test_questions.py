"""Judges of free replies: what counts as right, and what only looks like it."""

import pytest

from bankai.errors import ProbeFormatError
from bankai.probes.questions import (
    CapitalsQuestion,
    JsonQuestion,
    KnowledgeQuestion,
    builtin_question_sets,
    load_questions,
)
from bankai.probes.words import has_word


@pytest.mark.parametrize(
    ("text", "words", "found"),
    [
        ("It is Paris.", ["Paris"], True),
        ("PARIS!", ["paris"], True),
        ("Parisian streets", ["Paris"], False),
        ("a comparison", ["Paris"], False),
        ("the blue\n whale swims", ["blue  whale"], True),
        ("H₂O is water", ["H2O"], True),
        ("neither", ["north", "south"], False),
        ("it is -7", ["7"], False),
        ("it is -7", ["-7"], True),
        ("from 1914-1918", ["1918"], True),
        ("-Paris\n-Rome", ["rome"], True),
        ("the south", ["north", "south"], True),
        ("7", ["7"], True),
        ("It is 7.", ["7"], True),
        ("It is 7, I think", ["7"], True),
        ("It is 7.4", ["7"], False),
        ("It is 4.7", ["7"], False),
        ("2,100 of them", ["100"], False),
        ("1100", ["100"], False),
        ("100°C", ["100"], True),
        ("**Rome**", ["Rome"], True),
        ("(C)", ["c"], True),
        ("pi(e", ["pi(e"], True),
        ("", ["word"], False),
    ],
)
def test_whole_words_are_found_whatever_the_case(text, words, found):
    assert has_word(text, words) is found


def test_knowledge_needs_one_accepted_word():
    question = KnowledgeQuestion(id="k", category="sea", question="Who?", accepted=("whale", "blue whale"))
    assert question.accepts("That would be the Whale, of course.")
    assert not question.accepts("A shark or a whaler.")


@pytest.mark.parametrize(
    ("reply", "right"),
    [
        ('{"name": "Ann", "age": 3}', True),
        ('\n {"age": 3, "name": {"first": "Ann"}}\n', True),
        ('```json\n{"name": "Ann", "age": 3}\n```', True),
        ('```\n{\n  "name": "Ann",\n  "age": 3\n}\n```\n', True),
        ('{"name": "Ann"}', False),
        ('{"name": "Ann", "age": 3, "city": "Rome"}', False),
        ('{"Name": "Ann", "age": 3}', False),
        ('{"name": "Ann", "age": 3, "age": 4}', False),
        ("{'name': 'Ann', 'age': 3}", False),
        ('{"name": "Ann", "age": 3', False),
        ('Here it is: {"name": "Ann", "age": 3}', False),
        ('```json\n{"name": "Ann", "age": 3}\n```\nI hope this helps.', False),
        ('```json\n{"name": "Ann", "age": 3}', False),
        ('[{"name": "Ann", "age": 3}]', False),
        ('["name", "age"]', False),
        ('"name age"', False),
        ("", False),
        ("[" * 100_000, False),
    ],
)
def test_json_is_one_object_with_just_the_keys(reply, right):
    question = JsonQuestion(id="j", category="json", question="Describe.", keys=("name", "age"))
    assert question.accepts(reply) is right


@pytest.mark.parametrize(
    ("reply", "right"),
    [
        ("BLUE", True),
        ("THE SEA IS BLUE.", True),
        ("Blue", False),
        ("BLUe", False),
        ("THE SEA IS GREEN.", False),
        ("BLUE because of the sky", False),
        ("BLUEBERRY", False),
        ("", False),
        ("42", False),
    ],
)
def test_capitals_are_a_right_word_without_small_letters(reply, right):
    question = CapitalsQuestion(id="c", category="capitals", question="Which color?", accepted=("BLUE",))
    assert question.accepts(reply) is right


def test_built_in_sets_load_each_with_its_judge():
    assert builtin_question_sets() == ("smol-format", "smol-knowledge")
    assert {type(question) for question in load_questions("smol-knowledge")} == {KnowledgeQuestion}
    assert {type(question) for question in load_questions("smol-format")} == {JsonQuestion, CapitalsQuestion}


def test_another_name_is_refused_with_those_that_are_known():
    with pytest.raises(ProbeFormatError, match=r"^nope: no built-in set .* smol-format, smol-knowledge$"):
        load_questions("nope")
