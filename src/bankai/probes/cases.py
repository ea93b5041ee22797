"""Prompts with right answers, from a table or a JSON file, as probes that wait for their split.

JSON has one object a line (JSONL), or all of them in a list. Fields, of which a row needs a prompt and one right text:
``prompt`` or, in JSON, ``messages``; ``prefix`` (text that begins the reply); ``answer``, taken whole; ``answers``, a
list in JSON and in a table separated by ``||``; ``reply``, a whole right reply, which counts as an answer too;
``item``, by default the normalized prompt; ``category``; ``id``, by default the row's number; ``stop``, in a table with
``\\n`` for a line end; in JSON also ``chat_template_kwargs``, variables of the chat template. Messages that end with
the assistant's are a prompt and its reply, where no other answer is given. Blanks at the end of an answer are dropped,
since its stop follows. A number in JSON is the text that spells it. Other fields are ignored and named.

The cells of a table are separated by commas, semicolons or tabs, whichever its header shows; a first line ``sep=;``, as
Excel has it, decides.
"""

import csv
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any, Literal

import msgspec

from bankai.errors import ProbeFormatError
from bankai.io import LargeFileError, RefusedFileError, decode_text, quote, read_bounded
from bankai.probes.faults import explain
from bankai.probes.probe import MAX_FILE_BYTES, Message, Probe

__all__ = ["SEPARATOR", "SUFFIXES", "Cases", "normalized", "read_cases"]

SUFFIXES = (".csv", ".tsv", ".jsonl", ".json")
"""How the name of a file of cases ends."""
SEPARATOR = "||"
CATEGORY = "uncategorized"
_REMEDY = "give a .csv file with a header or a .jsonl file"
_SEPARATORS = {",": "comma", ";": "semicolon", "\t": "tab"}
_EXCEL = re.compile(r'"?sep=([,;\t])"?\n', re.IGNORECASE)


class _Turn(msgspec.Struct, frozen=True):
    """A message; what else it holds, such as a name or a weight, says nothing here."""

    role: Literal["system", "user", "assistant"]
    content: str


class _Row(msgspec.Struct, frozen=True, kw_only=True):
    """The fields of a row."""

    prompt: str | None = None
    messages: tuple[_Turn, ...] | None = None
    prefix: str = ""
    answer: str | None = None
    answers: tuple[str, ...] = ()
    reply: str | None = None
    item: str | None = None
    category: str | None = None
    id: str | None = None
    stop: str | None = None
    chat_template_kwargs: dict[str, Any] = {}


_Numbered = Iterator[tuple[int, dict[str, Any]]]
"""Number of the row as an editor counts it, and its fields."""


@dataclass(frozen=True, slots=True)
class Cases:
    """Rows in order, as probes whose split still says nothing, and the names of the fields ignored."""

    probes: tuple[Probe, ...]
    ignored: tuple[str, ...]


def read_cases(
    path: str | Path, *, chat: bool = False, chat_template_kwargs: Mapping[str, Any] | None = None
) -> Cases:
    """Read a file of cases; with ``chat`` every prompt becomes a user message.

    ``chat_template_kwargs``: variables of the chat template where a chat of the file does not set them. Raises
    ProbeFormatError that names the row and the remedy.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise ProbeFormatError(f"{path}: neither CSV nor JSONL by its name; {_REMEDY}")
    read = _json_rows if suffix.startswith(".json") else _csv_rows
    rows: dict[str, int] = {}
    probes: list[Probe] = []
    ignored: dict[str, None] = {}
    for number, fields in read(_text(path), path):
        place = f"{path}, row {number}"
        ignored |= dict.fromkeys(name for name in fields if name not in (*_Row.__struct_fields__, ""))
        probe = _probe(fields, number, place, chat, chat_template_kwargs or {})
        if probe.id in rows:
            raise ProbeFormatError(f"{place}: id {probe.id!r} is that of row {rows[probe.id]}; give another")
        rows[probe.id] = number
        probes.append(probe)
    if not probes:
        raise ProbeFormatError(f"{path}: no rows; give each prompt a row")
    return Cases(tuple(probes), tuple(ignored))


def normalized(text: str) -> str:
    """One spelling for texts that differ in case, blanks or the width of characters."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def _text(path: Path) -> str:
    try:
        data = read_bounded(path, MAX_FILE_BYTES)
    except LargeFileError:
        raise ProbeFormatError(
            f"{path}: larger than {MAX_FILE_BYTES >> 20} MiB; split it into several files"
        ) from None
    except (FileNotFoundError, RefusedFileError):
        raise ProbeFormatError(f"{path}: no such file; {_REMEDY}") from None
    except OSError as error:
        raise ProbeFormatError(f"{path}: cannot be read ({error.strerror}); {_REMEDY}") from error
    try:
        return decode_text(data)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ProbeFormatError(f"{path}, line {line}: not UTF-8; save the file in that encoding") from error


def _csv_rows(text: str, path: Path) -> _Numbered:
    """The header is row 1; a row of several lines counts once, as in a spreadsheet."""
    separator, text = _separated(text)
    reader = csv.reader(StringIO(text, newline=""), delimiter=separator, strict=True)
    header: list[str] = []
    number = 0
    try:
        for number, cells in enumerate(reader, start=1):
            if not any(cell.strip() for cell in cells):
                continue
            if not header:
                header = _header(cells, f"{path}, row {number}")
                continue
            if len(cells) > len(header):
                raise ProbeFormatError(
                    f"{path}, row {number}: {len(cells)} cells under {len(header)} columns; "
                    f"put quotes around a cell that holds a {_SEPARATORS[separator]}"
                )
            yield number, _fields(dict(zip(header, cells, strict=False)))
    except csv.Error as error:
        raise ProbeFormatError(
            f"{path}, row {number + 1}: {error}; check that its quotes are closed and doubled inside a cell"
        ) from error


