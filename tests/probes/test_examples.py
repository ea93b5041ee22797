"""Examples before a question, plain and in chats."""

from bankai.probes import Message, Probe
from bankai.probes.examples import right_text, with_examples

SYSTEM = Message("system", "Be brief.")


def probe(name, **changes):
    return Probe(
        **{"id": name, "item": name, "category": "c", "split": "target", "answers": (name,)} | changes
    )


def chat(name, *before):
    return probe(name, messages=(*before, Message("user", f"{name}?")), prefix="It is ")


def test_plain_examples_end_with_their_own_stop():
    one, two = probe("1", prompt="one ", stop=";"), probe("2", prompt="two", answers=(" b", " B"))
    asked = with_examples(probe("3", prompt="three"), [one, chat("4"), two])
    assert asked.prompt == "one 1;two b\nthree" and asked.answers == ("3",) and asked.stop == "\n"


def test_chats_get_earlier_turns_and_one_system_turn():
    shown = [chat("1", SYSTEM), probe("2", prompt="two"), chat("3", Message("system", "Be long."))]
    said = [(m.role, m.content) for m in with_examples(chat("4", SYSTEM), shown).messages]
    assert said == [
        ("system", "Be brief."),
        ("user", "1?"),
        ("assistant", "It is 1"),
        ("user", "3?"),
        ("assistant", "It is 3"),
        ("user", "4?"),
    ]
    assert [m.role for m in with_examples(chat("4"), shown[:1]).messages] == ["user", "assistant", "user"]
    assert with_examples(chat("4", SYSTEM), []) == chat("4", SYSTEM)


def test_a_right_text_has_its_prefix():
    assert right_text(chat("1")) == "It is 1"
