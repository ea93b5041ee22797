"""`bankai bind` and `bankai compose`: patches from patches."""

from pathlib import Path
from typing import Annotated

import typer

from bankai.cli.options import Json, Output, PatchFile
from bankai.cli.output import counted, print_json, print_line
from bankai.jobs.describe import PatchDescription

__all__ = ["bind", "compose"]

Base = Annotated[str, typer.Option(metavar="MODEL", help="The base model, without the patch.")]


def bind(patch: PatchFile, model: Base, output: Output, json: Json = False) -> None:
    """Tie a patch to the bits that a model has now."""
    from bankai.jobs.patch_files import bind_file

    _report(bind_file(patch, model, output), json)


def compose(
    patches: Annotated[list[Path], typer.Argument(metavar="PATCH", help="Two patches or more.")],
    output: Output,
    model: Annotated[
        str | None, typer.Option(metavar="MODEL", help="Bind the result to this base model.")
    ] = None,
    json: Json = False,
) -> None:
    """Combine patches by XOR.

    A flip that two of them hold cancels.
    """
    from bankai.jobs.patch_files import compose_files

    if len(patches) < 2:
        raise typer.BadParameter("give two patches or more", param_hint="'PATCH'")
    _report(compose_files(patches, output, model), json)


def _report(description: PatchDescription, json: bool) -> None:
    if json:
        print_json(description)
    else:
        bound = "bound" if description.bound else "unbound"
        print_line(
            f"{description.path}: {counted(description.flips, 'flip')}, {bound}, {description.file_bytes} bytes"
        )
