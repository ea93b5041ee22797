"""LoRA: low-rank changes of weights, ``W + B A``, computed beside the packed bits. Trained in plain torch.

Files of adapters are in `bankai.checkpoint.lora`.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from bankai.baselines.baseline import Baseline
from bankai.baselines.training import train
from bankai.model.decoder import Decoder
from bankai.model.hooks import hooked
from bankai.model.patching import ModelMatrices
from bankai.search.parts import SearchProbes
from bankai.search.settings import SearchSettings
from bankai.search.training import DEFAULTS, TrainingFitness

__all__ = ["Lora", "train_lora"]

ITEM_BYTES = 2  # float16, in which factors are kept
RATE = 1e-3
Factors = Mapping[str, tuple[Tensor, Tensor]]
"""By canonical tensor name: A [rank, in] and B [out, rank]."""


@dataclass(frozen=True)
class Lora(Baseline):
    """Added to the outputs of projections while on: ``y + B (A x)``."""

    factors: Factors

    @property
    def bytes(self) -> int:
        return sum(ITEM_BYTES * factor.numel() for pair in self.factors.values() for factor in pair)

    @contextmanager
    def on(self, model: PreTrainedModel) -> Iterator[PreTrainedModel]:
        """See :meth:`Baseline.on`. Raises UnknownTensorError."""
        tensors = ModelMatrices(model)
        for name in self.factors:
            tensors.matrix(name)
        with hooked(model, {name: partial(_add, *pair) for name, pair in self.factors.items()}):
            yield model


def _add(a: Tensor, b: Tensor, _: Any, inputs: tuple[Tensor, ...], y: Tensor) -> Tensor:
    return y + functional.linear(functional.linear(inputs[0], a.to(y)), b.to(y))


def train_lora(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    probes: SearchProbes,
    *,
    rank: int = 4,
    steps: int = 200,
    rate: float = RATE,
    settings: SearchSettings = DEFAULTS,
    seed: int = 0,
    projections: Sequence[str] = (),
) -> Lora:
    """A LoRA on these projections of every layer, by default all, fitted to the targets of a search and its controls;
    factors rounded to float16.
    """
    decoder, generator = Decoder(model), torch.Generator().manual_seed(seed)
    factors = {}
    for layer in range(decoder.layers):
        for projection in projections or decoder.projections(layer):
            name = decoder.name(layer, projection)
            rows, columns = ModelMatrices(model).matrix(name).shape
            a = torch.randn(rank, columns, generator=generator) / columns**0.5
            factors[name] = (
                a.to(decoder.device).requires_grad_(),
                torch.zeros(rows, rank, device=decoder.device, requires_grad=True),
            )
    training = TrainingFitness(model, tokenizer, probes, settings=settings, seed=seed)
    with Lora(factors).on(model):
        flat = train(
            training, [factor for pair in factors.values() for factor in pair], steps=steps, rate=rate
        )
    rounded = [factor.half().float() for factor in flat]
    return Lora(dict(zip(factors, zip(rounded[::2], rounded[1::2], strict=True), strict=True)))
