"""Packed weights expanded by torch.compile beside the table of bytes that the package uses: time, and the same bits.

On CPUs the compiled kernel takes about thirty times as long, so the package has no use for it there; `docs/log.md` has
the figures.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bankai.checkpoint.model_file import open_checkpoint
from bankai.model.matrices import PackedMatrix
from benchmarks.measure import seconds, summary

__all__ = ["expansion", "shifted"]

NAME = "model.layers.0.mlp.gate_proj"


def shifted(signs: Tensor, scales: Tensor, dtype: torch.dtype) -> Tensor:
    """Weights of packed rows, [rows, groups, 16] and [rows, groups] to [rows, groups * 128], by shifts that fuse."""
    bits = signs[..., None] >> torch.arange(8, device=signs.device, dtype=torch.uint8) & 1
    wide = scales.to(dtype)[..., None, None]
    return torch.where(bits.bool(), wide, -wide).flatten(-3)


def expansion(path: Path, device: str, dtype: str, repeats: int) -> dict[str, Any]:
    """Milliseconds of both ways on one matrix of a model, in turn."""
    with open_checkpoint(path) as checkpoint:
        packed = PackedMatrix(checkpoint.packed(NAME), getattr(torch, dtype)).to(device)
    compiled = torch.compile(shifted)

    def anew() -> Tensor:
        return compiled(packed.signs, packed.scales, packed.dtype)

    fused, made = seconds(anew)
    same = torch.equal(fused, packed.expand())
    ways: dict[str, Callable[[], Tensor]] = {"table": packed.expand, "compiled": anew}
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(10 * repeats):
        for name, way in ways.items():
            times[name].append(seconds(way)[1] * 1000)
    rows, columns = packed.shape
    return {
        "rows": rows,
        "columns": columns,
        "same": same,
        "made": made,
        **{name: summary(values) for name, values in times.items()},
    }
