"""Printing: one JSON document, or aligned lines. Tables of several columns are in `bankai.cli.tables`."""

from collections.abc import Mapping
from typing import Any

import msgspec
import typer

__all__ = ["print_json", "print_pairs"]


def print_json(value: Any) -> None:
    """One indented JSON document on stdout; structs and dataclasses become objects, paths text."""
    data = msgspec.json.encode(value, enc_hook=str, order="deterministic")
    typer.echo(msgspec.json.format(data, indent=2).decode())


def print_pairs(pairs: Mapping[str, object]) -> None:
    """One aligned line per entry; entries without a value are left out."""
    shown = {name: value for name, value in pairs.items() if value not in (None, "", (), [], {})}
    width = max(map(len, shown), default=0)
    for name, value in shown.items():
        typer.echo(f"{name:<{width}}  {value}")
