"""What baselines are trained and chosen by: the fitness of a search, with a gradient where one is wanted.

Training reads some targets, controls and texts at a time. Choosing reads all controls and texts, and validation probes
in the place of targets where there are some.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from bankai.evaluation.batches import Prepared, prepare, prepare_encoded
from bankai.evaluation.scoring import position_log_probs, score_tensors
from bankai.model.divergence import divergence
from bankai.probes.encode import encode
from bankai.probes.probe import Probe
from bankai.search.objective import Objective, Readings
from bankai.search.parts import SearchProbes, windows
from bankai.search.settings import SearchSettings

__all__ = ["DEFAULTS", "Lesson", "train"]

DEFAULTS = SearchSettings()
BATCH = 16  # targets, and as many controls and pieces of text, of one step
EVERY = 25  # steps between two looks at the fitness


class Lesson:
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
        self._random = random.Random(seed)
        self._targets = [encode(probe, tokenizer) for probe in probes.targets]
        self._controls = [encode(probe, tokenizer) for probe in probes.controls]
        self._texts = [prepare_encoded([[piece]]) for piece in windows(probes.texts, tokenizer)]
        self._judged = prepare(tokenizer, [*self.judges, *probes.controls])
        with torch.no_grad():
            self._reference = [self._log_probs(piece) for piece in self._texts]
        domains = probes.domains or (0,) * len(self._targets)
        self._trained = self._objective(settings, prepare_encoded([*self._targets, *self._controls]), domains)
        self._chosen = self._objective(settings, self._judged, (0,) * len(probes.validation) or domains)

    @torch.no_grad()
    def _objective(self, settings: SearchSettings, answers: Prepared, domains: Sequence[int]) -> Objective:
        """Against the base; the first answers are those of targets, one for each domain."""
        base = self._read(answers, len(domains), ())
        return Objective.of(settings, replace(base, drift=base.targets.new_zeros(len(self._texts))), domains)

    def loss(self) -> Tensor:
        """Of some targets, controls and texts drawn at random, to be made small."""
        targets, controls, texts = (
            self._random.sample(range(count), min(BATCH, count)) for count in self._trained.base.counts
        )
        encoded = [self._targets[index] for index in targets] + [self._controls[index] for index in controls]
        now = self._read(prepare_encoded(encoded), len(targets), texts)
        return -self._trained.some(targets, controls, texts)(now)

    @torch.no_grad()
    def fitness(self, ask: Callable[[Probe], Probe] | None = None) -> float:
        """Of the judges and all controls and texts; 0 for the base. `ask` changes what is asked."""
        answers = self._judged
        if ask is not None:
            answers = prepare(self.tokenizer, map(ask, (*self.judges, *self.probes.controls)))
        return float(self._chosen(self._read(answers, len(self.judges), range(len(self._texts)))))

    def _read(self, answers: Prepared, targets: int, texts: Sequence[int]) -> Readings:
        """Readings of the model as it is: of answers, the first so many those of targets, and of some texts."""
        scores, margins = score_tensors(self.model, answers)
        drift = [
            divergence(self._reference[text], self._log_probs(self._texts[text])).mean() for text in texts
        ]
        return Readings(
            scores[:targets],
            margins[:targets],
            scores[targets:],
            margins[targets:],
            torch.stack(drift) if drift else scores.new_zeros(0),
        )

    def _log_probs(self, piece: Prepared) -> Tensor:
        """At every position of a piece of text: [positions, vocabulary]."""
        (batch,) = piece.batches
        return position_log_probs(self.model, batch)


def train(lesson: Lesson, parameters: Sequence[Tensor], *, steps: int, rate: float) -> list[Tensor]:
    """Adam on the loss; the parameters where the fitness was best, the start included.

    The parameters must be in use by the model of the lesson.
    """
    optimizer = torch.optim.Adam(parameters, lr=rate)
    best, kept = lesson.fitness(), [parameter.detach().clone() for parameter in parameters]
    for step in range(1, steps + 1):
        optimizer.zero_grad()
        lesson.loss().backward()
        optimizer.step()
        if (step % EVERY == 0 or step == steps) and (found := lesson.fitness()) > best:
            best, kept = found, [parameter.detach().clone() for parameter in parameters]
    return kept
