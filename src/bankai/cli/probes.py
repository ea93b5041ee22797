"""`bankai probes`: commands about probe sets."""

from collections import Counter
from collections.abc import Sequence
from shutil import get_terminal_size
from textwrap import fill
from typing import TYPE_CHECKING, Annotated

import typer

from bankai.cli.options import Json
from bankai.cli.output import clean, print_json

if TYPE_CHECKING:
    from bankai.probes.audit import Finding

__all__ = ["app", "audit", "probes"]

BAD_PROBES = 1

app = typer.Typer(add_completion=False, rich_markup_mode=None, invoke_without_command=True)


@app.callback()
def probes(context: typer.Context) -> None:
    """Look after probe sets."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command()
def audit(
    probe_set: Annotated[str, typer.Argument(metavar="SET", help="A JSONL file or a built-in set.")],
    model: Annotated[str, typer.Option(metavar="MODEL", help="The model that the probes are for.")],
    json: Json = False,
) -> None:
    """Name each bad probe and why (exit code 1)."""
    from bankai.jobs import audit_file

    findings = audit_file(model, probe_set)
    errors = sum(finding.severity == "error" for finding in findings)
    if json:
        print_json({"errors": errors, "warnings": len(findings) - errors, "findings": findings})
    else:
        _print(findings)
        typer.echo(f"{errors} errors, {len(findings) - errors} warnings")
    if errors:
        raise typer.Exit(BAD_PROBES)


def _print(findings: "Sequence[Finding]") -> None:
    """How many of each kind, then each of them, wrapped to the terminal."""
    from bankai.cli.tables import print_table

    if not findings:
        return
    counts = Counter((finding.kind, finding.severity) for finding in findings)
    rows = [(kind, severity, count) for (kind, severity), count in counts.most_common()]
    print_table("Findings", ("kind", "severity", "count"), rows)
    width = get_terminal_size().columns
    for finding in findings:
        text = f"{finding.severity}: {finding.probe_id}: {finding.kind}: {finding.message}"
        typer.echo(
            fill(clean(text), width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
        )
