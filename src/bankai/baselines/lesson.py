"""What baselines are trained and chosen by: the fitness of a search, with a gradient where one is wanted.

Mean score of the targets, less `PENALTY` times the mean score that controls lose and `DRIFT` times the KL divergence of
the base on neutral texts. Validation probes choose between candidates, targets stand in where there are none.
"""

import random
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from bankai.evaluation.scoring import Prepared, answer_hidden, prepare, prepare_encoded, score_tensors
from bankai.probes.encode import encode
from bankai.probes.probe import Probe
from bankai.search.parts import SearchProbes, windows
from bankai.search.settings import SearchSettings

__all__ = ["Lesson", "train"]

PENALTY, DRIFT = SearchSettings().penalty, SearchSettings().drift
BATCH = 16  # targets, and as many controls and pieces of text, of one step
EVERY = 25  # steps between two looks at the fitness


class Lesson:
    """Probes encoded once, and what the base says to them. The base must be on when this is made."""

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        probes: SearchProbes,
        *,
        seed: int = 0,
    ) -> None:
        self.model, self.tokenizer, self.probes = model, tokenizer, probes
        self.judges = probes.validation or probes.targets
        self._random = random.Random(seed)
        self._targets = [encode(probe, tokenizer) for probe in probes.targets]
        self._controls = [encode(probe, tokenizer) for probe in probes.controls]
        self._judged = prepare(tokenizer, [*self.judges, *probes.controls])
        self._base = self._scores(self._judged)
        self._texts = [prepare_encoded([[piece]]) for piece in windows(probes.texts, tokenizer)]
        with torch.no_grad():
            self._reference = [self._log_probs(piece) for piece in self._texts]

    @torch.no_grad()
    def _scores(self, prepared: Prepared) -> Tensor:
        return score_tensors(self.model, prepared)[0]

    def loss(self) -> Tensor:
        """Of some targets and controls drawn at random, to be made small."""
        targets = self._draw(len(self._targets))
        controls = self._draw(len(self._controls))
        encoded = [self._targets[index] for index in targets] + [self._controls[index] for index in controls]
        scores, _ = score_tensors(self.model, prepare_encoded(encoded))
        base = self._base[len(self.judges) :][controls]
        return DRIFT * self._drift(self._draw(len(self._texts))) - _fitness(scores, base, len(targets))

    def _draw(self, count: int) -> list[int]:
        return self._random.sample(range(count), min(BATCH, count))

    def fitness(self, ask: Callable[[Probe], Probe] | None = None) -> float:
        """Of the judges and all controls, above the base. `ask` changes what is asked."""
        prepared = self._judged
        if ask is not None:
            prepared = prepare(self.tokenizer, map(ask, (*self.judges, *self.probes.controls)))
        count = len(self.judges)
        gain = _fitness(self._scores(prepared), self._base[count:], count)
        with torch.no_grad():
            drift = self._drift(range(len(self._texts)))
        return float(gain - self._base[:count].mean() - DRIFT * drift)

    def _drift(self, pieces: Sequence[int]) -> Tensor:
        """KL divergence of the base from the model in nats per token, mean over pieces of text; 0 without any."""
        if not pieces:
            return torch.zeros((), device=self.model.device)
        found = []
        for piece in pieces:
            base = self._reference[piece]
            found.append((base.exp() * (base - self._log_probs(self._texts[piece]))).sum(1).mean())
        return torch.stack(found).mean()

    def _log_probs(self, piece: Prepared) -> Tensor:
        """At every position of a piece of text: [positions, vocabulary]."""
        (batch,) = piece.batches
        return self.model.lm_head(answer_hidden(self.model, batch)).float().log_softmax(1)


def _fitness(scores: Tensor, base: Tensor, targets: int) -> Tensor:
    """Mean score of the first ones, less what the rest has lost of its base scores."""
    fitness = scores[:targets].mean()
    if len(base):
        fitness = fitness - PENALTY * (base - scores[targets:]).clamp(min=0).mean()
    return fitness


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
