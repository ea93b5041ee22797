"""Row gains: rows times 2 besides rows times -1, to see what a step that is finer than a flip is worth.

A row is doubled by adding 1 to the exponents of its scales, which is undone by taking 1 away again. The training is
that of relaxed search, with two amounts for every row instead of one.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from math import ceil
from typing import Any

import torch
from msgspec.structs import replace
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from bankai.baselines.baseline import Baseline
from bankai.baselines.factors import Factors, multiplied
from bankai.errors import UnknownTensorError
from bankai.model.decoder import Decoder
from bankai.model.hooks import hooked
from bankai.patch import Flip, Patch
from bankai.patch.codec import encode
from bankai.search.parts import SearchProbes
from bankai.search.problem import Problem
from bankai.search.relaxation import GATE, Relaxation
from bankai.search.relaxed import LEAST, begin, move
from bankai.search.settings import SearchSettings
from bankai.search.training import DEFAULTS, TrainingFitness

__all__ = ["RowGains", "train_gains"]

GAINS = (-1.0, 2.0)
DRIFTS = tuple(((gain - 1) / 2) ** 2 for gain in GAINS)
"""Drift grows with the square of a change; that of a flip, of size 2, is what is estimated."""


@dataclass(frozen=True)
class RowGains(Baseline):
    """Rows times -1 or 2 while on."""

    factors: Factors

    @property
    def bytes(self) -> int:
        """Those of a patch of these rows, and one bit for each to say which of the two."""
        rows = [
            Flip(name, row)
            for name, factors in self.factors.items()
            for row in (factors != 1).nonzero().flatten().tolist()
        ]
        return len(encode(Patch(frozenset(rows)), manifest=False)) + ceil(len(rows) / 8)

    def on(self, model: PreTrainedModel) -> AbstractContextManager[PreTrainedModel]:
        """See :meth:`Baseline.on`. Raises UnknownTensorError."""
        known = {name for name, _ in model.named_modules()}
        for name in self.factors:
            if name not in known:
                raise UnknownTensorError(f"the model has no tensor {name!r}; use the model of the edit")
        return multiplied(model, self.factors)


def train_gains(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    probes: SearchProbes,
    *,
    steps: int = 100,
    settings: SearchSettings = DEFAULTS,
    seed: int = 0,
) -> RowGains:
    """At most `settings.flips` rows of the space of the settings, each times -1 or 2."""
    training = TrainingFitness(model, tokenizer, probes, settings=settings, seed=seed)
    settings = replace(settings, space=replace(settings.space, granularity="row"))
    decoder = Decoder(model)
    rows = Relaxation(decoder, settings.space)
    names, sizes = zip(
        *((name, len(some)) for name, some in rows.by_tensor(rows.amounts).items()), strict=True
    )
    with Problem(model, tokenizer, probes, settings) as problem:
        drift = rows.joined(problem.place_drifts())[:, None] * torch.tensor(DRIFTS)
    amounts, state = torch.zeros_like(drift), begin(drift.flatten())
    for step in range(steps):
        leaves = [some.to(decoder.device).requires_grad_() for some in amounts.split(sizes)]
        with torch.enable_grad(), _mixed(model, names, leaves):
            slopes = torch.autograd.grad(training.loss(step), leaves)
        slope = -torch.cat([one.cpu() for one in slopes])
        move(state, amounts.view(-1), slope.flatten(), settings.flips, (step + 1) / steps)
    return _rounded(training, dict(zip(names, amounts.split(sizes), strict=True)), settings.flips)


def _mixed(
    model: PreTrainedModel, names: Sequence[str], amounts: Sequence[Tensor]
) -> AbstractContextManager[None]:
    """Inside, rows are mixed of what they are and what they would be with each gain: amounts [rows, gains]."""
    hooks = {}
    for name, some in zip(names, amounts, strict=True):
        at = name.removesuffix(GATE) + "act_fn" if name.endswith(GATE) else name
        hooks[at] = partial(_mix_activated if name.endswith(GATE) else _mix, some)
    return hooked(model, hooks)


def _mix(amounts: Tensor, _: Any, inputs: tuple[Tensor, ...], y: Tensor) -> Tensor:
    return y * (1 + amounts @ amounts.new_tensor([gain - 1 for gain in GAINS])).to(y)


def _mix_activated(amounts: Tensor, activation: Any, inputs: tuple[Tensor, ...], activated: Tensor) -> Tensor:
    mixed = activated
    for gain, some in zip(GAINS, amounts.to(activated).unbind(1), strict=True):
        mixed = mixed + some * (activation.forward(gain * inputs[0]) - activated)
    return mixed


def _rounded(training: TrainingFitness, amounts: Factors, most: int) -> RowGains:
    """The best of some sets of the largest amounts, a row with the larger of its two; nothing where none helps."""
    largest = torch.cat([some.amax(1) for some in amounts.values()])
    best, kept = 0.0, RowGains({})
    for least in LEAST:
        above = largest[largest > least].sort(descending=True).values
        bound = float(above[most]) if len(above) > most else least
        gains = RowGains({name: _factors(some, bound) for name, some in amounts.items()})
        with gains.on(training.model):
            fitness = training.fitness()
        if fitness > best:
            best, kept = fitness, gains
    return kept


def _factors(amounts: Tensor, bound: float) -> Tensor:
    """Of a tensor: [rows], 1 where no amount is above the bound."""
    values, which = amounts.max(1)
    return torch.where(values > bound, torch.tensor(GAINS)[which], 1.0)
