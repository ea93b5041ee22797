"""Operations from file to file, on patches and on models with their sidecars. Needs no torch."""

import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import reduce
from operator import xor
from pathlib import Path

import msgspec

from bankai.checkpoint.model_file import open_checkpoint
from bankai.errors import FormatError, StoreError, WrongBaseError
from bankai.io import check_absent
from bankai.jobs.describe import BITS, PatchDescription, count_bits, describe_patch
from bankai.patch import Manifest, Patch, read_patch, write_patch
from bankai.patching import bind_patch, sidecar_path
from bankai.patching.ledger import Ledger
from bankai.patching.sidecar import save

__all__ = [
    "bind_file",
    "check_output",
    "compose_files",
    "convert_file",
    "convert_patch_file",
    "read_named_patch",
]


def check_output(path: Path, kind: str = "patch", read: Callable[[Path], object] = read_patch) -> None:
    """Refuse a place where no file of that kind can be written, before the work is done. Raises StoreError.

    Only an earlier one, which `read` takes, may be replaced: a model or a link given by mistake stays. `read` takes
    regular files only.
    """
    if path.is_dir() or not path.parent.is_dir():
        raise StoreError(f"{path} is no place for a file; name one in a directory that exists")
    if os.path.lexists(path):
        try:
            if path.is_symlink():
                raise FormatError("a link")
            read(path)
        except (OSError, FormatError):
            raise StoreError(f"{path} exists and is not a {kind}; give -o a new name") from None
    try:
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise StoreError(f"{path} cannot be written: {error}; choose another place") from error


def _check_bound_output(path: Path) -> None:
    if path.suffix == ".json":
        raise StoreError(f"{path} cannot hold a binding; write a .bankai file instead")
    check_output(path)


def read_named_patch(path: str | Path) -> Patch:
    """A patch under its own name, else its file's. Raises PatchFormatError."""
    patch = read_patch(path)
    name = patch.manifest.name or Path(path).stem
    return replace(patch, manifest=msgspec.structs.replace(patch.manifest, name=name))


def bind_file(patch: str | Path, model: str | Path, out: str | Path) -> PatchDescription:
    """Write the patch bound to `model`, as it is without the patches applied to it. Raises PlaceError."""
    _check_bound_output(Path(out))
    write_patch(_bound(read_patch(patch), model), out)
    return describe_patch(out)


def compose_files(
    patches: Sequence[str | Path], out: str | Path, model: str | Path | None = None
) -> PatchDescription:
    """Write the XOR of patches, bound when their base `model` is given. Raises WrongBaseError."""
    (check_output if model is None else _check_bound_output)(Path(out))
    read = [read_patch(patch) for patch in patches]
    if model is not None:
        _check_base(read, patches, model)
    composed = reduce(xor, read, Patch.empty())
    if composed.manifest == Manifest():
        names = ", ".join(Path(patch).name for patch in patches)
        composed = replace(composed, manifest=Manifest(description=f"composed of {names}"))
    write_patch(composed if model is None else _bound(composed, model), out)
    return describe_patch(out)


def convert_patch_file(source: str | Path, target: str | Path) -> PatchDescription:
    """Write the patch of a file in the other format, or the same: `target` ends in .bankai or in .json.

    JSON has no place for a binding. Raises PatchFormatError, and StoreError when `target` exists or is no such name.
    """
    path = Path(target)
    if path.suffix not in (".bankai", ".json"):
        raise StoreError(f"{source} is a patch; name the file to write .bankai or .json, not {path.name}")
    check_absent(path)
    write_patch(read_patch(source), path)
    return describe_patch(path)


def convert_file(source: str | Path, target: str | Path) -> str:
    """Convert a model and carry its sidecar over; return why a sidecar was ignored and left behind, else "".

    The digests of a patch are the same in both formats, so what holds for the source holds for the target.
    Raises as `bankai.convert`, and StoreError for a sidecar that cannot be written; `target` is then removed.
    """
    from bankai.checkpoint.convert import convert  # apply and bind start without the writers

    with open_checkpoint(source) as checkpoint:
        ledger = Ledger.of(checkpoint)
    path = convert(source, target)
    try:
        save(sidecar_path(path), ledger.applied)  # nothing applied removes one left over from another model
    except BaseException:  # a model without its list forgets what is on it
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
        raise
    return ledger.note


def _check_base(read: Sequence[Patch], paths: Sequence[str | Path], model: str | Path) -> None:
    """Binding the sum says nothing of the parts: each bound one must know these bits. Raises WrongBaseError."""
    with open_checkpoint(model) as checkpoint:
        ledger = Ledger.of(checkpoint)
        for patch, path in zip(read, paths, strict=True):
            if patch.binding is not None and ledger.state(patch) == "foreign":
                raise WrongBaseError(f"{path} was not made for the bits of {model}; give the model it was")


def _bound(patch: Patch, model: str | Path) -> Patch:
    bound = bind_patch(model, patch)
    with open_checkpoint(model) as checkpoint:
        metadata = bound.manifest.metadata | {BITS: count_bits(checkpoint, bound.flips)}
    return replace(bound, manifest=msgspec.structs.replace(bound.manifest, metadata=metadata))
