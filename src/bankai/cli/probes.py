"""`bankai probes`: commands about probe sets."""

from typing import Annotated

import typer

from bankai.cli.options import Json

__all__ = ["app", "audit", "probes"]

BAD_PROBES = 1

app = typer.Typer(add_completion=False, rich_markup_mode=None, no_args_is_help=True)


@app.callback()
def probes() -> None:
    """Look after probe sets."""


@app.command()
def audit(
    probe_set: Annotated[str, typer.Argument(metavar="SET", help="A JSONL file or a built-in set.")],
    model: Annotated[str, typer.Option(help="The model that the probes are for.")],
    json: Json = False,
) -> None:
    """Name each bad probe and why; exit code 1 when there are any."""
