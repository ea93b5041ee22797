"""The LoRA of a patch, for servers that know nothing else: a PEFT directory, or a GGUF adapter.

A flipped row is a change of rank one, ``W' = W - 2 e_r w_r``; a row of which only groups or bits flip loses
twice the part of ``w_r`` that flips. So the rank of a tensor's change is at most the number of its changed
rows, and ``B A`` is that change exactly: every number in both is a fp16 scale, its double, or small and whole.

The two forms differ. PEFT computes in floats on the unpacked model, and gets A and B in float16. llama.cpp
computes with the packed base, whose products round the activations to 8 bits; an A in floats would be spared
that rounding and leave it standing. A is therefore packed like the base (``Q1_0``): the product with it *is*
the base's product, and what ``B`` takes away is what is there. Zero scales stand for the groups that stay.

The adapter is of the bits that the open model has: whether they are the patch's base is for the caller to check.
"""

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bankai.architectures.names import EMBEDDING, architecture
from bankai.architectures.order import Order, order_of
from bankai.checkpoint.gguf import F32, Q1_0, stream_gguf
from bankai.checkpoint.model_file import Checkpoint
from bankai.checkpoint.safetensors import write_safetensors
from bankai.errors import StoreError, UnsupportedModelError
from bankai.io import check_absent, writing_directory
from bankai.patch import Flip
from bankai.patch.binding import check_places, touched
from bankai.quantization.binary import BinaryTensor, BinaryTensors

__all__ = ["ChangedRows", "changed_rows", "write_gguf_lora", "write_peft"]

_ALPHA = 1.0  # of a GGUF adapter: llama.cpp multiplies by alpha / rank, with each tensor's own rank


@dataclass(frozen=True, slots=True, eq=False)
class ChangedRows:
    """The rows of one tensor ``name`` of ``shape`` (out, in) that flips change.

    ``rows`` are their numbers, int ``[n]``; ``before`` and ``after`` hold those rows only, ``[n, in]``.
    """

    name: str
    shape: tuple[int, int]
    rows: NDArray[np.intp]
    before: BinaryTensor
    after: BinaryTensor

    @property
    def partial(self) -> NDArray[np.bool_]:
        """The rows in which single bits of a group flip: bool ``[n]``."""
        change = self.before.signs ^ self.after.signs
        whole = (change == change[:, :, :1]) & np.isin(change, (0, 255))  # every byte of a group alike
        return ~np.asarray(whole.all(axis=(1, 2)))

    @property
    def flipped(self) -> NDArray[np.float32]:
        """The weights that change sign, as they were, and 0 for the others: float32 ``[n, in]``."""
        flips = np.unpackbits(self.before.signs ^ self.after.signs, axis=2, bitorder="little")
        return self.before.to_dense() * flips.reshape(len(self.rows), -1)


def changed_rows(model: BinaryTensors, flips: Iterable[Flip]) -> list[ChangedRows]:
    """What the flips change, by tensor in the order of the names; rows where they cancel are left out.

    Raises UnknownTensorError and RowRangeError.
    """
    flips = frozenset(flips)
    check_places(model, flips)
    found = []
    for name, places in touched(flips).items():
        tensor = model.binary(name)
        rows, masks = places.masks(tensor.groups)
        before = tensor.select(rows)
        after = BinaryTensor(name, before.signs ^ masks, before.scales)
        kept = np.flatnonzero(masks.any(axis=(1, 2)))
        if len(kept):
            before, after = (BinaryTensor(name, t.signs[kept], t.scales[kept]) for t in (before, after))
            found.append(ChangedRows(name, tensor.shape, rows[kept], before, after))
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
        if change.name == EMBEDDING:  # PEFT adds (B A)^T to the table
            layout[f"{stem}.lora_embedding_A"] = "F16", (rank, out)
            layout[f"{stem}.lora_embedding_B"] = "F16", (columns, rank)
        else:
            layout[f"{stem}.lora_A.weight"] = "F16", (rank, columns)
            layout[f"{stem}.lora_B.weight"] = "F16", (out, rank)
    with writing_directory(path) as directory:
        config = json.dumps(_peft_config(changes, base_model), indent=2) + "\n"
        (directory / "adapter_config.json").write_text(config, encoding="utf-8")
        weights = directory / "adapter_model.safetensors"
        write_safetensors(weights, layout, _peft_arrays(changes), {"format": "pt"})


