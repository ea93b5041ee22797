"""Arguments and options that several commands share, so that they read the same everywhere."""

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["Json", "Model", "Output", "PatchFile", "Seed", "Unbound"]

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Model = Annotated[str, typer.Argument(help="A .gguf file, an MLX directory or a built-in model.")]
Output = Annotated[Path, typer.Option("--output", "-o", help="The file to write.")]
PatchFile = Annotated[Path, typer.Argument(help="A .bankai or bankai_row_xor_v1 file.")]
Seed = Annotated[int, typer.Option(help="Seed of every random choice.")]
Unbound = Annotated[
    bool,
    typer.Option("--unbound", help="Accept a patch that does not say which bits it expects."),
]
