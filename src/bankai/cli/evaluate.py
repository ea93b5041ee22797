"""`bankai eval`."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from bankai.cli.options import Device, Dtype, Json, Model, Unbound
from bankai.cli.output import print_json

__all__ = ["Engine", "Split", "evaluate"]

Engine = Literal["torch", "llama", "mlx"]
Split = Literal["target", "validation", "control", "heldout", "unseen", "all"]


def evaluate(
    model: Model,
    probes: Annotated[str, typer.Option(metavar="SET", help="The probes to score.")],
    patch: Annotated[Path | None, typer.Option(metavar="PATCH", help="Compare with this patch on.")] = None,
    split: Annotated[Split, typer.Option(help="The split to score.")] = "heldout",
    engine: Annotated[Engine, typer.Option(help="What computes.")] = "torch",
    unbound: Unbound = False,
    device: Device = "cpu",
    dtype: Dtype = "float32",
    json: Json = False,
) -> None:
    """Count solved probes, and what a patch fixes and breaks."""
    from bankai.cli.tables import print_comparison
    from bankai.evaluation import evaluate_file

    result = evaluate_file(
        model, probes, patch, split=split, engine=engine, unbound=unbound, device=device, dtype=dtype
    )
    if json:
        print_json(result)
    else:
        print_comparison(f"{probes}, {split}, by {engine}", result)
