"""Printing: one JSON document, lines, aligned lines, or notes.

Text from files is cleaned before a terminal sees it; JSON escapes it instead. Tables of several columns are
in `bankai.cli.tables`.
"""

import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from json import dumps
from pathlib import Path
from typing import Any

import msgspec
import typer

__all__ = ["clean", "counted", "note", "print_json", "print_line", "print_pairs", "tells_interrupt"]

INTERRUPTED = 130


def clean(text: object) -> str:
    """The value on one line, whatever a hostile file has put into it.

    Control characters, line ends and marks that reorder text become blanks.
    """
    return "".join(character if character.isprintable() else " " for character in str(text))


def counted(number: int, noun: str, plural: str = "") -> str:
    """Such as "1 flip" and "2 flips"."""
    return f"{number} {noun if number == 1 else plural or noun + 's'}"


def print_line(text: object) -> None:
    """One clean line on stdout."""
    typer.echo(clean(text))


def note(text: str) -> None:
    """A clean line on stderr, above a live line if there is one."""
    if sys.stderr is not None:  # else print would take stdout
        print(clean(text), file=sys.stderr, flush=True)


@contextmanager
def tells_interrupt(output: Path, remedy: str = "") -> Iterator[None]:
    """Around work that ends in writing `output`: on Ctrl-C say whether it was written, and exit with 130."""
    before = _stamp(output)
    try:
        yield
    except KeyboardInterrupt:
        note(
            f"interrupted; {'nothing' if _stamp(output) == before else output} written{remedy and '; '}{remedy}"
        )
        raise typer.Exit(INTERRUPTED) from None


def _stamp(path: Path) -> tuple[int, int] | None:
    """Differs when a file has been replaced; None for none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns


def print_json(value: Any) -> None:
    """One indented JSON document on stdout; structs and dataclasses become objects, paths text.

    In ASCII where stdout's encoding cannot hold it.
    """
    data = msgspec.json.encode(value, enc_hook=str, order="deterministic")
    text = msgspec.json.format(data, indent=2).decode()
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        text = re.sub(r"[^\0-\x7f]+", lambda found: dumps(found[0])[1:-1], text)
    typer.echo(text)


def print_pairs(pairs: Mapping[str, object]) -> None:
    """One aligned line per entry; entries without a value are left out."""
    shown = {clean(name): value for name, value in pairs.items() if value not in (None, "", (), [], {})}
    width = max(map(len, shown), default=0)
    for name, value in shown.items():
        print_line(f"{name:<{width}}  {value}")
