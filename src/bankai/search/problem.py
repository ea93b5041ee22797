"""The problem a strategy works on: a model whose bits it may flip, and the ways to measure them.

A problem holds the current flips, counts the work in evaluations and leaves the model as it was on exit. Candidates are
measured in batches from cached streams, or one by one as the published loop does. All computing is left to a crew.
"""

import time
from collections.abc import Iterable, Sequence
from functools import cached_property
from types import TracebackType

from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from bankai.errors import UnknownTensorError
from bankai.evaluation.batches import prepare, prepare_encoded
from bankai.model.decoder import Decoder
from bankai.patch import Flip
from bankai.search.crew import Hire, alone, read, score
from bankai.search.objective import Objective, Readings
from bankai.search.parts import SearchProbes, draw_texts, encode_parts, join
from bankai.search.ranking import Ranked, place_drifts, rank
from bankai.search.settings import SearchSettings
from bankai.search.state import Best, State
from bankai.search.training import TrainingFitness

__all__ = ["ATTRIBUTION_COST", "Candidate", "Problem"]

Candidate = frozenset[Flip]
NOTHING: Candidate = frozenset()
ATTRIBUTION_COST = 2.5  # evaluations, measured on nano (benchmarks/engine.py)


class Problem:
    """Context manager. Inside, `flips` are on; on exit the model has its own bits again.

    `current` are the readings of the current flips and `fitness` what they make, 0 for none; `noise` is the largest
    difference seen between two measurements of one state. `evaluations` counts work: 1 when everything has been read
    once, parts in proportion. `encoded` are the targets in the order of the parts; `seconds` the baseline took;
    `most` flips a relaxed search may put on.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        probes: SearchProbes,
        settings: SearchSettings,
        hire: Hire = alone,
    ) -> None:
        self.decoder = Decoder(model)
        self.space, self.seed, self.most = settings.space, settings.seed, settings.flips
        self._asked = model, tokenizer, probes, settings
        slices, order = encode_parts(tokenizer, probes)
        self.crew = hire(self.decoder, slices)
        self.parts = self.crew.parts
        self.encoded = [answers for part in self.parts for answers in part.encoded]
        self.validation = prepare(tokenizer, probes.validation)
        self.flips: Candidate = NOTHING
        self._neutral = settings.neutral
        self._draw(0)
        start = time.monotonic()
        self.current = self.read_plainly()
        self.seconds = time.monotonic() - start
        domains = probes.domains or (0,) * len(order)
        self.objective = Objective.of(settings, self.current, [domains[index] for index in order])
        self.fitness = 0.0
        self.noise = 0.0
        self.evaluations = 0.0

    def __enter__(self) -> "Problem":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.toggle(self.flips)

    @property
    def reads(self) -> int:
        """Targets, controls and texts read in one evaluation."""
        return sum(part.probes for part in self.parts)

    def draw(self, number: int) -> None:
        """Choose the neutral text that the round of this number reads. One evaluation, where there is a choice."""
        if self._draw(number):
            self.evaluations += 1
            self._take(join(read(self.crew, range(len(self.parts)), [NOTHING])).at(0))

    def _draw(self, number: int) -> bool:
        return draw_texts(self.parts, self._neutral, f"{self.seed}/{number}")

    def toggle(self, flips: Iterable[Flip]) -> None:
        """Flip bits without measuring; a flip that is on goes off."""
        flips = self.flips ^ frozenset(flips)
        self.crew.follow(flips)
        self.flips = flips

    def rank(self, top: int | None) -> list[Ranked]:
        """Places by estimated change of the fitness, best first. Costs `ATTRIBUTION_COST` evaluations."""
        self.evaluations += ATTRIBUTION_COST
        return rank(
            self.decoder, self.parts, self.objective, self.current, self.space, top=top, crew=self.crew
        )

    def place_drifts(self) -> dict[str, Tensor]:
        """Fitness that the drift of each flip costs by itself: per tensor [rows, places]. An attribution's work."""
        self.evaluations += ATTRIBUTION_COST
        return place_drifts(self.parts, self.objective, self.space, self.crew)

    @cached_property
    def training(self) -> TrainingFitness:
        """The fitness on some probes at a time; first wanted while nothing is flipped."""
        assert not self.flips
        model, tokenizer, probes, settings = self._asked
        return TrainingFitness(model, tokenizer, probes, settings=settings, seed=settings.seed)

    @property
    def step_cost(self) -> float:
        """Evaluations that a step of training costs: a forward, and a backward of twice that."""
        return 3 * self.training.step_reads / self.reads

    def measure(self, candidates: Sequence[Candidate]) -> list[float]:
        """Exact fitness of each candidate on top of the current flips. One evaluation each."""
        self.evaluations += len(candidates)
        if not candidates:
            return []
        return self.objective(join(read(self.crew, range(len(self.parts)), candidates))).tolist()

    def halve(self, candidates: Sequence[Candidate]) -> list[tuple[float, Candidate]]:
        """Exact fitness of the best candidates, best first; after each part the weaker half has left."""
        alive, fitness = list(candidates), [0.0] * len(candidates)
        seen: list[list[Readings]] = [[] for _ in candidates]
        for index, part in enumerate(self.parts):
            if not alive:
                return []
            (found,) = read(self.crew, [index], alive)
            self.evaluations += len(alive) * part.probes / self.reads
            seen = [[*before, found.at(at)] for at, before in enumerate(seen)]
            fitness = [float(self.objective(join(readings))) for readings in seen]
            order = sorted(range(len(alive)), key=lambda at: -fitness[at])
            last = index == len(self.parts) - 1
            order = order if last else order[: (len(order) + 1) // 2]
            alive, seen = [alive[at] for at in order], [seen[at] for at in order]
            fitness = [fitness[at] for at in order]
        return list(zip(fitness, alive, strict=True))

    def move_to(self, flips: Iterable[Flip], expected: float | None = None) -> None:
        """Make `flips` the current state and measure it. One evaluation.

        `expected` is its fitness as measured before it was made; the difference is noise.
        """
        self.toggle(self.flips ^ frozenset(flips))
        self.evaluations += 1
        self._take(join(read(self.crew, range(len(self.parts)), [NOTHING])).at(0))
        if expected is not None:
            self.noise = max(self.noise, abs(self.fitness - expected))

    def attempt(self, flips: Iterable[Flip], threshold: float) -> bool:
        """The published step: flip, run in full, keep when the fitness exceeds `threshold`, else flip back."""
        change = frozenset(flips)
        self.toggle(change)
        self.evaluations += 1
        readings = self.read_plainly()
        if float(self.objective(readings)) > threshold:
            self._take(readings)
            return True
        self.toggle(change)
        return False

    @property
    def validation_cost(self) -> float:
        """Evaluations that a validation costs."""
        return self.validation.probes / self.reads

    def standing(self) -> Best:
        """The current flips, by their fitness alone."""
        return Best(tuple(sorted(self.flips)), self.fitness, 0, self.fitness)

    def validated(self) -> Best:
        """The current flips with what they do on the validation split; without one, as they stand."""
        if not self.validation.probes:
            return self.standing()
        self.evaluations += self.validation_cost
        scores, margins = score(self.crew, self.validation)
        return Best(tuple(sorted(self.flips)), self.fitness, int((margins > 0).sum()), float(scores.mean()))

    def save(self, state: State) -> None:
        """Write flips, work and noise into a state."""
        state.flips, state.evaluations, state.noise = tuple(sorted(self.flips)), self.evaluations, self.noise

    def restore(self, state: State) -> None:
        """Make the flips of a saved state; what is read then is what was read when it was saved."""
        layers = range(self.decoder.layers)
        known = {self.decoder.name(at, path) for at in layers for path in self.decoder.projections(at)}
        if unknown := {flip.tensor for flip in (*state.flips, *state.best.flips)} - known:
            raise UnknownTensorError(f"no search flips {min(unknown)}; start the search anew")
        if state.flips:
            self.move_to(state.flips)
        self.evaluations, self.noise = state.evaluations, state.noise

    def score_some_targets(self, targets: Iterable[int]) -> Tensor:
        """Scores of the targets with these indices under the current bits; costs their share of an evaluation."""
        some = prepare_encoded([self.encoded[index] for index in targets])
        self.evaluations += some.probes / self.reads
        return score(self.crew, some)[0]

    def _take(self, readings: Readings) -> None:
        self.current, self.fitness = readings, float(self.objective(readings))

    def read_plainly(self) -> Readings:
        """Readings of the current bits by a full forward that caches nothing."""
        return join(read(self.crew, range(len(self.parts)), [NOTHING], plainly=True)).at(0)
