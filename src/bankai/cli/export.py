"""`bankai export`."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from bankai.cli.options import Json, PatchFile
from bankai.cli.output import counted, note, print_json, print_line, tells_interrupt

__all__ = ["Form", "export"]

Form = Literal["gguf", "mlx", "peft", "gguf-lora"]


def export(
    patch: PatchFile,
    base: Annotated[str, typer.Option(metavar="MODEL", help="The patch's base model.")],
    to: Annotated[Form, typer.Option(help="A changed model, or a LoRA for PEFT or for llama.cpp.")],
    output: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="OUT", help="The new file, or directory for mlx and peft."),
    ],
    drift: Annotated[
        bool, typer.Option("--drift/--no-drift", help="Measure how far a LoRA is from the patch.")
    ] = True,
    json: Json = False,
) -> None:
    """Write a patch as a changed model or as a LoRA.

    A LoRA of peft is for the unpacked model, one of gguf-lora for llama.cpp with the base as it is. Its drift from the
    true patch is measured over 256 tokens of built-in probes: peft in torch, gguf-lora in llama.cpp if installed.
    """
    from bankai.jobs.export import export_patch

    with tells_interrupt(output):
        result = export_patch(patch, base, to, output, measure=drift)
    if json:
        print_json(result)
        return
    print_line(f"{patch.name} -> {output} ({to}), {counted(result.flips, 'flip')}, {result.bytes:,} bytes")
    if found := result.drift:
        print_line(
            f"  drift in {found.engine}, over {found.tokens} tokens: a logit by {found.max_logit:.2g} at most,"
        )
        print_line(
            f"  KL {found.kl:.2g} nats per token, the same next token {100 * found.agreement:.4g} % of the time"
        )
    if result.note:
        note(f"note: {result.note}")
