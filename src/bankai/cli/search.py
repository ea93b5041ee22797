"""`bankai search`."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from bankai.cli.options import Budget, Json, Model, Output, Seed
from bankai.cli.output import note, print_json, print_line, tells_interrupt

if TYPE_CHECKING:
    from bankai.jobs import SearchResult, Task

__all__ = ["Strategy", "search"]

Strategy = Literal["guided", "greedy"]
NOTHING_FOUND = 1


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
    """Search a patch that fixes targets and keeps controls.

    Reports on held-out probes and unseen controls, which the search does not read. Exit code 1 when no patch
    was found; nothing is written then.
    """
    from bankai.cli.progress import search_progress
    from bankai.jobs import Task, search_file
    from bankai.probes import load_probe_set
    from bankai.search import SearchSettings

    sets = [None if name is None else load_probe_set(name) for name in (target, control, heldout)]
    task, settings = Task.of(*sets), SearchSettings(strategy=strategy, budget=budget, seed=seed)
    with tells_interrupt(output), search_progress([*_absent(task)]) as display:
        result = search_file(model, output, task, settings, display.show)
    if json:
        print_json(result)
    elif result.patch is not None:
        _print(result)
    if result.patch is None:
        note(f"no patch found: {result.reason}; nothing written")
        raise typer.Exit(NOTHING_FOUND)


def _absent(task: "Task") -> Iterator[str]:
    """What the search or its report goes without, and the remedy."""
    if not task.searched.controls:
        yield "no controls: nothing limits what this breaks; add --control SET"
    if not task.searched.validation:
        yield "no validation probes: nothing tells chance hits from learning; add some to the target set"
    if not task.whole.split("heldout"):
        yield "no held-out probes: nothing measures what this fixes; add --heldout SET"
    if not task.whole.split("unseen"):
        yield "no unseen controls: nothing measures what this breaks; add some to the control set"


def _print(result: "SearchResult") -> None:
    from bankai.cli.tables import print_comparison

    if result.warnings:
        note(f"audit: {result.warnings} warnings; `bankai probes audit` names them")
    print_line(f"{result.patch}: {result.flips} flips, {result.payload_bytes} bytes of payload")
    print_line(
        f"fitness {result.fitness:.3f} after {result.evaluations:.0f} evaluations, {result.seconds:.0f} s"
    )
    for title, comparison in (("held-out", result.heldout), ("unseen controls", result.control)):
        if comparison is not None:
            print_comparison(title, comparison)
