"""`bankai model`, `bankai convert` and `bankai synth`: model files."""

from collections import Counter
from pathlib import Path
from typing import Annotated, Literal

import typer

from bankai.cli.options import Json, Model, Output, Seed
from bankai.cli.output import counted, note, print_json, print_line, print_pairs

__all__ = ["Shape", "convert", "model", "synth"]

Shape = Literal["bonsai-8b", "bonsai-4b", "bonsai-1.7b", "bonsai-27b", "tiny", "tiny-hybrid"]

_TENSORS_PER_LINE = 100  # a tiny model is written in silence


def model(model: Model, json: Json = False) -> None:
    """Show what a model file holds, and the patches on it."""
    from bankai.jobs.describe import describe_model

    described = describe_model(model)
    if json:
        print_json(described)
        return
    heads = f"{described.attention_heads} of {described.head_dim}, {described.key_value_heads} key-value"
    template = "chat template" if described.chat_template else "no chat template"
    print_pairs(
        {
            "model": described.path,
            "format": described.format,
            "architecture": f"{described.architecture}, {described.layers} layers",
            "hidden": f"{described.hidden_size}, MLP {described.intermediate_size}",
            "heads": heads,
            "context": described.context,
            "weights": f"{described.weights:,} in {len(described.tensors)} weight matrices",
            "quantization": described.quantization,
            "norms": f"{described.dense_tensors} dense tensors",
            "file": f"{described.file_bytes:,} bytes",
            "fingerprint": described.fingerprint,
            "vocabulary": f"{described.vocabulary:,} tokens, {described.pre_tokenizer}, {template}",
            "applied": ", ".join(described.applied) or described.note,
            **_shapes(described.tensors),
        }
    )


def convert(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE", help="A .gguf file, an MLX directory or a built-in model; or a patch."
        ),
    ],
    target: Annotated[
        Path,
        typer.Argument(
            metavar="TARGET",
            help="A .gguf file for GGUF, else an MLX directory; for a patch a .bankai or .json file.",
        ),
    ],
    json: Json = False,
) -> None:
    """Convert a model between GGUF and MLX, or a patch.

    A model stays the same bit for bit, with its tokenizer and the record of applied patches. A patch goes between
    .bankai and bankai_row_xor_v1 (.json), which cannot say to which bits it is bound.
    """
    from bankai.checkpoint.model_file import builtin_models
    from bankai.patch.files import is_patch_file

    if source not in builtin_models() and is_patch_file(source):
        _convert_patch(source, target, json)
    else:
        _convert_model(source, target, json)


def _convert_patch(source: str, target: Path, json: bool) -> None:
    from bankai.jobs.patch_files import convert_patch_file

    description = convert_patch_file(source, target)
    if json:
        print_json(description)
    else:
        bound = "bound" if description.bound else "not bound to a model (bankai bind ties it to one)"
        print_line(f"{source} -> {target}: {counted(description.flips, 'flip')}, {bound}")


def _convert_model(source: str, target: Path, json: bool) -> None:
    from bankai.jobs.describe import describe_model
    from bankai.jobs.patch_files import convert_file
    from bankai.patching import sidecar_path

    ignored = convert_file(source, target)
    if ignored:
        note(f"note: the record of applied patches is not carried over: {ignored}")
    if json:
        print_json(describe_model(str(target)))
        return
    print_line(f"{source} -> {target}")
    if sidecar_path(target).exists():
        print_line(f"  record: {sidecar_path(target)}")


def synth(
    shape: Annotated[Shape, typer.Option(help="The published model whose shape to take.")],
    output: Output,
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Write a random model in the shape of a published one.

    For memory, timings and tests: it has no skills.
    """
    from bankai.checkpoint.synth import synthesize
    from bankai.jobs.describe import describe_model

    synthesize(output, shape, seed=seed, progress=_tell_progress)
    if json:
        print_json(describe_model(str(output)))
    else:
        print_line(f"{shape}, seed {seed} -> {output}, {output.stat().st_size:,} bytes")


def _tell_progress(done: int, total: int) -> None:
    """Now and then a line on stderr."""
    if done and done % _TENSORS_PER_LINE == 0:
        note(f"{done} of {total} tensors written")


def _shapes(tensors: dict[str, tuple[int, int]]) -> dict[str, object]:
    """One line per family of tensors: its shape, and how many there are."""
    families = Counter((name.rpartition(".")[2], shape) for name, shape in tensors.items())
    return {f"  {name}": f"{count} x {out} x {columns}" for (name, (out, columns)), count in families.items()}
