"""`bankai eval`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from bankai.cli.options import Device, Dtype, Json, Model, Seed, Unbound
from bankai.cli.output import print_json, print_line
from bankai.cli.steps import step_progress

if TYPE_CHECKING:
    from bankai.jobs.null import NullComparison

__all__ = ["Engine", "Split", "evaluate"]

Engine = Literal["torch", "llama", "mlx"]
Split = Literal["target", "validation", "control", "heldout", "unseen", "all"]
SHOWN = 20


def evaluate(
    model: Model,
    probes: Annotated[str, typer.Option(metavar="SET", help="The probes to score.")],
    patch: Annotated[Path | None, typer.Option(metavar="PATCH", help="Compare with this patch on.")] = None,
    split: Annotated[Split, typer.Option(help="The split to score.")] = "heldout",
    engine: Annotated[Engine, typer.Option(help="What computes.")] = "torch",
    null: Annotated[
        int, typer.Option(min=0, metavar="N", help="Measure N random patches of the same size as well.")
    ] = 0,
    seed: Seed = 0,
    unbound: Unbound = False,
    device: Device = "cpu",
    dtype: Dtype = "float32",
    json: Json = False,
) -> None:
    """Count solved probes, and what a patch fixes and breaks.

    With --null, also what as many random flips of the same kinds in the same tensors do; p says how often they fix
    as many more than they break as the patch does, 1 / (N + 1) at least.
    """
    from bankai.cli.tables import print_comparison
    from bankai.evaluation import evaluate_file

    options = {"split": split, "unbound": unbound, "device": device, "dtype": dtype}
    if null:
        from bankai.jobs.null import compare_with_null

        found = _needed(patch, engine)
        with step_progress() as listen:
            result = compare_with_null(model, probes, found, null, seed=seed, listen=listen, **options)
    else:
        result = evaluate_file(model, probes, patch, engine=engine, **options)
    if json:
        print_json(result)
        return
    print_comparison(f"{probes}, {split}, by {engine}", result)
    if null:
        _print_null(result)


def _needed(patch: Path | None, engine: Engine) -> Path:
    """The patch that random ones are like. Raises BadParameter."""
    if patch is None:
        raise typer.BadParameter("random patches are like a patch; give --patch too", param_hint="'--null'")
    if engine != "torch":
        raise typer.BadParameter(
            f"random patches are measured by the torch engine only, not by {engine}; leave --engine out",
            param_hint="'--null'",
        )
    return patch


def _print_null(result: "NullComparison") -> None:
    from bankai.cli.tables import print_table

    null, net = result.null, result.fixed - result.broke
    named = [("median", null.median), ("largest", null.max)]
    named += [(f"random {number}", one) for number, one in enumerate(null.patches[:SHOWN], start=1)]
    rows = [(name, *(f"{number:g}" for number in (one.fixed, one.broke, one.net))) for name, one in named]
    columns = ("", "fixed", "broke", "net")
    print_table(f"Null, seed {null.seed}", columns, [("patch", result.fixed, result.broke, net), *rows])
    if len(null.patches) > SHOWN:
        print_line(f"and {len(null.patches) - SHOWN} more; --json has them")
    print_line(
        f"{len(null.patches)} random patches, p = {null.p_value:.2g} that one nets as much as the patch"
    )
