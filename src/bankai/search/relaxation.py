"""Flips relaxed to numbers: every row has an amount between 0, as it is, and 1, flipped.

A row with amount a gives (1 - 2a) times its output. Of a gate the activation is what is mixed, silu(g) - a g, which is
exact at both ends (silu(-g) = silu(g) - g) and linear between them. So one backward tells for all rows at once what a
little more of each would do to a loss, at amounts where many rows act together.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

import torch
from torch import Tensor

from bankai.model.decoder import Decoder
from bankai.model.hooks import hooked
from bankai.patch import Flip
from bankai.search.space import Space

__all__ = ["Relaxation", "flipped_by"]

GATE = "gate_proj"


class Relaxation:
    """The rows of a space, numbered tensor by tensor, and their amounts: float32 [rows]."""

    def __init__(self, decoder: Decoder, space: Space) -> None:
        self._decoder = decoder
        self._tensors = list(space.tensors(decoder))
        self._sizes = [decoder.matrix(name).info.rows for name in self._tensors]
        self.amounts = torch.zeros(sum(self._sizes))

    def by_tensor(self, values: Tensor) -> dict[str, Tensor]:
        """Values [rows] as those of each tensor."""
        return dict(zip(self._tensors, values.split(self._sizes), strict=True))

    def joined(self, values: Mapping[str, Tensor]) -> Tensor:
        """The inverse: values of each tensor, zeros for one that has none, as float32 [rows]."""
        return torch.cat(
            [
                values.get(name, torch.zeros(size))
                for name, size in zip(self._tensors, self._sizes, strict=True)
            ]
        )

    def slope(self, loss: Callable[[], Tensor]) -> tuple[float, Tensor]:
        """The loss at these amounts and its slope in each: float32 [rows] on the CPU."""
        device = self._decoder.device
        leaves = {
            name: some.to(device).requires_grad_() for name, some in self.by_tensor(self.amounts).items()
        }
        with torch.enable_grad(), flipped_by(self._decoder, leaves):
            value = loss()
            slopes = torch.autograd.grad(value, list(leaves.values()))
        return float(value.detach()), torch.cat([slope.cpu() for slope in slopes])

    def largest(self, count: int) -> list[Flip]:
        """The rows with the largest amounts, the largest first; none with an amount of 0."""
        values, rows = self.amounts.topk(min(count, len(self.amounts)))
        starts = torch.tensor([0, *self._sizes]).cumsum(0)
        tensors = torch.searchsorted(starts, rows, right=True) - 1
        return [
            Flip(self._tensors[tensor], row)
            for tensor, row, value in zip(
                tensors.tolist(), (rows - starts[tensors]).tolist(), values.tolist(), strict=True
            )
            if value > 0
        ]


def flipped_by(decoder: Decoder, amounts: Mapping[str, Tensor]) -> AbstractContextManager[None]:
    """Inside, rows of these tensors are flipped by their amounts: [rows] each, on the device of the model."""
    hooks = {}
    for name, some in amounts.items():
        if name.endswith(GATE):
            hooks[name.removesuffix(GATE) + "act_fn"] = partial(_mixed, some)
        else:
            hooks[name] = partial(_scaled, some)
    return hooked(decoder.model, hooks)


def _scaled(amounts: Tensor, _: Any, inputs: tuple[Tensor, ...], y: Tensor) -> Tensor:
    return y * (1 - 2 * amounts).to(y)


def _mixed(amounts: Tensor, _: Any, inputs: tuple[Tensor, ...], activated: Tensor) -> Tensor:
    return activated - amounts.to(activated) * inputs[0]
