"""What a patch file and a model file are, as plain values for reports.

`describe_patch` without a model imports no array library, because `bankai info` must start fast.
"""

import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from bankai.patch import Flip, Manifest, Patch, entropy_bytes, payload_bytes, read_patch

if TYPE_CHECKING:
    from bankai.checkpoint.model_file import Checkpoint
    from bankai.quantization import Matrices

__all__ = [
    "BITS",
    "ModelDescription",
    "PatchDescription",
    "base_fingerprint",
    "count_bits",
    "describe",
    "describe_model",
    "describe_patch",
]

BITS = "bits"
"""Key of the manifest's metadata that holds the number of flipped bits; searches and `bind` write it."""

_GROUP = 128  # weights of a group of a true 1-bit model


class PatchDescription(msgspec.Struct, frozen=True, kw_only=True):
    """`rows`, `groups` and `single_bits` count the flips of each kind, `bits` the weights that change sign: None
    when neither a model nor the manifest tells how long the flipped rows are.
    """

    path: str
    flips: int
    rows: int
    groups: int
    single_bits: int
    bits: int | None
    tensors: dict[str, int]
    bound: bool
    fingerprint: str | None
    payload_bytes: int
    entropy_bytes: float
    file_bytes: int
    manifest: Manifest


class ModelDescription(msgspec.Struct, frozen=True, kw_only=True):
    """`tensors` are the weight matrices: name to [out, in]; `applied` and `note` are from `bankai.patching.status`."""

    path: str
    format: str
    architecture: str
    file_bytes: int
    layers: int
    hidden_size: int
    intermediate_size: int
    attention_heads: int
    key_value_heads: int
    head_dim: int
    context: int
    tied_embeddings: bool
    quantization: str
    weights: int
    dense_tensors: int
    fingerprint: str
    vocabulary: int
    pre_tokenizer: str
    chat_template: bool
    applied: list[str]
    note: str
    tensors: dict[str, tuple[int, int]]


def describe_patch(path: str | Path, model: str | Path | None = None) -> PatchDescription:
    """Read a patch file; `model` gives the length of its rows. Raises PatchFormatError."""
    return describe(read_patch(path), str(path), Path(path).stat().st_size, model)


def describe(patch: Patch, path: str, file_bytes: int, model: str | Path | None = None) -> PatchDescription:
    """What a patch is whose file, of so many bytes, is or was at `path`."""
    return PatchDescription(
        path=path,
        flips=len(patch),
        rows=len(patch.rows),
        groups=len(patch.groups),
        single_bits=len(patch.bits),
        bits=_known_bits(patch) if model is None else _bits_in(model, patch.flips),
        tensors=dict(sorted(Counter(flip.tensor for flip in patch.flips).items())),
        bound=patch.binding is not None,
        fingerprint=patch.binding.fingerprint.hex() if patch.binding else None,
        payload_bytes=payload_bytes(patch),
        entropy_bytes=round(entropy_bytes(patch), 3),
        file_bytes=file_bytes,
        manifest=patch.manifest,
    )


def describe_model(source: str | Path) -> ModelDescription:
    """Open a model and say what it is. Raises ModelFormatError, UnsupportedModelError."""
    from bankai.checkpoint.model_file import open_checkpoint
    from bankai.patch import fingerprint
    from bankai.patching import status

    with open_checkpoint(source) as checkpoint:
        config, tokenizer = checkpoint.config, checkpoint.tokenizer()
        shapes = {name: info.shape for name, info in checkpoint.matrices.items()}
        found = status(source)
        return ModelDescription(
            path=str(checkpoint.path),
            format=checkpoint.format,
            architecture=checkpoint.architecture,
            file_bytes=_size(checkpoint.path),
            layers=config["num_hidden_layers"],
            hidden_size=config["hidden_size"],
            intermediate_size=config["intermediate_size"],
            attention_heads=config["num_attention_heads"],
            key_value_heads=config["num_key_value_heads"],
            head_dim=config["head_dim"],
            context=config["max_position_embeddings"],
            tied_embeddings=config["tie_word_embeddings"],
            quantization=_quantization(checkpoint),
            weights=sum(out * columns for out, columns in shapes.values()),
            dense_tensors=len(checkpoint.vectors),
            fingerprint=fingerprint(checkpoint).hex(),
            vocabulary=len(tokenizer.tokens),
            pre_tokenizer=tokenizer.pre,
            chat_template=tokenizer.chat_template is not None,
            applied=[entry.name or "unnamed" for entry in found.patches],
            note=found.note,
            tensors=shapes,
        )


def base_fingerprint(base: str) -> str:
    """That of a model, or `base` itself when it is one, in hex. Raises as `describe_model`."""
    if re.fullmatch("[0-9a-fA-F]{16}", base) and not Path(base).exists():
        return base.lower()
    from bankai.jobs.checks import fingerprint_of

    return fingerprint_of(base)


def _size(path: Path) -> int:
    """Bytes of a file, or of the files of a directory."""
    files = [path] if path.is_file() else [file for file in path.iterdir() if file.is_file()]
    return sum(file.stat().st_size for file in files)


def count_bits(model: "Matrices", flips: Iterable[Flip]) -> int:
    """How many weights change sign: a group flip inside a flipped row turns its own back, a bit itself.

    Raises UnknownTensorError and RowRangeError.
    """
    from bankai.patch.places import check_places, places_by_tensor

    flips, bits = frozenset(flips), 0
    check_places(model, flips)
    for name, places in places_by_tensor(flips).items():
        info = model.matrices[name]
        bits += int(info.quantization.negated(places.masks(info)[1]).sum())
    return bits


def _quantization(checkpoint: "Checkpoint") -> str:
    """In words, with the number of matrices of each."""
    found = Counter(info.quantization.name for info in checkpoint.matrices.values())
    if set(found) == {"Q1_0"}:
        return f"1 bit, a fp16 scale per {_GROUP} weights"
    return ", ".join(f"{name} ({count})" for name, count in found.most_common())


def _bits_without_rows(flips: frozenset[Flip]) -> int:
    """The same for groups and single bits of a true 1-bit model."""
    places = {(flip.tensor, flip.row, flip.group) for flip in flips if flip.bit is None}
    bits = 0
    for flip in flips:
        size = _GROUP if flip.bit is None else 1
        bits += -size if flip.bit is not None and (flip.tensor, flip.row, flip.group) in places else size
    return bits


def _bits_in(model: str | Path, flips: Iterable[Flip]) -> int:
    from bankai.checkpoint.model_file import open_checkpoint

    with open_checkpoint(model) as checkpoint:
        return count_bits(checkpoint, flips)


def _known_bits(patch: Patch) -> int | None:
    one_bit = patch.binding is None or patch.binding.version == 1
    if one_bit and not patch.rows:
        return _bits_without_rows(patch.flips)
    bits = patch.manifest.metadata.get(BITS)
    return bits if type(bits) is int else None
