"""The problem a strategy works on: a model whose bits it may flip, and the one way to measure them.

A problem holds the current flips, counts the work in evaluations and leaves the model as it was on exit. This is the
seam for other ways to measure (batched, cached, on other devices). It does not know how flips are chosen.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from types import TracebackType

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from bankai.evaluation.scoring import Prepared, prepare, prepare_encoded, score_tensors
from bankai.model import flip
from bankai.patch import Flip
from bankai.probes import Probe
from bankai.probes.encode import encode
from bankai.search.objective import Objective

__all__ = ["Measured", "Problem", "SearchProbes"]


@dataclass(frozen=True)
class SearchProbes:
    """The splits a search may read. It is never given held-out or unseen probes."""

    targets: tuple[Probe, ...]
    controls: tuple[Probe, ...] = ()
    validation: tuple[Probe, ...] = ()


@dataclass(frozen=True)
class Measured:
    """Scores [targets] and [controls] of one state of the model, and its fitness."""

    targets: Tensor
    controls: Tensor
    fitness: float


class Problem:
    """Context manager. Inside, `flips` are on; on exit the model has its own bits again.

    `fitness` is that of the current flips. `evaluations` counts work: 1 per full evaluation, parts in proportion.
    """

    def __init__(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, probes: SearchProbes, penalty: float
    ) -> None:
        self.model = model
        self._encoded = [encode(probe, tokenizer) for probe in probes.targets]
        self.targets = prepare_encoded(self._encoded)
        self.controls = prepare(tokenizer, probes.controls)
        self.validation = prepare(tokenizer, probes.validation)
        self.flips: frozenset[Flip] = frozenset()
        targets, margins = self._score(self.targets)
        controls, _ = self._score(self.controls)
        self.objective = Objective(targets, controls, penalty)
        self.solved_targets = int((margins > 0).sum())
        self.current = Measured(targets, controls, 0.0)
        self.evaluations = 0.0

    def __enter__(self) -> "Problem":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.toggle(self.flips)

    @property
    def fitness(self) -> float:
        """Fitness of the current flips; 0 for none."""
        return self.current.fitness

    def toggle(self, flips: Iterable[Flip]) -> None:
        """Flip bits without measuring; a flip that is on goes off."""
        change = frozenset(flips)
        flip(self.model, change)
        self.flips ^= change

    def measure(self) -> Measured:
        """One full evaluation of the current bits."""
        self.evaluations += 1
        targets, _ = self._score(self.targets)
        controls, _ = self._score(self.controls)
        return Measured(targets, controls, float(self.objective(targets, controls)))

    def attempt(self, flips: Iterable[Flip], threshold: float) -> bool:
        """Flip, measure, and keep when the fitness exceeds `threshold`; else flip back. One evaluation."""
        change = frozenset(flips)
        self.toggle(change)
        measured = self.measure()
        if measured.fitness > threshold:
            self.current = measured
            return True
        self.toggle(change)
        return False

    def move_to(self, flips: Iterable[Flip]) -> None:
        """Make `flips` the current state and measure it. One evaluation."""
        self.toggle(self.flips ^ frozenset(flips))
        self.current = self.measure()

    def validate(self) -> tuple[int, float]:
        """(solved, mean score) on the validation split; costs its share of an evaluation."""
        self.evaluations += self.share(self.validation)
        scores, margins = self._score(self.validation)
        return int((margins > 0).sum()), float(scores.mean()) if len(scores) else 0.0

    def score_some_targets(self, targets: Iterable[int]) -> Tensor:
        """Scores of the targets with these indices under the current bits; costs their share of an evaluation."""
        some = prepare_encoded([self._encoded[index] for index in targets])
        self.evaluations += self.share(some)
        return self._score(some)[0]

    def share(self, prepared: Prepared) -> float:
        """What scoring these probes costs, in evaluations."""
        return prepared.probes / (self.targets.probes + self.controls.probes)

    @torch.no_grad()
    def _score(self, prepared: Prepared) -> tuple[Tensor, Tensor]:
        if not prepared.batches:
            return torch.zeros(0), torch.zeros(0)
        return score_tensors(self.model, prepared)
