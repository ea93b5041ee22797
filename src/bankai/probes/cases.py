"""Prompts with right answers, from a table, as probes that wait for their split.

A row needs a prompt and one right text, or a grader that needs none. Its fields: ``prompt``, or ``messages``, whose
last may be the assistant's right reply; ``system``, the text of a system turn before them, which makes a prompt a chat;
``prefix`` (text that begins the reply); ``answer``, taken whole; ``answers``, a list in JSON and in a text table
separated by ``||``; ``reply``, a whole right reply, which counts as an answer too; ``grade``, see
`bankai.probes.graders`; ``item``, by default the normalized prompt; ``category``; ``id``, by default the row's number;
``stop``, in a text table with ``\\n`` for a line end; ``chat_template_kwargs``, variables of the chat template. Blanks
at the end of an answer are dropped, since its stop follows. Other fields are ignored and named.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import msgspec

from bankai.errors import ProbeFormatError
from bankai.io import quote
from bankai.probes.columns import Columns
from bankai.probes.faults import explain
from bankai.probes.graders import Grader, parse_grader
from bankai.probes.probe import Message, Probe
from bankai.probes.tables import read_table
from bankai.probes.words import normalized

__all__ = ["SEPARATOR", "Cases", "read_cases"]

SEPARATOR = "||"
CATEGORY = "uncategorized"


class _Turn(msgspec.Struct, frozen=True):
    """A message; what else it holds, such as a name or a weight, says nothing here."""

    role: Literal["system", "user", "assistant"]
    content: str


class _Row(msgspec.Struct, frozen=True, kw_only=True):
    """The fields of a row."""

    prompt: str | None = None
    messages: tuple[_Turn, ...] | None = None
    system: str | None = None
    prefix: str = ""
    answer: str | None = None
    answers: tuple[str, ...] = ()
    reply: str | None = None
    grade: str | None = None
    item: str | None = None
    category: str | None = None
    id: str | None = None
    stop: str | None = None
    chat_template_kwargs: dict[str, Any] = {}


@dataclass(frozen=True, slots=True)
class Cases:
    """Rows in order, as probes whose split still says nothing, and the names of the columns ignored."""

    probes: tuple[Probe, ...]
    ignored: tuple[str, ...]


def read_cases(
    path: str | Path,
    *,
    chat: bool = False,
    chat_template_kwargs: Mapping[str, Any] | None = None,
    columns: Columns | None = None,
    grade: str | None = None,
) -> Cases:
    """Read a table; with ``chat`` every prompt becomes a user message.

    ``chat_template_kwargs``: variables of the chat template where a chat of the file does not set them. ``grade``: the
    grader of rows that name none. Raises ProbeFormatError that names the row and the remedy.
    """
    path, columns = Path(path), replace(columns or Columns(), graded=grade is not None)
    rows: dict[str, int] = {}
    probes: list[Probe] = []
    ignored: dict[str, None] = {}
    for number, cells in read_table(path, columns):
        place = f"{path}, row {number}"
        fields, unused = columns.read(cells, place)
        ignored |= dict.fromkeys(unused)
        row = _row(fields, place, text_table=path.suffix.lower() in (".csv", ".tsv"))
        probe = _probe(row, number, place, chat, chat_template_kwargs or {}, grade)
        if probe.id in rows:
            raise ProbeFormatError(f"{place}: id {probe.id!r} is that of row {rows[probe.id]}; give another")
        rows[probe.id] = number
        probes.append(probe)
    if not probes:
        raise ProbeFormatError(f"{path}: no rows; give each prompt a row")
    return Cases(tuple(probes), tuple(ignored))


def _row(fields: dict[str, Any], place: str, text_table: bool) -> _Row:
    if text_table:
        if "answers" in fields:
            fields["answers"] = [part.strip() for part in fields["answers"].split(SEPARATOR)]
        if "stop" in fields:
            fields["stop"] = fields["stop"].replace("\\n", "\n")
    try:
        return msgspec.convert(fields, _Row)
    except msgspec.ValidationError as error:
        raise ProbeFormatError(f"{place}: {explain(error, _Row)}") from error


def _probe(
    row: _Row, number: int, place: str, chat: bool, variables: Mapping[str, Any], grade: str | None
) -> Probe:
    given, messages = (row.answer, *row.answers), row.messages or ()
    if not any((*given, row.reply)) and messages and messages[-1].role == "assistant":
        given, messages = (messages[-1].content,), messages[:-1]
    asked = row.prompt or "\n".join(message.content for message in messages)
    if not asked.strip():
        raise ProbeFormatError(f"{place}: no prompt; give one or take the row out")
    if row.prompt and row.messages:
        raise ProbeFormatError(f"{place}: both a prompt and messages; give one of them")
    plain = row.prompt and not chat and not row.system
    system = (Message("system", row.system),) if row.system else ()
    try:
        grader = parse_grader(spec, _texts(given)) if (spec := row.grade or grade) else None
        return Probe(
            id=row.id or f"row-{number}",
            item=row.item or normalized(asked),
            category=row.category or CATEGORY,
            split="heldout",
            prompt=row.prompt if plain else None,
            messages=None if plain else (*system, *(_turns(messages) or (Message("user", asked),))),
            prefix=row.prefix,
            answers=_right(_texts((*given, row.reply)), row.reply, grader),
            stop=row.stop,
            chat_template_kwargs={**({} if plain else variables), **row.chat_template_kwargs},
            grade=grader,
        )
    except ProbeFormatError as error:
        raise ProbeFormatError(f"{place}: {error}") from error


def _texts(given: Iterable[str | None]) -> tuple[str, ...]:
    """Those that say something, each once."""
    return tuple(dict.fromkeys(text.rstrip() for text in given if text and text.strip()))


def _right(texts: tuple[str, ...], reply: str | None, grader: Grader | None) -> tuple[str, ...]:
    """The replies to learn from: those that the grader accepts."""
    if grader is None:
        if not texts:
            raise ProbeFormatError("no answer; give one or take the row out")
        return texts
    if reply and reply.strip() and not grader.accepts(reply):
        raise ProbeFormatError(f"its grader does not accept its reply {quote(reply)}; mend one of them")
    return tuple(text for text in texts if grader.accepts(text))


def _turns(messages: tuple[_Turn, ...]) -> tuple[Message, ...]:
    return tuple(Message(turn.role, turn.content) for turn in messages)
