"""Questions whose whole free reply is judged, where a probe would fix the reply's words.

Contract: a question says for itself whether a reply is right, from the text alone. Whether a true sentence was built
around the word it does not know: a reply that names the right word counts, even one that denies it.

The built-in sets are written by models/smol/probe_sets.py: ``smol-knowledge`` is general knowledge, and ``smol-format``
asks for JSON objects and for capital letters.
"""

import json
import re
from collections.abc import Iterable
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Any

import msgspec

from bankai.errors import ProbeFormatError
from bankai.probes.cases import normalized

__all__ = [
    "CapitalsQuestion",
    "JsonQuestion",
    "KnowledgeQuestion",
    "Question",
    "builtin_question_sets",
    "has_word",
    "load_questions",
]

_FENCE = re.compile(r"```(?:json)?[ \t]*\n(?P<inside>.*)\n```", re.DOTALL | re.IGNORECASE)


def has_word(text: str, words: Iterable[str]) -> bool:
    """Whether one of the words or phrases stands in the text as a whole, whatever the case, blanks and width.

    A number is not found inside a longer one, neither 7 in 7.4 nor 100 in 2,100, nor under a minus: 7 in -7.
    """
    text = normalized(text)
    wanted = "|".join(re.escape(normalized(word)) for word in words)
    return (
        re.search(rf"(?<!\w)(?<!\d[.,])(?<!(?<!\w)[-−](?=\d))(?:{wanted})(?!\w)(?![.,]\d)", text) is not None
    )


class _Asked(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="judge"):
    id: str
    category: str
    question: str


class KnowledgeQuestion(_Asked, frozen=True, kw_only=True, tag="words"):
    """Right with one of the accepted words or phrases in the reply."""

    accepted: tuple[str, ...]

    def accepts(self, reply: str) -> bool:
        return has_word(reply, self.accepted)


class JsonQuestion(_Asked, frozen=True, kw_only=True, tag="json"):
    """Right when the whole reply, or all of the one code block that it is, is a JSON object with just these keys."""

    keys: tuple[str, ...]

    def accepts(self, reply: str) -> bool:
        fenced = _FENCE.fullmatch(reply.strip())
        try:
            value = json.loads(fenced["inside"] if fenced else reply, object_pairs_hook=_without_repeats)
        except (ValueError, RecursionError):
            return False
        return isinstance(value, dict) and value.keys() == set(self.keys)


class CapitalsQuestion(_Asked, frozen=True, kw_only=True, tag="capitals"):
    """Right when the reply has no small letter and one of the accepted words or phrases."""

    accepted: tuple[str, ...]

    def accepts(self, reply: str) -> bool:
        return reply.isupper() and has_word(reply, self.accepted)


Question = KnowledgeQuestion | JsonQuestion | CapitalsQuestion
"""In a file each is a JSON object on a line, whose `judge` is words, json or capitals."""


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key appears twice")
    return found


def _builtin_folder() -> Traversable:
    return resources.files("bankai.probes") / "question_sets"


def builtin_question_sets() -> tuple[str, ...]:
    """Names of the sets that come with the package."""
    return tuple(sorted(file.name.removesuffix(".jsonl") for file in _builtin_folder().iterdir()))


def load_questions(name: str) -> tuple[Question, ...]:
    """The questions of a built-in set, in order. Raises ProbeFormatError for another name."""
    if name not in builtin_question_sets():
        known = ", ".join(builtin_question_sets())
        raise ProbeFormatError(f"{name}: no built-in set of questions; give one of {known}")
    data = (_builtin_folder() / f"{name}.jsonl").read_bytes()
    return tuple(msgspec.json.Decoder(Question).decode_lines(data))
