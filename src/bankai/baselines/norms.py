"""Norm edits: the same bits with other weights of the RMS norms, which any engine reads as they are.

Of every norm of a model: before the mixer and the MLP of each layer, of queries and keys, inside linear attention and
before the head.
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from math import ceil
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from bankai.baselines.baseline import Baseline
from bankai.baselines.factors import Factors, multiplied
from bankai.baselines.training import train
from bankai.errors import UnknownTensorError
from bankai.model.decoder import Decoder
from bankai.model.hooks import hooked
from bankai.search.parts import SearchProbes
from bankai.search.settings import SearchSettings
from bankai.search.training import DEFAULTS, TrainingFitness
from bankai.tensor_names import NORM

__all__ = ["NormEdit", "train_norms"]

ITEM_BYTES = 2  # float16, in which factors are kept
RATE = 1e-2


@dataclass(frozen=True)
class NormEdit(Baseline):
    """What norms give times factors while on, as if their weights were multiplied; those of all norms of a model."""

    factors: Factors

    @property
    def changed(self) -> int:
        """How many weights differ."""
        return sum(int((factor != 1).sum()) for factor in self.factors.values())

    @property
    def bytes(self) -> int:
        """Those of all weights, or of the changed ones and a bitmap or indices to say which: whatever is least."""
        weights = sum(factor.numel() for factor in self.factors.values())
        index = max(weights - 1, 0).bit_length()  # bits
        places = ceil(min(weights, index * self.changed) / 8)
        return min(ITEM_BYTES * weights, ITEM_BYTES * self.changed + places)

    def on(self, model: PreTrainedModel) -> AbstractContextManager[PreTrainedModel]:
        """See :meth:`Baseline.on`. Raises UnknownTensorError."""
        known = _norms(model)
        for name in self.factors:
            if name not in known:
                raise UnknownTensorError(f"the model has no norm {name!r}; use the model of the edit")
        return multiplied(
            model, {name: factor for name, factor in self.factors.items() if (factor != 1).any()}
        )


def train_norms(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    probes: SearchProbes,
    *,
    count: int | None = None,
    steps: int = 200,
    rate: float = RATE,
    settings: SearchSettings = DEFAULTS,
    seed: int = 0,
) -> NormEdit:
    """Norm weights, each times a factor fitted to the targets of a search and its controls; rounded to float16.

    With a `count`, at most so many change: after training all, the ones that change most what the norms of the base
    give are trained again, with as many steps, and the others are what they were.
    """
    training = TrainingFitness(model, tokenizer, probes, settings=settings, seed=seed)
    ones = {name: torch.ones(width, device=model.device) for name, width in _norms(model).items()}
    found = _fit(training, ones, {name: one.bool() for name, one in ones.items()}, steps, rate)
    if count is not None:
        free = _most_changed(found, _output_sizes(training), count)
        start = {name: torch.where(free[name], factor, 1.0) for name, factor in found.items()}
        found = _fit(training, start, free, steps, rate)
    return NormEdit({name: factor.half().float() for name, factor in found.items()})


def _norms(model: PreTrainedModel) -> dict[str, int]:
    """Widths by canonical name, in the order of the layers."""
    decoder = Decoder(model)
    names = [
        decoder.name(index, path)
        for index, layer in enumerate(model.model.layers)
        for path in decoder.architecture.kind_of(layer).vectors
        if path.endswith("norm")
    ]
    return {name: len(model.get_submodule(name).weight) for name in (*names, NORM)}


def _fit(
    training: TrainingFitness, start: Factors, free: Mapping[str, Tensor], steps: int, rate: float
) -> Factors:
    """Factors from `start` on; those that are not `free`, bool [width] by name, stay as they are."""
    factors = {name: factor.clone().requires_grad_() for name, factor in start.items()}
    for name, factor in factors.items():
        factor.register_hook(free[name].mul)  # Adam leaves alone what never had a gradient
    with multiplied(training.model, factors):
        found = train(training, list(factors.values()), steps=steps, rate=rate)
    return dict(zip(factors, found, strict=True))


def _most_changed(factors: Factors, sizes: Factors, count: int) -> dict[str, Tensor]:
    """Whether a factor is among the `count` that change most: bool [width] by name; all where there are fewer."""
    changes = torch.cat([(factor - 1).abs() * sizes[name] for name, factor in factors.items()])
    most = torch.zeros_like(changes, dtype=torch.bool)
    most[changes.topk(min(count, len(changes))).indices] = True
    widths = [len(factor) for factor in factors.values()]
    return dict(zip(factors, most.split(widths), strict=True))


def _output_sizes(training: TrainingFitness) -> dict[str, Tensor]:
    """Root mean squares of what each norm gives where the fitness reads the model as it is: [width] by name."""
    squares: dict[str, list[Tensor]] = {name: [] for name in _norms(training.model)}
    counts = dict.fromkeys(squares, 0)

    def note(name: str, _: Any, inputs: Any, y: Tensor) -> None:
        vectors = y.float().flatten(0, -2)
        squares[name].append(vectors.square().sum(0))
        counts[name] += len(vectors)

    with hooked(training.model, {name: partial(note, name) for name in squares}):
        training.fitness()
    return {name: (torch.stack(sums).sum(0) / counts[name]).sqrt() for name, sums in squares.items()}
