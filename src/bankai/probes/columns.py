"""What the columns of a table mean: our names, and those that people and the usual sets for fine-tuning give them."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bankai.errors import ProbeFormatError
from bankai.io import quote

__all__ = ["ANSWERS", "PROMPTS", "Columns"]

PROMPTS = ("prompt", "question", "instruction", "input")
ANSWERS = ("answer", "output", "expected", "completion", "response", "target")
CHATS = ("messages", "conversations", "conversation")
OURS = (
    *(
        "system",
        "prefix",
        "answers",
        "reply",
        "item",
        "category",
        "id",
        "stop",
        "grade",
        "chat_template_kwargs",
    ),
)
"""Columns that have no other name."""
RIGHT = {"answers", "reply", "grade"}
"""Any of these can stand in the place of an answer."""
_ROLES = {"human": "user", "gpt": "assistant"}


@dataclass(frozen=True, slots=True)
class Columns:
    """Names given for the columns of prompts and answers, for tables that call them otherwise.

    `graded`: all rows have a grader, so that a table needs no column of answers.
    """

    prompt: str | None = None
    answer: str | None = None
    graded: bool = False

    def is_header(self, names: Sequence[str]) -> bool:
        """Whether these may be the names of a table's columns."""
        known = {self.prompt.lower()} if self.prompt else {*PROMPTS, *CHATS}
        return any(name.lower() in known for name in names)

    def check(self, names: Sequence[str], place: str) -> None:
        """Raise ProbeFormatError when columns of these names hold no prompt or no answer, or one name stands twice."""
        lower = [name.strip().lower() for name in names]
        for name in filter(None, lower):
            if lower.count(name) > 1:
                raise ProbeFormatError(f"{place}: column {name!r} appears twice; rename one")
        chats = [name for name in CHATS if name in lower]
        if not self._prompts(lower, names, place) and not chats:
            raise ProbeFormatError(_lacks("prompt", names, PROMPTS, place))
        answered = self._answers(lower, names, place) or chats or RIGHT & {*lower} or self.graded
        if not answered:
            raise ProbeFormatError(_lacks("answer", names, ANSWERS, place))

    def read(self, cells: Mapping[str, Any], place: str) -> tuple[dict[str, Any], list[str]]:
        """The fields of a row by our names, and the names of the columns that say nothing.

        A row that lacks a field has it under another name, if it has fields of other names: then it raises what
        :meth:`check` raises.
        """
        by_name = {name.strip().lower(): (name, value) for name, value in cells.items()}
        if by_name.keys() - {*PROMPTS, *ANSWERS, *CHATS, *OURS}:
            self.check([*cells], place)
        prompts = self._prompts(by_name, cells, place)
        answers = self._answers(by_name, cells, place)
        chats = [name for name in CHATS if name in by_name]
        used = [*prompts, *answers, *chats[:1], *(name for name in OURS if name in by_name)]
        fields = {name: by_name[name][1] for name in OURS if name in by_name}
        fields |= _prompt([by_name[name][1] for name in prompts])
        if chats and not _empty(chat := by_name[chats[0]][1]):
            fields["messages"] = _turns(chat)
        if answers:
            fields |= _answer(by_name[answers[0]][1])
        ignored = [name for short, (name, _) in by_name.items() if short and short not in used]
        return {name: value for name, value in fields.items() if value is not None}, ignored

    def _prompts(self, lower: Collection[str], names: Iterable[str], place: str) -> list[str]:
        """The columns of the prompt, by their names in small letters: the first one that is there, or two parts."""
        found = _present(self.prompt, PROMPTS, lower, names, place)
        return found if found[:1] == ["instruction"] else found[:1]

    def _answers(self, lower: Collection[str], names: Iterable[str], place: str) -> list[str]:
        return _present(self.answer, ANSWERS, lower, names, place)[:1]


def _present(
    given: str | None, usual: Sequence[str], lower: Collection[str], names: Iterable[str], place: str
) -> list[str]:
    """The column that was named, or those of the usual names."""
    if given is None:
        return [name for name in usual if name in lower]
    if (name := given.strip().lower()) not in lower:
        raise ProbeFormatError(f"{place}: no column {quote(given)} among {_listed(names)}; give one of those")
    return [name]


def _lacks(what: str, names: Iterable[str], usual: Sequence[str], place: str) -> str:
    return (
        f"{place}: no column {what!r} among {_listed(names)}; name it so (or {', '.join(usual[1:])}), or tell its "
        f"name with --{what}-column"
    )


def _listed(names: Iterable[str]) -> str:
    return ", ".join(map(quote, names))


def _prompt(values: Sequence[Any]) -> dict[str, Any]:
    """A text, or a chat in its place; an instruction with an input is one text of two parts."""
    if len(values) == 1 and isinstance(values[0], list):
        return {"messages": _turns(values[0])}
    texts = [value for value in values if not _empty(value)]
    joined = all(isinstance(text, str) for text in texts) and len(texts) > 1
    return {"prompt": "\n\n".join(texts) if joined else (texts[0] if texts else None)}


def _answer(value: Any) -> dict[str, Any]:
    """A text, or the one turn of an assistant that holds it."""
    turns = _turns(value)
    if isinstance(turns, list) and len(turns) == 1 and isinstance(turns[0], dict):
        return {"answer": turns[0].get("content")}
    return {"answer": value}


def _turns(value: Any) -> Any:
    """The turns of a chat with our names; what is no list of objects is left to the check of the row."""
    if not isinstance(value, list):
        return value
    return [_turn(turn) if isinstance(turn, dict) else turn for turn in value]


def _turn(turn: Mapping[str, Any]) -> dict[str, Any]:
    if {"from", "value"} <= turn.keys():
        return {"role": _ROLES.get(str(turn["from"]), turn["from"]), "content": turn["value"]}
    return dict(turn)


def _empty(value: Any) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())
