"""Tables of prompts as people have them, row by row: CSV, TSV, JSONL, JSON and Parquet.

The cells of a text table are separated by commas, semicolons or tabs, whichever its header shows; a first line
``sep=;``, as Excel has it, decides. JSON has one object a line (JSONL), or all of them in a list; a number in it is the
text that spells it, since 3.10 is another answer than 3.1. What the columns are called, `bankai.probes.columns` knows.
"""

import csv
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any

import msgspec

from bankai.errors import MissingExtraError, ProbeFormatError
from bankai.io import LargeFileError, RefusedFileError, decode_text, read_bounded
from bankai.probes.columns import Columns
from bankai.probes.faults import explain
from bankai.probes.probe import MAX_FILE_BYTES

__all__ = ["SUFFIXES", "Numbered", "read_table"]

Numbered = Iterator[tuple[int, dict[str, Any]]]
"""Number of the row as an editor counts it, and its cells by the name of their column."""
SUFFIXES = (".csv", ".tsv", ".jsonl", ".json", ".parquet")
"""How the name of a table ends."""
REMEDY = "give a .csv file with a header or a .jsonl file"
MAX_PARQUET_BYTES = 4 * MAX_FILE_BYTES  # unpacked
_SEPARATORS = {",": "comma", ";": "semicolon", "\t": "tab"}
_EXCEL = re.compile(r'"?sep=([,;\t])"?\n', re.IGNORECASE)
_EXACT = ("chat_template_kwargs",)  # a template may count with its numbers


def read_table(path: Path, columns: Columns) -> Numbered:
    """The rows of a file. Raises ProbeFormatError that names the row."""
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise ProbeFormatError(f"{path}: neither CSV nor JSONL by its name; {REMEDY}")
    data = _bytes(path)
    if suffix == ".parquet":
        return _parquet_rows(data, path)
    text = _text(data, path)
    return _json_rows(text, path) if suffix.startswith(".json") else _csv_rows(text, path, columns)


def _bytes(path: Path) -> bytes:
    try:
        return read_bounded(path, MAX_FILE_BYTES)
    except LargeFileError:
        raise ProbeFormatError(
            f"{path}: larger than {MAX_FILE_BYTES >> 20} MiB; split it into several files"
        ) from None
    except (FileNotFoundError, RefusedFileError):
        raise ProbeFormatError(f"{path}: no such file; {REMEDY}") from None
    except OSError as error:
        raise ProbeFormatError(f"{path}: cannot be read ({error.strerror}); {REMEDY}") from error


def _text(data: bytes, path: Path) -> str:
    try:
        return decode_text(data)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ProbeFormatError(f"{path}, line {line}: not UTF-8; save the file in that encoding") from error


def _csv_rows(text: str, path: Path, columns: Columns) -> Numbered:
    """The header is row 1; a row of several lines counts once, as in a spreadsheet. Empty cells say nothing."""
    separator, text = _separated(text, columns)
    reader = csv.reader(StringIO(text, newline=""), delimiter=separator, strict=True)
    header: list[str] = []
    number = 0
    try:
        for number, cells in enumerate(reader, start=1):
            if not any(cell.strip() for cell in cells):
                continue
            if not header:
                header = [cell.strip() for cell in cells]
                columns.check(header, f"{path}, row {number}")
                continue
            if len(cells) > len(header):
                raise ProbeFormatError(
                    f"{path}, row {number}: {len(cells)} cells under {len(header)} columns; "
                    f"put quotes around a cell that holds a {_SEPARATORS[separator]}"
                )
            yield (
                number,
                {name: cell if cell.strip() else None for name, cell in zip(header, cells, strict=False)},
            )
    except csv.Error as error:
        raise ProbeFormatError(
            f"{path}, row {number + 1}: {error}; check that its quotes are closed and doubled inside a cell"
        ) from error


def _separated(text: str, columns: Columns) -> tuple[str, str]:
    """What separates the cells of a table, and the table; a line that says so is blank there, and counts as a row."""
    if found := _EXCEL.match(text):
        return found[1], text[found.end() - 1 :]
    head = text.lstrip(" \n" + "".join(_SEPARATORS)).partition("\n")[0]
    for separator in _SEPARATORS:
        if columns.is_header([cell.strip(' "') for cell in head.split(separator)]):
            return separator, text
    return ",", text


def _json_rows(text: str, path: Path) -> Numbered:
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
            raise ProbeFormatError(f"{path}, row {number}: {explain(error, msgspec.Struct)}") from error
        yield number, fields


def _field(name: str, raw: msgspec.Raw) -> Any:
    return msgspec.json.decode(raw) if name in _EXACT else _value(raw)


def _value(raw: msgspec.Raw) -> Any:
    """A JSON value with each number as the text that spells it."""
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


def _parquet_rows(data: bytes, path: Path) -> Numbered:
    try:
        from pyarrow import ArrowException, parquet
    except ImportError as error:
        raise MissingExtraError(
            "a Parquet file needs pyarrow; install it with pip install pyarrow"
        ) from error
    try:
        file = parquet.ParquetFile(BytesIO(data))
        groups = [file.metadata.row_group(index) for index in range(file.num_row_groups)]
        if sum(group.total_byte_size for group in groups) > MAX_PARQUET_BYTES:
            raise ProbeFormatError(
                f"{path}: larger than {MAX_PARQUET_BYTES >> 20} MiB when it is unpacked; split it into several files"
            )
        rows = file.read().to_pylist()
    except (ArrowException, OSError, ValueError) as error:
        why = str(error).partition("\n")[0]
        raise ProbeFormatError(f"{path}: no sound Parquet file ({why}); write it again") from error
    for number, row in enumerate(rows, start=1):
        yield number, {name: value if name in _EXACT else _plain(value) for name, value in row.items()}


def _plain(value: Any) -> Any:
    """As in JSON: lists, objects, and numbers as text; whole ones without a fraction, which empty cells bring about."""
    match value:
        case bool() | None | str():
            return value
        case float() if math.isnan(value):
            return None
        case float() if value.is_integer():
            return str(int(value))
        case bytes():
            return value.decode("utf-8", "replace")
        case list():
            return [_plain(item) for item in value]
        case Mapping():
            return {name: _plain(item) for name, item in value.items()}
    return str(value)
