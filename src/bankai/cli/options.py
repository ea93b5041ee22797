"""Arguments and options that several commands share, so that they read the same everywhere."""

from pathlib import Path
from typing import Annotated, Literal

import typer

__all__ = ["Budget", "Device", "Dtype", "Json", "Model", "Output", "PatchFile", "Seed", "Unbound"]

Budget = Annotated[int, typer.Option(min=1, metavar="N", help="Full evaluations to spend.")]
Device = Annotated[Literal["cpu", "cuda", "mps"], typer.Option(help="Where torch computes.")]
Dtype = Annotated[
    Literal["float32", "bfloat16", "float16"],
    typer.Option(help="What torch computes in; the last two are quicker on a GPU, and rounder."),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Model = Annotated[
    str, typer.Argument(metavar="MODEL", help="A .gguf file, an MLX directory or a built-in model.")
]
Output = Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="The file to write.")]
PatchFile = Annotated[Path, typer.Argument(metavar="PATCH", help="A .bankai or bankai_row_xor_v1 file.")]
Seed = Annotated[int, typer.Option(min=0, max=2**63 - 1, metavar="N", help="Seed of every random choice.")]
Unbound = Annotated[
    bool,
    typer.Option("--unbound", help="Accept a patch that does not say which bits it expects."),
]
