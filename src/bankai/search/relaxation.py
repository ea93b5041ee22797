"""Flips relaxed to numbers: every row or group has an amount between 0, as it is, and 1, flipped.

A row with amount a gives (1 - 2a) times its output. Of a gate the activation is what is mixed, silu(g) - a g, which is
exact at both ends (silu(-g) = silu(g) - g) and linear between them. A group with amount a has weights times (1 - 2a).
So one backward tells for all places at once what a little more of each would do to a loss, at amounts where many act
together.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from bankai.model.decoder import Decoder
from bankai.model.hooks import hooked
from bankai.model.matrices import WeightMatrix
from bankai.patch import Flip
from bankai.patch.places import flip_of, places_in_row
from bankai.search.space import Space

__all__ = ["GATE", "Relaxation", "flipped_by"]

GATE = "gate_proj"


class Relaxation:
    """The rows or groups of a space, numbered tensor by tensor and row by row, and their amounts: float32 [places]."""

    def __init__(self, decoder: Decoder, space: Space) -> None:
        self._decoder, self._kind = decoder, space.granularity
        infos = {name: decoder.matrix(name).info for name in space.tensors(decoder)}
        self._shapes = {
            name: (info.rows, places_in_row(info, space.granularity)) for name, info in infos.items()
        }
        self._sizes = [rows * places for rows, places in self._shapes.values()]
        self.amounts = torch.zeros(sum(self._sizes))

    def by_tensor(self, values: Tensor) -> dict[str, Tensor]:
        """Values [places] as those of each tensor: [rows, places of a row]."""
        parts = zip(self._shapes.items(), values.split(self._sizes), strict=True)
        return {name: some.view(shape) for (name, shape), some in parts}

    def joined(self, values: Mapping[str, Tensor]) -> Tensor:
        """The inverse: values of each tensor, zeros for one that has none, as float32 [places]."""
        return torch.cat(
            [values.get(name, torch.zeros(shape)).flatten() for name, shape in self._shapes.items()]
        )

    def slope(self, loss: Callable[[], Tensor]) -> tuple[float, Tensor]:
        """The loss at these amounts and its slope in each: float32 [places] on the CPU."""
        device = self._decoder.device
        leaves = {
            name: some.to(device).requires_grad_() for name, some in self.by_tensor(self.amounts).items()
        }
        with torch.enable_grad(), flipped_by(self._decoder, leaves):
            value = loss()
            slopes = torch.autograd.grad(value, list(leaves.values()))
        return float(value.detach()), torch.cat([slope.flatten().cpu() for slope in slopes])

    def largest(self, count: int) -> list[Flip]:
        """Flips of the largest amounts, the largest first; none with an amount of 0."""
        values, chosen = self.amounts.topk(min(count, len(self.amounts)))
        starts = torch.tensor([0, *self._sizes]).cumsum(0)
        tensors = torch.searchsorted(starts, chosen, right=True) - 1
        numbers = (chosen - starts[tensors]).tolist()
        return [
            self._flip(tensor, number)
            for tensor, number, value in zip(tensors.tolist(), numbers, values.tolist(), strict=True)
            if value > 0
        ]

    def _flip(self, tensor: int, number: int) -> Flip:
        name, (_, places) = list(self._shapes.items())[tensor]
        row, place = divmod(number, places)
        return flip_of(name, row, self._kind, place, self._decoder.matrix(name).info)


def flipped_by(decoder: Decoder, amounts: Mapping[str, Tensor]) -> AbstractContextManager[None]:
    """Inside, these tensors are flipped by amounts, on the device of the model: [rows, 1], or [rows, groups]."""
    hooks = {}
    for name, some in amounts.items():
        if some.shape[1] > 1:
            hooks[name] = partial(_scaled_groups, decoder.matrix(name), some)
        elif name.endswith(GATE):
            hooks[name.removesuffix(GATE) + "act_fn"] = partial(_mixed, some[:, 0])
        else:
            hooks[name] = partial(_scaled, some[:, 0])
    return hooked(decoder.model, hooks)


def _scaled(amounts: Tensor, _: Any, inputs: tuple[Tensor, ...], y: Tensor) -> Tensor:
    return y * (1 - 2 * amounts).to(y)


def _mixed(amounts: Tensor, _: Any, inputs: tuple[Tensor, ...], activated: Tensor) -> Tensor:
    return activated - amounts.to(activated) * inputs[0]


def _scaled_groups(
    matrix: WeightMatrix, amounts: Tensor, _: Any, inputs: tuple[Tensor, ...], y: Tensor
) -> Tensor:
    flipped = matrix.expand(y.dtype).unflatten(1, (amounts.shape[1], -1)) * amounts.to(y)[:, :, None]
    return y - 2 * functional.linear(inputs[0], flipped.flatten(1))
