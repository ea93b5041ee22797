"""`bankai info`."""

from typing import Annotated

import typer

from bankai.cli.options import Json, PatchFile
from bankai.cli.output import print_json, print_pairs
from bankai.jobs.describe import PatchDescription, describe_patch

__all__ = ["description_lines", "info"]

_MEASURED = {"heldout": "held-out", "unknown": "unknown failures", "control": "unseen controls"}
"""What `bankai search` calls results of a manifest when it prints them."""


def info(
    patch: PatchFile,
    model: Annotated[
        str | None,
        typer.Option(metavar="MODEL", help="The model, to count bits where the patch does not say."),
    ] = None,
    json: Json = False,
) -> None:
    """Show what a patch file holds."""
    description = describe_patch(patch, model)
    if json:
        print_json(description)
    else:
        print_pairs(description_lines(description))


def description_lines(patch: PatchDescription) -> dict[str, object]:
    """What a person wants to read of it."""
    manifest = patch.manifest
    return {
        "patch": patch.path,
        "name": manifest.name,
        "description": manifest.description,
        "flips": f"{patch.flips} ({patch.rows} rows, {patch.groups} groups, {patch.single_bits} single bits)",
        "bits": "unknown (give --model)" if patch.bits is None else patch.bits,
        "bound to": patch.fingerprint or "nothing (see bankai bind)",
        "base model": manifest.base_model,
        "strategy": manifest.strategy,
        "objective": manifest.objective,
        "seed": None if manifest.seed is None else str(manifest.seed),
        "probes": manifest.probes,
        "payload": f"{patch.payload_bytes} bytes (entropy bound {patch.entropy_bytes:.1f})",
        "file": f"{patch.file_bytes} bytes",
        **{f"  {name}": count for name, count in patch.tensors.items()},
        **{_MEASURED.get(name, name): _result(value) for name, value in manifest.results.items()},
    }


def _result(value: object) -> str:
    """A result of a manifest on one line: paired counts as a sentence, other objects as a list."""
    if not isinstance(value, dict):
        return str(value)
    if value.keys() == {"probes", "base", "patched", "fixed", "broke"}:
        solved = f"{value['base']} -> {value['patched']} of {value['probes']}"
        return f"{solved}, fixed {value['fixed']}, broke {value['broke']}"
    return ", ".join(f"{name} {_result(part)}" for name, part in value.items())
