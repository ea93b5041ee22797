"""`bankai demo`."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bankai.cli.options import Json, Seed
from bankai.cli.output import note, print_json, print_line, tells_interrupt

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bankai.jobs.chat_demo import ChatDemoResult
    from bankai.jobs.demo import DemoResult, Example

__all__ = ["demo"]

NOTHING_FOUND = 1


def demo(
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="The patch to write.")
    ] = Path("demo.bankai"),
    model: Annotated[
        str, typer.Option(metavar="MODEL", help="nano, or SmolLM2-135M-Instruct as a GGUF file.")
    ] = "nano",
    budget: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Evaluations to spend; 180 on nano, 70 on another model."),
    ] = None,
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Search a patch for the built-in model and measure it.

    Counts what was fixed and broken on prompts that the search never saw. Another model, a small chat model, is asked
    short questions whose answers it knows but does not give as one word.
    """
    with tells_interrupt(output):
        result, show = _nano(output, budget, seed) if model == "nano" else _chat(model, output, budget, seed)
    if json:
        print_json(result)
    elif result.patch is not None:
        show()
    if result.patch is None:
        note("no patch found; give a larger --budget; nothing written")
        raise typer.Exit(NOTHING_FOUND)


def _nano(output: Path, budget: int | None, seed: int) -> "tuple[DemoResult, Callable[[], None]]":
    from bankai.cli.progress import search_progress
    from bankai.jobs.demo import BUDGET, run_demo

    with search_progress() as display:
        result = run_demo(output, seed=seed, budget=budget or BUDGET, listen=display.show)
    return result, partial(_print, result)


def _chat(
    model: str, output: Path, budget: int | None, seed: int
) -> "tuple[ChatDemoResult, Callable[[], None]]":
    from bankai.cli.progress import search_progress
    from bankai.cli.steps import step_progress
    from bankai.jobs.chat_demo import BUDGET, run_chat_demo
    from bankai.jobs.patch_files import check_output
    from bankai.jobs.replies import neutral_replies

    check_output(output)  # before anything is asked
    with step_progress() as steps:
        replies = neutral_replies(model, listen=steps)
    with search_progress() as display:
        result = run_chat_demo(
            model, output, replies, seed=seed, budget=budget or BUDGET, listen=display.show
        )
    return result, partial(_print_chat, result)


def _print_chat(result: "ChatDemoResult") -> None:
    from bankai.cli.tables import print_comparison

    known, unknown = result.heldout, result.unknown
    if known is not None:
        print_comparison("Held-out questions whose answers the model knows", known)
    if unknown is not None:
        print_comparison("Held-out questions whose answers it does not know", unknown)
    _print_examples("The first failing held-out question of each kind", result.examples)
    if result.drift is not None:
        print_line(f"drift on everyday replies that the search did not read: {result.drift:.3f} nats a token")
    print_line(f"fitness: {result.fitness:.3f} in {result.evaluations:.0f} evaluations")
    _print_patch(result)


def _print_examples(title: str, examples: "Sequence[Example]") -> None:
    from bankai.cli.tables import print_table

    rows = [(row.prompt, row.expected, row.base, row.patched) for row in examples]
    print_table(title, ("prompt", "right", "base", "patched"), rows)


def _print_patch(result: "DemoResult | ChatDemoResult") -> None:
    print_line(
        f"patch: {result.patch}, {result.flips} flips, {result.payload_bytes} bytes of places, "
        f"{result.bare_bytes} as a file without manifest, {result.file_bytes} with it"
    )
    print_line(f"{result.seconds:.0f} s, seed {result.seed}")


def _print(result: "DemoResult") -> None:
    from bankai.cli.tables import print_comparison

    print_comparison("Held-out probes of what nano knows but does not show (elicitable)", result.heldout)
    print_comparison("Held-out probes of what nano cannot do (capability-limited)", result.limited)
    print_comparison("Unseen controls: what may have broken", result.control)
    _print_examples("The first failing held-out prompt of each category", result.examples)
    text, fitness = result.perplexity, result.fitness
    print_line(f"perplexity of running text: base {text['base']:.2f}, patched {text['patched']:.2f}")
    print_line(
        f"fitness: guided {fitness['guided']:.3f} in {result.evaluations:.0f} evaluations, "
        f"greedy {fitness['greedy']:.3f} in {result.evaluations_greedy:.0f}"
    )
    _print_patch(result)
