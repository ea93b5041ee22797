"""`bankai apply`, `revert`, `swap`, `recover` and `status`: patches on model files."""

import os
from pathlib import Path
from typing import Annotated

import typer

from bankai.cli.options import Json, Model, PatchFile, Unbound
from bankai.cli.output import counted, print_json, print_line

__all__ = ["apply", "recover", "revert", "status", "swap"]

FOREIGN = 1

_WORDS = {"base": "not applied", "applied": "applied", "foreign": "foreign bits"}

Out = Annotated[Path | None, typer.Option("--output", "-o", metavar="OUT", help="Write a changed copy here.")]
InPlace = Annotated[bool, typer.Option("--in-place", help="Change the file itself.")]


def apply(
    model: Model,
    patch: PatchFile,
    output: Out = None,
    in_place: InPlace = False,
    unbound: Unbound = False,
    json: Json = False,
) -> None:
    """Put a patch on a model file.

    On a copy (-o), or on the file itself (--in-place).
    """
    from bankai.jobs.patch_files import read_named_patch
    from bankai.patching import apply_in_place, apply_patch

    _one_target(output, in_place)
    value = read_named_patch(patch)
    if output is None:
        apply_in_place(model, value, unbound=unbound)
    else:
        apply_patch(model, value, output, unbound=unbound)
    _report("applied", patch, output or Path(model), len(value), json)


def revert(
    model: Model,
    patch: PatchFile,
    output: Out = None,
    in_place: InPlace = False,
    json: Json = False,
) -> None:
    """Take a patch off a model file.

    On a copy (-o), or on the file itself (--in-place).
    """
    from bankai.jobs.patch_files import read_named_patch
    from bankai.patching import revert_in_place, revert_patch

    _one_target(output, in_place)
    value = read_named_patch(patch)
    if output is None:
        revert_in_place(model, value)
    else:
        revert_patch(model, value, output)
    _report("base", patch, output or Path(model), len(value), json)


def swap(
    model: Model,
    to: Annotated[
        str,
        typer.Option(metavar="PATCH|base|A+B", help="What shall be on: a patch, none, or several at once."),
    ],
    volatile: Annotated[
        bool, typer.Option("--volatile", help="Without journal and sync: faster, but not safe from a crash.")
    ] = False,
    json: Json = False,
) -> None:
    """Exchange the patches on a model file, also one in use.

    Only bytes that differ are touched. llama.cpp on a CPU, with its map of the file (mmap), computes with the new bits
    at once; let it forget what it has cached (its KV cache). For tensors of Q4_0, and on ARM, start it with
    --no-repack.
    """
    from bankai.jobs.patch_files import read_named_patch
    from bankai.patching import LiveModel

    patches = [read_named_patch(path) for path in _patches(to)]
    with LiveModel(model) as live:
        changed = live.swap(*patches, volatile=volatile)
        names = [patch.manifest.name for patch in live.applied]
    if json:
        print_json({"model": model, "applied": names, "bytes_changed": changed})
    else:
        print_line(f"{model}: {' + '.join(names) or 'base'} ({changed} bytes changed)")


def recover(model: Model, json: Json = False) -> None:
    """Undo a change of a model file that was cut short.

    Every command that opens the model does the same first.
    """
    from bankai.patching import recover as undo

    undone = undo(model)
    if json:
        print_json({"model": model, "recovered": undone})
    else:
        print_line(f"{model}: {'a change that was cut short is undone' if undone else 'nothing to recover'}")


def status(
    model: Model,
    patch: Annotated[Path | None, typer.Argument(metavar="PATCH", help="The patch to look for.")] = None,
    json: Json = False,
) -> None:
    """Tell whether a patch is on a model file.

    Says base, applied, or foreign bits (exit code 1).
    """
    from bankai import patching
    from bankai.jobs.patch_files import read_named_patch

    found = patching.status(model, None if patch is None else read_named_patch(patch))
    if json:
        applied = [
            {"name": entry.name, "flips": len(entry.patch), "time": entry.time} for entry in found.patches
        ]
        print_json({"state": found.state, "applied": applied, "note": found.note})
    else:
        state = found.state if patch is None else f"this patch: {_WORDS[found.state]}"
        print_line(f"{state}{' (' + found.note + ')' if found.note else ''}")
        for entry in found.patches:
            print_line(f"  {entry.name}: {counted(len(entry.patch), 'flip')}, applied {entry.time}")
    if found.state == "foreign":
        raise typer.Exit(FOREIGN)


def _patches(to: str) -> list[Path]:
    """The patch files of `--to`; a plus may stand in a file's name."""
    if to == "base":
        return []
    pieces, found = to.split("+"), []
    while pieces:
        counts = range(len(pieces), 0, -1)  # the longest name that there is
        count = next((count for count in counts if os.path.exists("+".join(pieces[:count]))), 1)
        found.append("+".join(pieces[:count]))
        del pieces[:count]
    if not all(found):
        raise typer.BadParameter(f"{to!r} is no list of patches such as A+B", param_hint="'--to'")
    return [Path(name) for name in found]


def _one_target(output: Path | None, in_place: bool) -> None:
    if (output is None) != in_place:
        raise typer.BadParameter("give either -o OUT or --in-place", param_hint="'--output'")


def _report(state: str, patch: Path, path: Path, flips: int, json: bool) -> None:
    from bankai.patching import sidecar_path

    record = sidecar_path(path)
    sidecar = record if record.exists() else None  # there is none when nothing is applied
    if json:
        print_json({"state": state, "model": path, "patch": patch, "flips": flips, "sidecar": sidecar})
        return
    print_line(
        f"{path}: {'with' if state == 'applied' else 'without'} {patch.name} ({counted(flips, 'flip')})"
    )
    if sidecar is not None:
        print_line(f"  record: {sidecar}")
