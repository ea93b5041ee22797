"""Seconds of the parts of a search, put together from the pace of a model's pieces and the batches of its probes.

Assumed are: candidates spread evenly over the layers, as many as a round may measure; half of them leaving after the
first part, half of the rest after the second; as many joined sets as are left then, measured from the lowest layer up;
refining that takes as long per evaluation as climbing; for the original loop, trials that all pass their screening at
one end and all fail at the other; a machine as busy as now. A guided search may stop when validation no longer
improves: the low end of its time is the shortest one that gives up.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from statistics import mean

import torch
from torch import Tensor

from bankai.evaluation.batches import Batch, Prepared
from bankai.jobs.planning.pace import Curve, Pace
from bankai.jobs.planning.work import Work
from bankai.search import SearchSettings
from bankai.search.batched import CHUNK_TOKENS
from bankai.search.guided import CLIMB_SHARE, PATIENCE, candidates
from bankai.search.parts import Contents
from bankai.search.problem import ATTRIBUTION_COST
from bankai.search.trials import SCREENED

__all__ = ["Times"]

HALVED = (1, 2, 4)  # of the candidates that are measured in each part, all, a half, a quarter
FEWEST = 4  # candidates of the smallest round


@dataclass(frozen=True)
class Times:
    """Layers of these `kinds`, of which `layers` are searched; `weights` in the model."""

    work: Work
    pace: Pace
    kinds: Sequence[str]
    layers: Sequence[int]
    settings: SearchSettings
    weights: int

    @property
    def evaluation(self) -> float:
        """A full forward of everything that is read."""
        return sum(self._forward(batch) for batch in self.work.batches())

    @property
    def attribution(self) -> float:
        """One pass that ranks every place."""
        return sum(map(self._attribution, self.work.parts))

    @property
    def candidate(self) -> float:
        """One candidate in everything that is read, of a round of them."""
        return sum(self._singles(part, self._candidates) for part in self.work.parts) / self._candidates

    @property
    def budget(self) -> float:
        """Evaluations: given, or what the minutes allow at the pace of the search."""
        given, minutes = self.settings.budget, self.settings.minutes
        slowest = self._paces()[-1]
        return min(given or float("inf"), minutes * 60 / slowest if minutes else float("inf"))

    def command(self) -> tuple[float, float]:
        """Low and high of all: load, audit, search, reports."""
        searches = sorted(self.budget * pace for pace in self._paces())
        high = searches[-1]
        low = min(high, PATIENCE * self._round()) if self.settings.strategy == "guided" else searches[0]
        return low + self._around(), high + self._around()

    def warnings(self) -> Iterator[str]:
        """Of a budget that no round fits in."""
        if self.settings.strategy != "guided":
            return
        # A round of minutes is begun whatever it takes; one of evaluations only if it fits into the share for climbing.
        if self.settings.minutes and self.settings.minutes * 60 < self._round():
            needed = self._round() / 60
            yield f"{self.settings.minutes:g} minutes are less than one round; give at least {needed:.1f}m"
        smallest = self._evaluations(FEWEST) / CLIMB_SHARE
        if self.settings.budget and self.settings.budget < smallest:
            yield f"{self.settings.budget:g} evaluations are too few for one round; give at least {ceil(smallest)}"

    def _paces(self) -> tuple[float, ...]:
        """Seconds per evaluation that the budget counts: of a round; of trials that fail or pass their screening."""
        if self.settings.strategy == "guided":
            return (self._round() / self._evaluations(self._candidates),)
        if self.settings.strategy in ("relaxed", "random"):  # a step of training counts as what it computes
            return (self.evaluation,)
        screening = SCREENED / self.work.reads
        screened = self._forward_tokens(self.work.tokens * screening, SCREENED)
        return screened / screening, (screened + self.evaluation) / (screening + 1)

    @property
    def _candidates(self) -> int:
        return candidates(self.settings.budget)

    def _evaluations(self, count: int) -> float:
        """What the search counts for a round."""
        return ATTRIBUTION_COST + 0.75 * count + 1 + self.work.validation.probes / self.work.reads

    def _round(self) -> float:
        """Attribution, candidates that leave early, joined ones, the step, validation."""
        halved = zip(self.work.parts, HALVED, strict=True)
        singles = sum(self._singles(part, self._candidates // share) for part, share in halved)
        sets = self._candidates // HALVED[-1] - 1  # the first set is a candidate alone
        joined = sum(self._from_layer(part, sets, min(self.layers)) for part in self.work.parts)
        return self.attribution + singles + joined + self.evaluation + self._prepared(self.work.validation)

    def _around(self) -> float:
        """Load and audit before; the base is read and cached, and validated; reports after."""
        texts = sum(self._forward(batch) for part in self.work.parts for batch in part.neutral.batches)
        reports = sum(map(self._prepared, self.work.reports))
        once = self._prepared(self.work.audited) + self._prepared(self.work.validation)
        return self.weights * self.pace.load + once + texts + 2 * self.evaluation + 2 * reports

    def _prepared(self, prepared: Prepared) -> float:
        return sum(map(self._forward, prepared.batches))

    def _forward(self, batch: Batch) -> float:
        return self._forward_tokens(batch.tokens, len(batch.rows))

    def _forward_tokens(self, tokens: float, positions: float) -> float:
        mlps = len(self.kinds) * self.pace.mlp(tokens)
        return self._from(0, self.pace.attention, tokens) + mlps + self.pace.head(positions)

    def _from(self, layer: int, curves: Mapping[str, Curve], tokens: float) -> float:
        """Of this layer and all above it, each by its kind."""
        counts = Counter(self.kinds[layer:])
        return sum(count * curves[kind](tokens) for kind, count in counts.items())

    def _attribution(self, part: Contents) -> float:
        """The best answer of each probe is looked up, here any; then these and the texts are followed."""
        positions = [len(batch.rows) for batch in part.batches(texts=False)]
        pieces = [(part.answers.batches[index], piece) for index, piece in part.followed(_one_each(part))]
        if self.settings.drift:
            texts = part.batches(texts=True)
            pieces += [(texts[index], texts[index].answers()) for index in part.drawn]
        return sum(map(self.pace.head, positions)) + sum(self._followed(*one) for one in pieces)

    def _followed(self, batch: Batch, answers: Tensor) -> float:
        """Down to the lowest layer of the space."""
        positions = int(torch.isin(batch.owners, answers).sum())
        down = self._from(min(self.layers), self.pace.effects, batch.padded(answers))
        return self.pace.head_gradient(positions) + down

    def _singles(self, part: Contents, count: int) -> float:
        """Candidates of one flip, as many in every layer."""
        groups = min(count, len(self.layers))
        return groups * mean(self._from_layer(part, count / groups, layer) for layer in self.layers)

    def _from_layer(self, part: Contents, count: float, layer: int) -> float:
        """Candidates that begin in one layer, in as many chunks as they need."""
        seconds = 0.0
        for batch in part.all_read():
            tokens, positions = batch.tokens, len(batch.rows)
            chunk = min(count, max(1, CHUNK_TOKENS // tokens))
            seconds += count / chunk * self._chunk(layer, chunk, tokens * chunk, positions * chunk)
        return seconds

    def _chunk(self, layer: int, count: float, tokens: float, positions: float) -> float:
        above = len(self.kinds) - 1 - layer
        if above:  # the last MLP is computed where it is read
            mlps = (above - 1) * self.pace.mlp(tokens) + self.pace.mlp(positions)
            return (
                self.pace.start(count)
                + self._from(layer + 1, self.pace.attention, tokens)
                + mlps
                + self.pace.head(positions)
            )
        return self.pace.start(count) + self.pace.head(positions)


def _one_each(part: Contents) -> Tensor:
    """Index of an answer of each probe: [probes]."""
    best = torch.zeros(part.answers.probes, dtype=torch.long)
    for batch in part.batches(texts=False):
        best[part.answers.probe_of[batch.owners]] = batch.owners
    return best
