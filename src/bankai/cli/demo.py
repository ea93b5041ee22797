"""`bankai demo`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bankai.cli.options import Json, Seed
from bankai.cli.output import print_json

if TYPE_CHECKING:
    from bankai.jobs import DemoResult

__all__ = ["demo"]


def demo(
    output: Annotated[Path, typer.Option("--output", "-o", help="The patch to write.")] = Path("demo.bankai"),
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Search a patch for the built-in model; show what it fixed and broke on prompts never searched."""
    from bankai.cli.progress import search_progress
    from bankai.jobs import run_demo

    with search_progress() as display:
        result = run_demo(output, seed, listen=display.show)
    if json:
        print_json(result)
    else:
        _print(result)


def _print(result: "DemoResult") -> None:
    from bankai.cli.tables import print_comparison, print_table

    print_comparison("Held-out probes of what nano knows but does not show (elicitable)", result.heldout)
    print_comparison("Held-out probes of what nano cannot do (capability-limited)", result.limited)
    print_comparison("Unseen controls: what may have broken", result.control)
    rows = [(example.prompt, example.base, example.patched) for example in result.examples]
    print_table("Some held-out prompts", ("prompt", "base", "patched"), rows)
    fitness, evaluations = result.fitness, result.evaluations
    typer.echo(
        f"fitness: guided {fitness['guided']:.3f} in {evaluations['guided']:.0f} evaluations, "
        f"greedy {fitness['greedy']:.3f} in {evaluations['greedy']:.0f}"
    )
    typer.echo(
        f"patch: {result.patch}, {result.flips} flips, {result.payload_bytes} bytes of places, "
        f"{result.bare_bytes} as a file without manifest, {result.file_bytes} with it"
    )
    typer.echo(f"{result.seconds:.0f} s, seed {result.seed}")
