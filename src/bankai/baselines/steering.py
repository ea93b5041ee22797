"""A steering vector: one direction added to the residual stream after one layer, at every position.

The direction is a mean difference of the stream at the last token of the prompt: between prompts that the model solves
and those that it fails, or between prompts with right examples before them and without. Contrast, layer and strength
are chosen by the fitness.
"""

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from bankai.baselines.baseline import Baseline
from bankai.baselines.few_shot import FewShot
from bankai.evaluation.scoring import score_probes
from bankai.model.hooks import hooked
from bankai.probes.encode import context_ids
from bankai.probes.probe import Probe
from bankai.search.parts import SearchProbes
from bankai.search.settings import SearchSettings
from bankai.search.training import DEFAULTS, TrainingFitness

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
        with hooked(model.model, {f"layers.{self.layer}": add}):
            yield model


def find_steering(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    probes: SearchProbes,
    *,
    layers: Sequence[int] | None = None,
    strengths: Sequence[float] = STRENGTHS,
    settings: SearchSettings = DEFAULTS,
    seed: int = 0,
) -> Steering:
    """Contrast, layer and strength with the best fitness, strength 0 among them; the vector rounded to float16."""
    training = TrainingFitness(model, tokenizer, probes, settings=settings, seed=seed)
    contrasts = steering_vectors(model, tokenizer, probes, seed=seed)
    best, found = 0.0, Steering(0, contrasts["examples"][0], 0.0)
    tried = range(len(contrasts["examples"])) if layers is None else layers
    for vectors, layer, strength in product(contrasts.values(), tried, strengths):
        candidate = Steering(layer, vectors[layer], strength)
        with candidate.on(model):
            fitness = training.fitness()
        if fitness > best:
            best, found = fitness, candidate
    return found


@torch.no_grad()
def steering_vectors(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, probes: SearchProbes, *, seed: int = 0
) -> dict[str, Tensor]:
    """Mean differences after each layer, [layers, hidden] each: "examples", and "solved" where some are and some not.

    Of some random targets; "solved" also of as many controls. No target is its own example.
    """
    rng = random.Random(seed)
    chosen = rng.sample(probes.targets, len(probes.targets))[: EXAMPLES + PROMPTS]
    cut = min(EXAMPLES, len(chosen) // 2)
    shown, asked = FewShot(tuple(chosen[:cut])), chosen[cut:]
    plain = _mean(model, tokenizer, asked)
    found = {"examples": _mean(model, tokenizer, [shown.asked(probe) for probe in asked]) - plain}
    several = [*chosen, *rng.sample(probes.controls, min(PROMPTS, len(probes.controls)))]
    scores = score_probes(model, tokenizer, several)
    solved, failing = (
        [probe for probe, score in zip(several, scores, strict=True) if score.solved is wanted]
        for wanted in (True, False)
    )
    if solved and failing:
        found["solved"] = _mean(model, tokenizer, solved) - _mean(model, tokenizer, failing)
    return {name: vectors.half().float() for name, vectors in found.items()}


def _mean(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, probes: Sequence[Probe]) -> Tensor:
    """The stream after each layer at the last token of the prompt, mean over probes: [layers, hidden]."""
    return torch.stack([_last(model, context_ids(probe, tokenizer)) for probe in probes]).mean(0)


def _last(model: PreTrainedModel, ids: Sequence[int]) -> Tensor:
    """The stream after each layer at the last token: [layers, hidden]."""
    found: list[Tensor] = []

    def keep(_: Any, inputs: Any, hidden: Tensor) -> None:
        found.append(hidden[0, -1].float())

    with hooked(model.model.layers, {str(index): keep for index in range(len(model.model.layers))}):
        model.model(input_ids=torch.tensor([ids], device=model.device), use_cache=False)
    return torch.stack(found)
