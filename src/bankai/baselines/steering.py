"""A steering vector: one direction added to the residual stream after one layer, at every position.

The direction is what examples in the prompt do to the stream: its mean difference at the last token of the prompt, with
right examples before it and without. Layer and strength are chosen by the fitness. Does not know: weights.
"""

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from bankai.baselines.baseline import Baseline
from bankai.baselines.few_shot import FewShot
from bankai.baselines.lesson import Lesson
from bankai.probes.encode import context_ids
from bankai.search.parts import SearchProbes

__all__ = ["Steering", "find_steering", "steering_vectors"]

ITEM_BYTES = 2
STRENGTHS = (0.25, 0.5, 1.0, 2.0)
EXAMPLES = 4
PROMPTS = 64


@dataclass(frozen=True)
class Steering(Baseline):
    """`strength` times `vector` [hidden], added after `layer`."""

    layer: int
    vector: Tensor
    strength: float

    @property
    def bytes(self) -> int:
        return ITEM_BYTES * self.vector.numel()

    @contextmanager
    def on(self, model: PreTrainedModel) -> Iterator[PreTrainedModel]:
        """See :meth:`Baseline.on`; a strength of 0 changes no bit of any output."""
        added = self.strength * self.vector

        def add(_: Any, inputs: Any, hidden: Tensor) -> Tensor:
            return hidden + added.to(hidden)

        if self.strength == 0:  # a sum would turn -0 into 0
            yield model
            return
        handle = model.model.layers[self.layer].register_forward_hook(add)
        try:
            yield model
        finally:
            handle.remove()


def find_steering(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    probes: SearchProbes,
    *,
    layers: Sequence[int] | None = None,
    strengths: Sequence[float] = STRENGTHS,
    seed: int = 0,
) -> Steering:
    """The layer and strength with the best fitness, of these and of strength 0; the vector rounded to float16."""
    lesson = Lesson(model, tokenizer, probes, seed=seed)
    vectors = steering_vectors(model, tokenizer, probes, seed=seed)  # [layers, hidden]
    best, found = 0.0, Steering(0, vectors[0], 0.0)
    for layer in range(len(vectors)) if layers is None else layers:
        for strength in strengths:
            candidate = Steering(layer, vectors[layer], strength)
            with candidate.on(model):
                fitness = lesson.fitness()
            if fitness > best:
                best, found = fitness, candidate
    return found


@torch.no_grad()
def steering_vectors(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, probes: SearchProbes, *, seed: int = 0
) -> Tensor:
    """Mean difference after each layer over some targets: [layers, hidden]. No target is its own example."""
    chosen = random.Random(seed).sample(probes.targets, len(probes.targets))[: EXAMPLES + PROMPTS]
    cut = min(EXAMPLES, len(chosen) // 2)
    examples, asked = FewShot(tuple(chosen[:cut])), chosen[cut:]
    total = torch.zeros(len(model.model.layers), model.config.hidden_size, device=model.device)
    for probe in asked:
        total += _last(model, context_ids(examples.asked(probe), tokenizer))
        total -= _last(model, context_ids(probe, tokenizer))
    return (total / len(asked)).half().float()


def _last(model: PreTrainedModel, ids: Sequence[int]) -> Tensor:
    """The stream after each layer at the last token: [layers, hidden]."""
    found: list[Tensor] = []
    handles = [
        layer.register_forward_hook(lambda _, inputs, hidden: found.append(hidden[0, -1].float()))
        for layer in model.model.layers
    ]
    try:
        model.model(input_ids=torch.tensor([ids], device=model.device), use_cache=False)
    finally:
        for handle in handles:
            handle.remove()
    return torch.stack(found)
