"""A patch for those who do not have this package: as a changed model, or as a LoRA with its measured drift.

Nothing here prints. Only measuring needs more than the base package; where that is missing, the result says so.
"""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import msgspec

from bankai.checkpoint.lora import write_gguf_lora, write_peft
from bankai.checkpoint.model_file import Checkpoint, open_checkpoint
from bankai.errors import (
    AlreadyAppliedError,
    MissingExtraError,
    StoreError,
    UnsupportedModelError,
    WrongBaseError,
)
from bankai.io import check_absent
from bankai.jobs.drift import Drift, llama_drift, peft_drift
from bankai.jobs.patch_files import convert_file, read_named_patch
from bankai.patch import Patch, state
from bankai.patching import apply_patch

__all__ = ["ExportResult", "Form", "export_patch"]

Form = Literal["gguf", "mlx", "peft", "gguf-lora"]

_MEASURES = {"peft": peft_drift, "gguf-lora": llama_drift}


class ExportResult(msgspec.Struct, frozen=True):
    """`bytes`: of the file, or of all files of the directory. `drift` is None for a changed model, which is the
    patch itself, and where it was not measured; `note` then says why.
    """

    output: str
    to: Form
    base: str
    flips: int
    bytes: int
    drift: Drift | None = None
    note: str = ""


def export_patch(
    patch: str | Path, base: str | Path, to: Form, out: str | Path, *, measure: bool = True
) -> ExportResult:
    """Write the patch in another form for the model `base`; `out` must not exist.

    Raises WrongBaseError, AlreadyAppliedError and UnboundPatchError unless the patch is bound to the bits that the
    base has, StoreError when `out` cannot be written, UnsupportedModelError for what the form cannot express, and
    what reading patch and model raises; then nothing is written.
    """
    value, target = read_named_patch(patch), Path(out)
    _check_target(target, to)
    with open_checkpoint(base) as checkpoint:
        _require_base(checkpoint, value, base)
        kind = checkpoint.format
        if to == "peft":
            write_peft(target, checkpoint, value.flips, value.manifest.base_model)
        elif to == "gguf-lora":
            write_gguf_lora(target, checkpoint, value.flips)
    if to in ("gguf", "mlx"):
        _write_model(value, base, target, same=kind == to)
    files = [target] if target.is_file() else [path for path in target.iterdir() if path.is_file()]
    size = sum(path.stat().st_size for path in files)
    drift, note = _measured(value, base, to, target, kind) if measure and to in _MEASURES else (None, "")
    return ExportResult(str(out), to, str(base), len(value), size, drift, note)


def _check_target(out: Path, to: Form) -> None:
    """Raises StoreError for a name that is taken, or that says another kind of file than is asked for."""
    if (out.suffix.lower() == ".gguf") != to.startswith("gguf"):
        wanted = "a name that ends in .gguf" if to.startswith("gguf") else "the name of a new directory"
        raise StoreError(f"{out} is not {wanted}, as {to} needs; give another one")
    if not out.parent.is_dir():
        raise StoreError(f"{out.parent} is no directory; name a place that exists")
    check_absent(out)


def _require_base(checkpoint: Checkpoint, patch: Patch, base: str | Path) -> None:
    found = state(checkpoint, patch)
    if found == "applied" and patch:
        raise AlreadyAppliedError(f"{base} has the patch on already; give its base (bankai revert)")
    if found != "base":
        raise WrongBaseError(
            f"{base} does not have the bits that the patch was made on; give the patch's base"
        )


def _write_model(patch: Patch, base: str | Path, out: Path, same: bool) -> None:
    """A patched copy, converted on the way when the base is of the other format."""
    if same:
        apply_patch(base, patch, out)
        return
    with TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as folder:
        copy = Path(folder) / ("patched" if out.suffix.lower() == ".gguf" else "patched.gguf")
        apply_patch(base, patch, copy)
        convert_file(copy, out)


def _measured(patch: Patch, base: str | Path, to: Form, out: Path, kind: str) -> tuple[Drift | None, str]:
    """The drift, or why it was not measured."""
    if to == "gguf-lora" and kind != "gguf":
        return None, "drift not measured: llama.cpp does not read this base, only a GGUF copy of it"
    try:
        return _MEASURES[to](base, patch, out), ""
    except (MissingExtraError, UnsupportedModelError) as error:  # the adapter is written and sound
        return None, f"drift not measured: {error}"
    except ModuleNotFoundError as error:
        if error.name not in ("torch", "transformers", "tokenizers"):
            raise
        return None, f"drift not measured: it needs {error.name}; run: pip install 'bankai[search]'"
