"""`bankai demo`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bankai.cli.options import Evaluations, Json, Seed
from bankai.cli.output import note, print_json, print_line, tells_interrupt

if TYPE_CHECKING:
    from bankai.jobs.demo import DemoResult

__all__ = ["demo"]

NOTHING_FOUND = 1


def demo(
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="The patch to write.")
    ] = Path("demo.bankai"),
    budget: Evaluations = 180,
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Search a patch for the built-in model and measure it.

    Counts what was fixed and broken on prompts that the search never saw.
    """
    from bankai.cli.progress import search_progress
    from bankai.jobs.demo import run_demo

    with tells_interrupt(output), search_progress() as display:
        result = run_demo(output, seed=seed, budget=budget, listen=display.show)
    if json:
        print_json(result)
    elif result.patch is not None:
        _print(result)
    if result.patch is None:
        note("no patch found; give a larger --budget; nothing written")
        raise typer.Exit(NOTHING_FOUND)


def _print(result: "DemoResult") -> None:
    from bankai.cli.tables import print_comparison, print_table

    print_comparison("Held-out probes of what nano knows but does not show (elicitable)", result.heldout)
    print_comparison("Held-out probes of what nano cannot do (capability-limited)", result.limited)
    print_comparison("Unseen controls: what may have broken", result.control)
    rows = [(row.prompt, row.expected, row.base, row.patched) for row in result.examples]
    print_table(
        "The first failing held-out prompt of each category", ("prompt", "right", "base", "patched"), rows
    )
    text, fitness = result.perplexity, result.fitness
    print_line(f"perplexity of running text: base {text['base']:.2f}, patched {text['patched']:.2f}")
    print_line(
        f"fitness: guided {fitness['guided']:.3f} in {result.evaluations:.0f} evaluations, "
        f"greedy {fitness['greedy']:.3f} in {result.evaluations_greedy:.0f}"
    )
    print_line(
        f"patch: {result.patch}, {result.flips} flips, {result.payload_bytes} bytes of places, "
        f"{result.bare_bytes} as a file without manifest, {result.file_bytes} with it"
    )
    print_line(f"{result.seconds:.0f} s, seed {result.seed}")
