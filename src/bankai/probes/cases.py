"""Prompts with right answers, from a CSV or JSONL file, as probes that wait for their split.

Fields, of which a row needs a prompt and one right text: ``prompt`` or, in JSONL, ``messages``; ``prefix`` (text that
begins the reply); ``answer``, taken whole; ``answers``, a list in JSONL and in CSV separated by ``||``; ``reply``, a
whole right reply, which counts as an answer too; ``item``, by default the normalized prompt; ``category``; ``id``, by
default the row's number; ``stop``, in CSV with ``\\n`` for a line end; in JSONL also ``chat_template_kwargs``,
variables of the chat template. Blanks at the end of an answer are dropped, since its stop follows. Other fields are
ignored and named.
"""

import csv
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import msgspec

from bankai.errors import ProbeFormatError
from bankai.io import LargeFileError, RefusedFileError, read_bounded
from bankai.probes.faults import explain
from bankai.probes.probe import MAX_FILE_BYTES, Message, Probe

__all__ = ["SEPARATOR", "Cases", "normalized", "read_cases"]

SEPARATOR = "||"
CATEGORY = "uncategorized"
_REMEDY = "give a .csv file with a header or a .jsonl file"


class _Row(msgspec.Struct, frozen=True, kw_only=True):
    """The fields of a row."""

    prompt: str | None = None
    messages: tuple[Message, ...] | None = None
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
    read = {".csv": _csv_rows, ".jsonl": _jsonl_rows}.get(path.suffix.lower())
    if read is None:
        raise ProbeFormatError(f"{path}: neither CSV nor JSONL by its name; {_REMEDY}")
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
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ProbeFormatError(f"{path}, line {line}: not UTF-8; save the file in that encoding") from error


def _csv_rows(text: str, path: Path) -> _Numbered:
    """The header is row 1; a row of several lines counts once, as in a spreadsheet."""
    reader = csv.reader(StringIO(text, newline=""), strict=True)
    header: list[str] = []
    number = 0
    try:
        for number, cells in enumerate(reader, start=1):
            if not any(cell.strip() for cell in cells):
                continue
            if not header:
                header = _header(cells, path)
                continue
            if len(cells) > len(header):
                raise ProbeFormatError(
                    f"{path}, row {number}: {len(cells)} cells under {len(header)} columns; "
                    "put quotes around a cell that holds a comma"
                )
            yield number, _fields(dict(zip(header, cells, strict=False)))
    except csv.Error as error:
        raise ProbeFormatError(
            f"{path}, row {number + 1}: {error}; check that its quotes are closed and doubled inside a cell"
        ) from error


def _header(cells: list[str], path: Path) -> list[str]:
    names = [cell.strip().lower() for cell in cells]
    found = ", ".join(names)
    for name in names:
        if name in _Row.__struct_fields__ and names.count(name) > 1:
            raise ProbeFormatError(f"{path}, row 1: column {name!r} appears twice; rename one")
    if "prompt" not in names:
        raise ProbeFormatError(
            f"{path}, row 1: no column 'prompt' among {found}; name it so in a header separated by commas, "
            "or write JSONL for chat messages"
        )
    if not {"answer", "answers", "reply"} & set(names):
        raise ProbeFormatError(f"{path}, row 1: no column 'answer' among {found}; name it so")
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


def _jsonl_rows(text: str, path: Path) -> _Numbered:
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            fields = msgspec.json.decode(line, type=dict[str, Any])
        except (msgspec.MsgspecError, RecursionError) as error:
            raise ProbeFormatError(f"{path}, row {number}: {explain(error, _Row)}") from error
        yield number, fields


def _probe(
    fields: Mapping[str, Any], number: int, place: str, chat: bool, variables: Mapping[str, Any]
) -> Probe:
    try:
        row = msgspec.convert(fields, _Row)
    except msgspec.ValidationError as error:
        raise ProbeFormatError(f"{place}: {explain(error, _Row)}") from error
    given = (row.answer, *row.answers, row.reply)
    answers = tuple(dict.fromkeys(text.rstrip() for text in given if text and text.strip()))
    asked = row.prompt or "\n".join(message.content for message in row.messages or ())
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
            messages=None if plain else row.messages or (Message("user", asked),),
            prefix=row.prefix,
            answers=answers,
            stop=row.stop,
            chat_template_kwargs={**({} if plain else variables), **row.chat_template_kwargs},
        )
    except ProbeFormatError as error:
        raise ProbeFormatError(f"{place}: {error}") from error
