"""Items, the ways to ask them, and the probe that both make.

An *item* is one question of fact; a *phrasing* is one way to ask it. A phrasing asks for a *form* of the answer (a
word, superscripts), and every item of its kind has that form.
"""

from dataclasses import dataclass

from bankai.probes.probe import Message, Probe

__all__ = ["Answer", "Item", "Phrasing", "chat", "make_probe", "plain"]


@dataclass(frozen=True)
class Answer:
    """What counts as right, the likeliest spelling first, and what a model that is wrong would say."""

    accepted: tuple[str, ...]
    wrong: str | None = None


@dataclass(frozen=True)
class Item:
    """One question. ``kind`` picks the phrasings, ``fields`` fill them, ``answers`` maps form to answer."""

    category: str
    kind: str
    key: str
    fields: dict[str, str]
    answers: dict[str, Answer]

    @property
    def name(self) -> str:
        return f"{self.kind}/{self.key}"


@dataclass(frozen=True)
class Phrasing:
    """One way to ask: templates over the item's fields. In a *sentence* the answer may end in a full stop."""

    text: str
    prefix: str = ""
    is_chat: bool = False
    form: str = "plain"
    sentence: bool = False
    space: str = " "


def plain(text: str, form: str = "plain", space: str = " ") -> Phrasing:
    """Text to be continued; the answer ends with its line."""
    return Phrasing(text, form=form, space=space)


def chat(text: str, prefix: str, form: str = "plain") -> Phrasing:
    """A user's message. The prefix opens the reply, so that a template without one for thinking cannot derail it."""
    return Phrasing(text, prefix, is_chat=True, form=form, sentence=prefix.endswith(" is"))


def make_probe(item: Item, phrasing: Phrasing, split: str, name: str) -> Probe:
    """The item asked in this way."""
    answer = item.answers[phrasing.form]
    accepted = answer.accepted + ((f"{answer.accepted[0]}.",) if phrasing.sentence else ())
    text = phrasing.text.format(**item.fields)
    asked = {"messages": (Message("user", text),)} if phrasing.is_chat else {"prompt": text}
    return Probe(
        id=name,
        item=item.name,
        category=item.category,
        split=split,
        prefix=phrasing.prefix.format(**item.fields),
        answers=tuple(f"{phrasing.space}{spelling}" for spelling in accepted),
        stop="<|im_end|>" if phrasing.is_chat else None,
        distractor=None if answer.wrong is None else f"{phrasing.space}{answer.wrong}",
        **asked,
    )
