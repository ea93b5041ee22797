"""The LoRA of a patch, for servers that know nothing else: a PEFT directory, or a GGUF adapter.

A flipped row is a change of rank one, ``W' = W - 2 e_r w_r``; a row of which only groups or single weights flip loses
twice the part of ``w_r`` that flips. So the rank of a tensor's change is at most the number of its changed rows, and
``B A`` is that change exactly.

The two forms differ. PEFT computes in floats on the unpacked model, and gets A and B in float16 where that holds
every weight, else in float32. llama.cpp computes with the packed base, whose products round the activations to 8
bits. A product with an A in floats would not be rounded so, and the base's rounding error would remain. A is therefore
packed like the base: the product with it *is* the base's product, and ``B`` takes away just that. Blocks of zeros stand
for the groups that stay.

The adapter is made for the weights that the open model has. That they are the patch's base is for the caller to check.
"""

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bankai.architectures import architecture
from bankai.checkpoint.gguf import Layout, Tensor, stream_gguf
from bankai.checkpoint.model_file import Checkpoint
from bankai.checkpoint.safetensors import write_safetensors
from bankai.errors import StoreError, UnsupportedModelError
from bankai.io import check_absent, writing_directory
from bankai.patch import Flip
from bankai.patch.places import check_places, places_by_tensor
from bankai.quantization import Matrices, PackedTensor, Quantization
from bankai.quantization.floats import F32
from bankai.tensor_names import EMBEDDING

__all__ = ["ChangedRows", "changed_rows", "write_gguf_lora", "write_peft"]

_ALPHA = 1.0  # of a GGUF adapter: llama.cpp multiplies by alpha / rank, with each tensor's own rank


@dataclass(frozen=True, slots=True, eq=False)
class ChangedRows:
    """The rows of a tensor of ``shape`` (out, in) that flips change.

    ``rows`` are their numbers, int ``[n]``; ``before`` holds those rows only, ``after`` with the flips on; ``negated``
    tells which of their weights change sign, bool ``[n, in]``.
    """

    shape: tuple[int, int]
    rows: NDArray[np.intp]
    before: PackedTensor
    after: PackedTensor
    negated: NDArray[np.bool_]

    @property
    def name(self) -> str:
        """The tensor's name."""
        return self.before.name

    @property
    def groups(self) -> NDArray[np.bool_]:
        """Which weights change sign, by group: ``[n, groups, weights]``."""
        return self.negated.reshape(*self.before.blocks.shape[:2], -1)

    @property
    def partial(self) -> NDArray[np.bool_]:
        """The rows in which a part of a group changes sign: bool ``[n]``."""
        some, every = np.asarray(self.groups.any(2)), np.asarray(self.groups.all(2))
        return np.asarray((some & ~every).any(1))

    @property
    def flipped(self) -> NDArray[np.float32]:
        """The weights that change sign, as they were, and 0 for the others: float32 ``[n, in]``."""
        return self.before.to_dense() * self.negated


def changed_rows(model: Matrices, flips: Iterable[Flip]) -> list[ChangedRows]:
    """What the flips change, by tensor in the order of the names; rows where they cancel are left out.

    Raises UnknownTensorError and RowRangeError.
    """
    flips = frozenset(flips)
    check_places(model, flips)
    found = []
    for name, places in places_by_tensor(flips).items():
        matrix = model.matrices[name]
        rows, masks = places.masks(matrix)
        kept = np.flatnonzero(masks.any(axis=(1, 2)))
        if len(kept):
            before, masks = model.packed(name, rows[kept]), masks[kept]
            after = replace(before, blocks=before.blocks ^ masks)
            found.append(
                ChangedRows(matrix.shape, rows[kept], before, after, matrix.quantization.negated(masks))
            )
    return found


def write_peft(path: str | Path, model: Checkpoint, flips: Iterable[Flip], base_model: str = "") -> None:
    """Write a PEFT directory for the unpacked model. It appears whole or not at all; ``path`` must not exist.

    ``base_model`` is the name that the directory gives for its base. Alpha is the rank throughout, so the scale
    is 1. Raises UnknownTensorError, RowRangeError, StoreError for flips that change nothing or a path that cannot
    be written, and UnsupportedModelError for flips in an embedding that is also the head, which PEFT merges wrongly.
    """
    path = Path(path)
    changes = _checked(path, model, flips, "PEFT")
    layout: dict[str, tuple[str, tuple[int, ...]]] = {}
    for change in changes:
        (out, columns), rank, stem = change.shape, len(change.rows), f"base_model.model.{change.name}"
        kind = f"F{8 * _peft_type(change).itemsize}"
        if change.name == EMBEDDING:  # PEFT adds (B A)^T to the table
            layout[f"{stem}.lora_embedding_A"] = kind, (rank, out)
            layout[f"{stem}.lora_embedding_B"] = kind, (columns, rank)
        else:
            layout[f"{stem}.lora_A.weight"] = kind, (rank, columns)
            layout[f"{stem}.lora_B.weight"] = kind, (out, rank)
    with writing_directory(path) as directory:
        config = json.dumps(_peft_config(changes, base_model), indent=2) + "\n"
        (directory / "adapter_config.json").write_text(config, encoding="utf-8")
        weights = directory / "adapter_model.safetensors"
        write_safetensors(weights, layout, _peft_arrays(changes), {"format": "pt"})


def _peft_type(change: ChangedRows) -> np.dtype[Any]:
    """float16 where it holds every weight of the change exactly, else float32."""
    weights = change.flipped
    with np.errstate(over="ignore"):
        exact = np.array_equal(weights.astype(np.float16).astype(np.float32), weights)
    return np.dtype("<f2" if exact else "<f4")


