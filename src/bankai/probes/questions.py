"""Questions whose whole free reply is judged, where a probe would fix the reply's words.

Contract: a question says for itself whether a reply is right, from the text alone. Whether a true sentence was built
around the word it does not know: a reply that names the right word counts, even one that denies it.

The built-in sets are written by models/smol/probe_sets.py: ``smol-knowledge`` is general knowledge, and ``smol-format``
asks for JSON objects and for capital letters.
"""

from importlib import resources
from importlib.resources.abc import Traversable

import msgspec

from bankai.errors import ProbeFormatError
from bankai.probes.graders import read_json
from bankai.probes.words import has_word

__all__ = [
    "CapitalsQuestion",
    "JsonQuestion",
    "KnowledgeQuestion",
    "Question",
    "builtin_question_sets",
    "load_questions",
]


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
        value = read_json(reply)
        return isinstance(value, dict) and value.keys() == set(self.keys)


class CapitalsQuestion(_Asked, frozen=True, kw_only=True, tag="capitals"):
    """Right when the reply has no small letter and one of the accepted words or phrases."""

    accepted: tuple[str, ...]

    def accepts(self, reply: str) -> bool:
        return reply.isupper() and has_word(reply, self.accepted)


Question = KnowledgeQuestion | JsonQuestion | CapitalsQuestion
"""In a file each is a JSON object on a line, whose `judge` is words, json or capitals."""


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
