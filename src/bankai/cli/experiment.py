"""`bankai experiment`: the published experiments again, and the report of what holds."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bankai.cli.options import Json
from bankai.cli.output import note, print_json, print_line, tells_interrupt

if TYPE_CHECKING:
    from bankai.experiments.run import Summary

__all__ = ["app", "every", "experiment", "listed", "run"]

app = typer.Typer(add_completion=False, rich_markup_mode=None, invoke_without_command=True)

On = Annotated[str, typer.Option("--model", metavar="MODEL", help="The model to measure on.")]
Out = Annotated[Path, typer.Option("--out", metavar="DIR", help="The folder of results and report.")]
Quick = Annotated[bool, typer.Option("--quick", help="Small sizes and one seed: shows that all of it works.")]
Seeds = Annotated[int | None, typer.Option(min=1, metavar="N", help="Seeds 0 to N - 1; 3 unless quick.")]


@app.callback()
def experiment(context: typer.Context) -> None:
    """Repeat the published experiments and report what holds."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command("list")
def listed(json: Json = False) -> None:
    """Name the experiments and what each is for."""
    from bankai.cli.tables import print_table
    from bankai.experiments.registry import CHAT, EXPERIMENTS, PURPOSES

    if json:
        print_json(PURPOSES)
        return
    print_table("Experiments", ("name", "purpose"), EXPERIMENTS.items(), words=True)
    print_table("On a chat model", ("name", "purpose"), CHAT.items(), words=True)


@app.command()
def run(
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="Names that `list` tells.")],
    model: On,
    out: Out,
    quick: Quick = False,
    seeds: Seeds = None,
    json: Json = False,
) -> None:
    """Run the named experiments anew, and write the report.

    One on a chat model that was cut short goes on.
    """
    from bankai.experiments.registry import PURPOSES

    for name in names:
        if name not in PURPOSES:
            raise typer.BadParameter(f"no experiment is called {name!r}; choose among {', '.join(PURPOSES)}")
    _go(names, model, out, quick, seeds, json, again=True)


@app.command("all")
def every(model: On, out: Out, quick: Quick = False, seeds: Seeds = None, json: Json = False) -> None:
    """Run every experiment that is not done yet but those on chat models, and write the report.

    A run that was cut short goes on with the experiment it was at.
    """
    from bankai.experiments.registry import EXPERIMENTS

    _go(list(EXPERIMENTS), model, out, quick, seeds, json, again=False)


def _go(
    names: list[str], model: str, out: Path, quick: bool, seeds: int | None, json: bool, *, again: bool
) -> None:
    from bankai.cli.steps import step_progress
    from bankai.experiments.run import run_experiments

    with (
        tells_interrupt(out / "report.html", "what is done is kept: `bankai experiment all` goes on"),
        step_progress() as listen,
    ):
        summary = run_experiments(
            names, model, out, quick=quick, seeds=seeds, again=again, listen=listen, tell=note
        )
    if json:
        print_json(summary)
    else:
        _print(summary)
    if quick:
        note("--quick is one seed and small sizes, from which little can be told; figures need the full run")


def _print(summary: "Summary") -> None:
    from bankai.cli.tables import print_table

    rows = [(one.experiment, one.verdict, one.claim.ours, one.claim.published) for one in summary.claims]
    print_table("Verdicts", ("experiment", "verdict", "measured here", "published"), rows, words=True)
    print_line(f"report: {summary.report}")
