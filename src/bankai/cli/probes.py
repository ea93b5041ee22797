"""`bankai probes`: commands about probe sets."""

from typing import Annotated

import typer

from bankai.cli.options import Json
from bankai.cli.output import print_json

__all__ = ["app", "audit", "probes"]

BAD_PROBES = 1

app = typer.Typer(add_completion=False, rich_markup_mode=None, no_args_is_help=True)


@app.callback()
def probes() -> None:
    """Look after probe sets."""


@app.command()
def audit(
    probe_set: Annotated[str, typer.Argument(metavar="SET", help="A JSONL file or a built-in set.")],
    model: Annotated[str, typer.Option(metavar="MODEL", help="The model that the probes are for.")],
    json: Json = False,
) -> None:
    """Name each bad probe and why; exit code 1 when there are any."""
    from bankai.jobs import audit_file

    findings = audit_file(model, probe_set)
    errors = sum(finding.severity == "error" for finding in findings)
    if json:
        print_json({"errors": errors, "warnings": len(findings) - errors, "findings": findings})
    else:
        for finding in findings:
            typer.echo(f"{finding.severity}: {finding.probe_id}: {finding.kind}: {finding.message}")
        typer.echo(f"{errors} errors, {len(findings) - errors} warnings")
    if errors:
        raise typer.Exit(BAD_PROBES)
