"""The fitness of a search on some probes and texts at a time, with a gradient: what multipliers and baselines learn by.

Training reads some targets, controls and texts at a time. Choosing reads all controls, and validation probes in the
place of targets where there are some.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import accumulate

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from bankai.evaluation.batches import Prepared, prepare, prepare_encoded
from bankai.evaluation.drift_meter import DriftMeter
from bankai.evaluation.scoring import score_tensors
from bankai.probes.encode import encode
from bankai.probes.probe import Probe
from bankai.search.objective import Objective, Readings
from bankai.search.parts import SearchProbes, windows
from bankai.search.settings import SearchSettings

__all__ = ["BATCH", "DEFAULTS", "TrainingFitness"]

DEFAULTS = SearchSettings()
BATCH = 24, 16, 8  # targets, controls and pieces of text that a step reads


class TrainingFitness:
    """Probes encoded once, and what the base says to them. The base must be on when this is made.

    `settings` make the fitness, as those of a search do. `judges`: the probes whose gain chooses.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        probes: SearchProbes,
        *,
        settings: SearchSettings = DEFAULTS,
        seed: int = 0,
    ) -> None:
        self.model, self.tokenizer, self.probes = model, tokenizer, probes
        self.judges = probes.validation or probes.targets
        self._seed = seed
        self._targets = [encode(probe, tokenizer) for probe in probes.targets]
        self._controls = [encode(probe, tokenizer) for probe in probes.controls]
        self._neutral = DriftMeter(model, windows(probes.texts, tokenizer))
        self._judged = prepare(tokenizer, [*self.judges, *probes.controls])
        domains = probes.domains or (0,) * len(self._targets)
        self._trained = self._objective(settings, prepare_encoded([*self._targets, *self._controls]), domains)
        self._chosen = self._trained
        if probes.validation:
            self._chosen = self._objective(settings, self._judged, (0,) * len(probes.validation))
        self._read_to_choose = self._some_texts(settings.neutral)

    @property
    def step_reads(self) -> int:
        """Targets, controls and pieces of text that one step reads."""
        return sum(map(min, BATCH, self._trained.base.counts))

    def loss(self, step: int) -> Tensor:
        """Of some targets, controls and texts, to be made small; which ones follows from the seed and the step."""
        rng = random.Random(f"{self._seed}/{step}")
        targets, controls, texts = (
            rng.sample(range(count), min(most, count))
            for most, count in zip(BATCH, self._trained.base.counts, strict=True)
        )
        encoded = [self._targets[index] for index in targets] + [self._controls[index] for index in controls]
        now = self._read(prepare_encoded(encoded), len(targets), texts)
        return -self._trained.some(targets, controls, texts)(now)

    @torch.no_grad()
    def fitness(self, ask: Callable[[Probe], Probe] | None = None) -> float:
        """Of the judges, all controls and texts; 0 for the base. `ask` changes what is asked.

        Of the texts as many tokens as the settings let a round read.
        """
        answers = self._judged
        if ask is not None:
            answers = prepare(self.tokenizer, map(ask, (*self.judges, *self.probes.controls)))
        return float(self._chosen(self._read(answers, len(self.judges), self._read_to_choose)))

    @torch.no_grad()
    def _objective(self, settings: SearchSettings, answers: Prepared, domains: Sequence[int]) -> Objective:
        """Against the base; the first answers are those of targets, one for each domain."""
        base = self._read(answers, len(domains), ())
        return Objective.of(
            settings, replace(base, drift=base.targets.new_zeros(len(self._neutral.lengths))), domains
        )

    def _some_texts(self, tokens: int | None) -> list[int]:
        """The first texts of a random order that have so many tokens together; None for all."""
        order = list(range(len(self._neutral.lengths)))
        if tokens is None:
            return order
        random.Random(self._seed).shuffle(order)
        read = [0, *accumulate(self._neutral.lengths[index] for index in order)]
        return [index for index, before in zip(order, read, strict=False) if before < tokens]

    def _read(self, answers: Prepared, targets: int, texts: Sequence[int]) -> Readings:
        """Readings of the model as it is: of answers, the first so many those of targets, and of some texts."""
        scores, margins = score_tensors(self.model, answers)
        drift = self._neutral.drift(texts)
        return Readings(scores[:targets], margins[:targets], scores[targets:], margins[targets:], drift)