def _peft_arrays(changes: list[ChangedRows]) -> Iterator[NDArray[np.floating[Any]]]:
    """A and B of each tensor. The 2 goes with the ones, for doubled weights might not be fp16 any more."""
    for change in changes:
        kind = _peft_type(change)
        weights, ones = change.flipped, -2 * _one_hot(change, len(change.rows))  # [n, in], [out, n]
        a, b = (ones.T, weights.T) if change.name == EMBEDDING else (weights, ones)
        yield a.astype(kind)
        yield b.astype(kind)


def _peft_config(changes: list[ChangedRows], base_model: str) -> dict[str, Any]:
    """The content of adapter_config.json. A server that ignores the patterns scales by alpha / r = 1 as well."""
    ranks = {change.name: len(change.rows) for change in changes}
    largest = max(ranks.values())
    patterns = {re.escape(name): rank for name, rank in ranks.items() if rank != largest}
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base_model or None,
        "inference_mode": True,
        "r": largest,
        "lora_alpha": largest,
        "rank_pattern": patterns,
        "alpha_pattern": patterns,
        "target_modules": list(ranks),
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": False,
    }


def write_gguf_lora(path: str | Path, model: Checkpoint, flips: Iterable[Flip]) -> None:
    """Write a GGUF adapter for llama.cpp with the packed base; ``path`` must not exist.

    Raises UnknownTensorError, RowRangeError, StoreError for flips that change nothing or a path that cannot be
    written, and UnsupportedModelError for flips in an embedding that is also the head: llama.cpp reads the adapter of
    the one use as that of the other.
    """
    path = Path(path)
    changes = _checked(path, model, flips, "llama.cpp")
    metadata = {
        "general.architecture": model.architecture,
        "general.type": "adapter",
        "adapter.type": "lora",
        "adapter.lora.alpha": _ALPHA,
    }
    layout: Layout = dict(_gguf_layout(model, changes))
    stream_gguf(path, metadata, layout, _gguf_arrays(model, changes))


def _gguf_layout(
    model: Checkpoint, changes: list[ChangedRows]
) -> Iterator[tuple[str, tuple[Quantization, tuple[int, int]]]]:
    arch = architecture(model.architecture)
    for change in changes:
        (out, columns), rank, name = change.shape, _gguf_rank(change), arch.gguf_name(change.name)
        if change.name == EMBEDDING:  # llama.cpp looks its rows up in A
            yield f"{name}.lora_a", (F32, (out, rank))
            yield f"{name}.lora_b", (F32, (columns, rank))
        else:
            yield f"{name}.lora_a", (change.before.quantization, (rank, columns))
            yield f"{name}.lora_b", (F32, (out, rank))


def _gguf_rank(change: ChangedRows) -> int:
    """The rank of the adapter: the next power of two, so that alpha / rank is exact and B can make up for it."""
    count = len(change.rows) + (0 if change.name == EMBEDDING else int(change.partial.sum()))
    return 1 << (count - 1).bit_length()


def _gguf_arrays(model: Checkpoint, changes: list[ChangedRows]) -> Iterator[Tensor]:
    """A and B of each tensor, in the order of the base's rows and groups."""
    for change in changes:
        rank, order = _gguf_rank(change), model.location(change.name).order
        factor = np.float32(rank / _ALPHA)
        if change.name == EMBEDDING:
            weights = np.zeros((change.shape[1], rank), np.float32)
            weights[:, : len(change.rows)] = -2 * factor * change.flipped.T
            yield _one_hot(change, rank)
            yield weights
        else:
            a, b = _packed_pair(change, rank)
            yield replace(a, blocks=order.stored_groups(a.blocks))
            yield factor * order.stored_rows(b)


def _packed_pair(change: ChangedRows, rank: int) -> tuple[PackedTensor, NDArray[np.float32]]:
    """A packed ``[rank, in]`` and B ``[out, rank]``.

    A row's flipped groups are one row of A, taken twice. Where only a part of a group flips, the groups as they were
    and as they are to be are two rows of A, for one cannot hold zeros among its weights.
    """
    partial, before, after = change.partial, change.before.blocks, change.after.blocks
    changes = np.asarray(change.groups.any(2))[..., None]  # [n, groups, 1]
    used = len(change.rows) + partial.sum()
    blocks = np.zeros((rank, *before.shape[1:]), np.uint8)  # zero bytes are zero weights
    blocks[:used] = np.concatenate([before * changes, (after * changes)[partial]])
    b = np.zeros((change.shape[0], rank), np.float32)
    numbers = np.concatenate([change.rows, change.rows[partial]])
    taken = np.where(partial, np.float32(-1), np.float32(-2))
    b[numbers, np.arange(used)] = np.concatenate([taken, np.ones(partial.sum(), np.float32)])
    return replace(change.before, blocks=blocks), b


def _one_hot(change: ChangedRows, rank: int) -> NDArray[np.float32]:
    """A 1 in the row of each change: float32 ``[out, rank]``."""
    ones = np.zeros((change.shape[0], rank), np.float32)
    ones[change.rows, np.arange(len(change.rows))] = 1
    return ones


def _checked(path: Path, model: Checkpoint, flips: Iterable[Flip], engine: str) -> list[ChangedRows]:
    """The changed rows. Raises StoreError or UnsupportedModelError where no adapter for `engine` expresses them."""
    check_absent(path)
    changes = changed_rows(model, flips)
    if not changes:
        raise StoreError("the patch changes nothing, and an adapter must change something; use the base")
    if model.config["tie_word_embeddings"] and any(change.name == EMBEDDING for change in changes):
        raise UnsupportedModelError(
            f"the patch changes the embedding, which is this model's head too; {engine} has no sound LoRA for "
            "both: export a patched model (--to gguf or mlx)"
        )
    return changes
