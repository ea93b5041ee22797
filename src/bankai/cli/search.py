"""`bankai search`."""

from typing import Annotated, Literal

import typer

from bankai.cli.options import Budget, Json, Model, Output, Seed
from bankai.cli.output import print_json

__all__ = ["Strategy", "search"]

Strategy = Literal["guided", "greedy"]


def search(
    model: Model,
    target: Annotated[str, typer.Option(metavar="SET", help="Probes to improve.")],
    output: Output,
    control: Annotated[
        str | None,
        typer.Option(metavar="SET", help="Probes to preserve; the target set's own by default."),
    ] = None,
    heldout: Annotated[
        str | None,
        typer.Option(metavar="SET", help="Probes to report on; the target set's own by default."),
    ] = None,
    strategy: Annotated[Strategy, typer.Option(help="How candidates are chosen.")] = "guided",
    budget: Budget = 300,
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Search a patch that fixes targets and keeps controls; report on unseen probes."""
    from bankai.cli.progress import search_progress
    from bankai.cli.tables import print_comparison
    from bankai.jobs import Task, search_file
    from bankai.probes import load_probe_set
    from bankai.search import SearchSettings

    sets = [None if name is None else load_probe_set(name) for name in (target, control, heldout)]
    settings = SearchSettings(strategy=strategy, budget=budget, seed=seed)
    with search_progress() as display:
        result = search_file(model, output, Task.of(*sets), settings, display.show)
    if json:
        print_json(result)
        return
    if result.warnings:
        typer.echo(f"audit: {result.warnings} warnings; `bankai probes audit` names them", err=True)
    typer.echo(f"{result.patch}: {result.flips} flips, {result.payload_bytes} bytes of payload")
    typer.echo(
        f"fitness {result.fitness:.3f} after {result.evaluations:.0f} evaluations, {result.seconds:.0f} s"
    )
    for title, comparison in (("held-out", result.heldout), ("unseen controls", result.control)):
        if comparison is not None:
            print_comparison(title, comparison)