def _separated(text: str) -> tuple[str, str]:
    """What separates the cells of a table, and the table; a line that says so is blank there, and counts as a row."""
    if found := _EXCEL.match(text):
        return found[1], text[found.end() - 1 :]
    head = text.lstrip(" \n" + "".join(_SEPARATORS)).partition("\n")[0].lower()
    for separator in _SEPARATORS:
        if "prompt" in (cell.strip(' "') for cell in head.split(separator)):
            return separator, text
    return ",", text


def _header(cells: list[str], place: str) -> list[str]:
    names = [cell.strip().lower() for cell in cells]
    found = ", ".join(names)
    for name in names:
        if name in _Row.__struct_fields__ and names.count(name) > 1:
            raise ProbeFormatError(f"{place}: column {name!r} appears twice; rename one")
    if "prompt" not in names:
        raise ProbeFormatError(
            f"{place}: no column 'prompt' among {found}; name it so in a header separated by commas, "
            "semicolons or tabs, or write JSONL for chat messages"
        )
    if not {"answer", "answers", "reply"} & set(names):
        raise ProbeFormatError(f"{place}: no column 'answer' among {found}; name it so")
    return names


def _fields(cells: Mapping[str, str]) -> dict[str, Any]:
    """Empty cells say nothing."""
    fields: dict[str, Any] = {
        name: cell for name, cell in cells.items() if cell.strip() or name not in _Row.__struct_fields__
    }
    if "answers" in fields:
        fields["answers"] = [part.strip() for part in fields["answers"].split(SEPARATOR)]
    if "stop" in fields:
        fields["stop"] = fields["stop"].replace("\\n", "\n")
    return fields


def _json_rows(text: str, path: Path) -> _Numbered:
    """One object a line, as JSONL has them, or all in one list."""
    lines: Sequence[str | msgspec.Raw] = text.split("\n")
    if text.lstrip().startswith("["):
        with suppress(msgspec.MsgspecError, RecursionError):  # else the fault of a line tells more
            lines = msgspec.json.decode(text, type=list[msgspec.Raw])
    for number, line in enumerate(lines, start=1):
        if isinstance(line, str) and not line.strip():
            continue
        try:
            raw = msgspec.json.decode(line, type=dict[str, msgspec.Raw])
            fields = {name: _field(name, one) for name, one in raw.items()}
        except (msgspec.MsgspecError, RecursionError) as error:
            raise ProbeFormatError(f"{path}, row {number}: {explain(error, _Row)}") from error
        _check_names(fields, f"{path}, row {number}")
        yield number, fields


def _check_names(fields: Mapping[str, Any], place: str) -> None:
    """What a row lacks it has under another name, if it has fields of other names."""
    if fields.keys() <= {*_Row.__struct_fields__}:
        return
    for name, names in {"prompt": {"prompt"}, "answer": {"answer", "answers", "reply"}}.items():
        if not fields.keys() & {*names, "messages"}:
            found = ", ".join(map(quote, fields))
            raise ProbeFormatError(f"{place}: no field {name!r} among {found}; name it so")


def _field(name: str, raw: msgspec.Raw) -> Any:
    if name == "chat_template_kwargs":  # a template may count with its numbers
        return msgspec.json.decode(raw)
    return _value(raw) if name in _Row.__struct_fields__ else None


def _value(raw: msgspec.Raw) -> Any:
    """A JSON value with each number as the text that spells it: 3.10 is another answer than 3.1."""
    text = bytes(raw)
    match text[:1]:
        case b"[":
            return [_value(item) for item in msgspec.json.decode(text, type=list[msgspec.Raw])]
        case b"{":
            items = msgspec.json.decode(text, type=dict[str, msgspec.Raw])
            return {name: _value(item) for name, item in items.items()}
        case first if first in b"-0123456789":
            return text.decode()
    return msgspec.json.decode(text)


def _probe(
    fields: Mapping[str, Any], number: int, place: str, chat: bool, variables: Mapping[str, Any]
) -> Probe:
    try:
        row = msgspec.convert(fields, _Row)
    except msgspec.ValidationError as error:
        raise ProbeFormatError(f"{place}: {explain(error, _Row)}") from error
    given, messages = (row.answer, *row.answers, row.reply), row.messages or ()
    if not any(given) and messages and messages[-1].role == "assistant":
        given, messages = (messages[-1].content,), messages[:-1]
    answers = tuple(dict.fromkeys(text.rstrip() for text in given if text and text.strip()))
    asked = row.prompt or "\n".join(message.content for message in messages)
    if not answers:
        raise ProbeFormatError(f"{place}: no answer; give one or take the row out")
    if not asked.strip():
        raise ProbeFormatError(f"{place}: no prompt; give one or take the row out")
    if row.prompt and row.messages:
        raise ProbeFormatError(f"{place}: both a prompt and messages; give one of them")
    plain = row.prompt and not chat
    try:
        return Probe(
            id=row.id or f"row-{number}",
            item=row.item or normalized(asked),
            category=row.category or CATEGORY,
            split="target",
            prompt=row.prompt if plain else None,
            messages=None if plain else _turns(messages) or (Message("user", asked),),
            prefix=row.prefix,
            answers=answers,
            stop=row.stop,
            chat_template_kwargs={**({} if plain else variables), **row.chat_template_kwargs},
        )
    except ProbeFormatError as error:
        raise ProbeFormatError(f"{place}: {error}") from error


def _turns(messages: tuple[_Turn, ...]) -> tuple[Message, ...]:
    return tuple(Message(turn.role, turn.content) for turn in messages)