def _peft_arrays(changes: list[ChangedRows]) -> Iterator[NDArray[np.float16]]:
    """A and B of each tensor. The 2 goes with the ones, for doubled weights might not be fp16 any more."""
    for change in changes:
        weights, ones = change.flipped, -2 * _one_hot(change, len(change.rows))  # [n, in], [out, n]
        a, b = (ones.T, weights.T) if change.name == EMBEDDING else (weights, ones)
        yield a.astype("<f2")
        yield b.astype("<f2")


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
    layout: dict[str, tuple[int, tuple[int, ...]]] = {}
    for change in changes:
        (out, columns), rank = change.shape, _gguf_rank(change)
        name = architecture(model.architecture).to_gguf(change.name)
        embedding = change.name == EMBEDDING  # whose rows llama.cpp looks up in A
        layout[f"{name}.lora_a"] = (F32, (out, rank)) if embedding else (Q1_0, (rank, columns))
        layout[f"{name}.lora_b"] = F32, (columns if embedding else out, rank)
    orders = [order_of(change.name, model.config) for change in changes]
    stream_gguf(path, metadata, layout, _gguf_arrays(changes, orders))


def _gguf_rank(change: ChangedRows) -> int:
    """The next power of two, so that alpha / rank is exact and B can make up for it."""
    count = len(change.rows) + (0 if change.name == EMBEDDING else int(change.partial.sum()))
    return 1 << (count - 1).bit_length()


def _gguf_arrays(
    changes: list[ChangedRows], orders: list[Order]
) -> Iterator[BinaryTensor | NDArray[np.float32]]:
    """A and B of each tensor, in the order of the base's rows and groups."""
    for change, order in zip(changes, orders, strict=True):
        rank = _gguf_rank(change)
        factor = np.float32(rank / _ALPHA)
        if change.name == EMBEDDING:
            weights = np.zeros((change.shape[1], rank), np.float32)
            weights[:, : len(change.rows)] = -2 * factor * change.flipped.T
            yield _one_hot(change, rank)
            yield weights
        else:
            a, b = _packed_pair(change, rank)
            yield BinaryTensor(a.name, order.stored_groups(a.signs), order.stored_groups(a.scales))
            yield factor * order.stored_rows(b)


def _packed_pair(change: ChangedRows, rank: int) -> tuple[BinaryTensor, NDArray[np.float32]]:
    """A packed ``[rank, in]`` and B ``[out, rank]``.

    A row's flipped groups are one row of A, taken twice. Where only bits of a group flip, the groups as they were
    and as they are to be are two rows of A, for one cannot hold zeros among its bits.
    """
    partial, before, after = change.partial, change.before, change.after
    stays = ~(before.signs != after.signs).any(axis=2)  # [n, groups]
    scales = np.where(stays, np.float16(0), before.scales)
    signs = np.zeros((rank, *before.signs.shape[1:]), np.uint8)
    padded = np.zeros((rank, before.groups), np.float16)
    used = len(change.rows) + partial.sum()
    signs[:used] = np.concatenate([before.signs, after.signs[partial]])
    padded[:used] = np.concatenate([scales, scales[partial]])
    b = np.zeros((change.shape[0], rank), np.float32)
    numbers = np.concatenate([change.rows, change.rows[partial]])
    taken = np.where(partial, np.float32(-1), np.float32(-2))
    b[numbers, np.arange(used)] = np.concatenate([taken, np.ones(partial.sum(), np.float32)])
    return BinaryTensor(change.name, signs, padded), b


def _one_hot(change: ChangedRows, rank: int) -> NDArray[np.float32]:
    """A 1 in the row of each change: float32 ``[out, rank]``."""
    ones = np.zeros((change.shape[0], rank), np.float32)
    ones[change.rows, np.arange(len(change.rows))] = 1
    return ones


def _checked(path: Path, model: Checkpoint, flips: Iterable[Flip], engine: str) -> list[ChangedRows]:
    """The changes, when an adapter for that engine can express them."""
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
