"""Rows that ask nearly the same."""

import pytest

from bankai.probes import Probe
from bankai.probes.twins import find_twins


def probe(prompt, answer="4", name="a"):
    return Probe(id=name, item=name, category="c", split="heldout", prompt=prompt, answers=(answer,))


@pytest.mark.parametrize(
    ("other", "answer", "twins"),
    [
        ("what is two plus two", "4", True),
        ("What is two  plus two ?!", "4", True),
        ("What is two plus tow?", "4", True),
        ("What is two plus two?", "5", False),  # another question, or a fault of the table
        ("What is one plus three?", "4", False),
        ("How much are two and two together?", "4", False),
    ],
)
def test_twins_have_one_answer_and_nearly_one_prompt(other, answer, twins):
    one, two = probe("What is two plus two?"), probe(other, answer, "b")
    assert list(find_twins([one], [two])) == ([(one, two)] if twins else [])


def test_nothing_has_no_twins():
    assert list(find_twins([], [probe("a")])) == list(find_twins([probe("a")], [])) == []
