"""Candidates by their estimated effect on the fitness, gain against harm.

Targets by the slope of their gain; controls one by one, since the corner of a hinge has no slope; neutral text by the
expected KL divergence of a flip, about half the mean square of its effect on the log-probability of tokens drawn from
the model (a diagonal Fisher). Every stream is a unit of its own; what comes of them is added in their order, so it does
not matter who computes them.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from bankai.evaluation.scoring import token_scores
from bankai.model.decoder import Decoder
from bankai.patch import Flip
from bankai.patch.places import flip_of
from bankai.search.attribution import Effects, Sink, stream_effects
from bankai.search.crew import Crew, Replica, StreamName, Take
from bankai.search.objective import Objective, Readings
from bankai.search.parts import Contents, Part
from bankai.search.space import Space
from bankai.search.streams import Residuals, Sequences, Stream

__all__ = ["Ranked", "place_drifts", "probe_effects", "rank"]


@dataclass(frozen=True)
class Ranked:
    """A place with its estimates, in units of the fitness; `consistency` is the share of targets it helps."""

    flip: Flip
    value: float
    gain: float
    loss: float
    drift: float
    consistency: float


GAIN, LOSS, DRIFT, HELPED = range(4)


class _Addend(NamedTuple):
    """Values [some rows, places], from `first_row` on, that belong to one kind of sum of a tensor with so many rows."""

    kind: int
    tensor: str
    rows: int
    first_row: int
    values: Tensor


class _Estimates:
    """Sums over sequences for every place of every tensor, [4, rows, places]: gain, loss, drift, targets helped.

    Streams of different size come in different blocks of rows.
    """

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}

    def add(self, addend: _Addend) -> None:
        """Add to one kind of sum."""
        kind, tensor, rows, first_row, values = addend
        if tensor not in self.sums:
            self.sums[tensor] = values.new_zeros(4, rows, values.shape[1])
        self.sums[tensor][kind, first_row:][: len(values)] += values


def rank(
    decoder: Decoder,
    parts: Sequence[Contents],
    objective: Objective,
    now: Readings,
    space: Space,
    *,
    top: int | None = None,
    seed: int = 0,
    crew: Crew | None = None,
) -> list[Ranked]:
    """The `top` places (None: all) by estimated change of the fitness, best first.

    `now` are the current readings in the order of the parts; `seed` draws the tokens for the drift. Without a crew the
    parts are computed with here.
    """
    crew, estimates = crew or _replica(parts), _Estimates()
    weights = objective.target_weights(now)
    answers = [_Answers(followed, objective, now, weights, space) for followed in _followed(crew, objective)]
    crew.run([*answers, *_drifts(parts, objective, space, seed)], estimates.add)
    return _best(decoder, estimates, len(weights), space, top)


def place_drifts(
    parts: Sequence[Contents], objective: Objective, space: Space, crew: Crew
) -> dict[str, Tensor]:
    """Fitness that the drift of each flip costs by itself: per tensor [rows, places]; nothing where drift is free."""
    estimates = _Estimates()
    crew.run([*_drifts(parts, objective, space, 0)], estimates.add)
    return {tensor: sums[DRIFT] for tensor, sums in estimates.sums.items()}


def _replica(parts: Sequence[Contents]) -> Replica:
    whole = [part for part in parts if isinstance(part, Part)]
    return Replica(whole[0].decoder, whole)


def probe_effects(parts: Sequence[Contents], objective: Objective, space: Space) -> dict[str, Tensor]:
    """Estimated change of what the objective reads of each probe: per tensor [targets + controls, rows, places].

    Targets come first, then controls, in the order of the parts. Holds everything at once: for small models and for
    looking at.
    """
    targets, controls = sum(part.targets for part in parts), sum(part.controls for part in parts)
    found: dict[str, Tensor] = {}
    replica = _replica(parts)
    for answers in _followed(replica, objective):
        at = torch.cat([answers.targets[1], answers.controls[1] + targets])
        sequences = torch.cat([answers.targets[0], answers.controls[0]])

        def keep(effects: Effects, at: Tensor = at, sequences: Tensor = sequences) -> None:
            _, rows, places = effects.values.shape
            if effects.tensor not in found:
                out = replica.decoder.matrix(effects.tensor).info.rows
                found[effects.tensor] = torch.zeros(targets + controls, out, places)
            found[effects.tensor][at, effects.first_row : effects.first_row + rows] = (
                effects.values[sequences].float().cpu()
            )

        followed = answers.sequences(replica)
        _attribute(followed, answers.value(followed), keep, space)
    return found


def _attribute(stream: Residuals, value: Callable[[Tensor], Tensor], sink: Sink, space: Space) -> None:
    layers = space.layers_of(stream.decoder)
    stream_effects(
        stream, value, sink, layers=layers, projections=space.paths(), granularity=space.granularity
    )


def _addend(kind: int, stream: Residuals, effects: Effects, values: Tensor) -> _Addend:
    rows = stream.decoder.matrix(effects.tensor).info.rows
    return _Addend(kind, effects.tensor, rows, effects.first_row, values)


@dataclass(frozen=True)
class _Followed:
    """Some answers of a stream, each a sequence; of several accepted ones the one that scores best now is followed.

    `targets` and `controls` hold sequences and the probes they answer, numbered through all parts.
    """

    stream: StreamName
    answers: Tensor
    targets: tuple[Tensor, Tensor]
    controls: tuple[Tensor, Tensor]
    reads: tuple[str, str]

    def sequences(self, replica: Replica) -> Sequences:
        """The answers under the current flips."""
        return Sequences(replica.stream(self.stream), self.answers)

    def value(self, stream: Residuals) -> Callable[[Tensor], Tensor]:
        """Sum over the sequences of score or margin, from their logits."""

        def value(logits: Tensor) -> Tensor:
            log_probs, margins = token_scores(logits, stream.targets)
            sums = log_probs.new_zeros(stream.sequences).index_add(0, stream.rows, log_probs)
            least = margins.new_full((stream.sequences,), torch.inf).scatter_reduce(
                0, stream.rows, margins, "amin"
            )
            by_name = {"score": sums, "margin": least}
            pairs = zip(self.reads, (self.targets[0], self.controls[0]), strict=True)
            return sum(by_name[name][sequences.to(logits.device)].sum() for name, sequences in pairs)

        return value


def _followed(crew: Crew, objective: Objective) -> Iterator[_Followed]:
    first_target = first_control = 0
    for number, part in enumerate(crew.parts):
        best = _best_answers(crew, number)
        for index, answers in part.followed(best):
            probe = part.answers.probe_of[answers]
            target, control = probe < part.targets, probe >= part.targets
            yield _Followed(
                StreamName(number, False, index),
                answers,
                (target.nonzero()[:, 0], probe[target] + first_target),
                (control.nonzero()[:, 0], probe[control] - part.targets + first_control),
                (objective.gain.reads, objective.loss.reads),
            )
        first_target, first_control = first_target + part.targets, first_control + part.controls


def _best_answers(crew: Crew, number: int) -> Tensor:
    """Index of the answer of each probe of a part that scores best now: [probes]."""
    part = crew.parts[number]
    batches = part.batches(texts=False)
    if len(part.answers.probe_of) == part.answers.probes:  # one each
        return torch.arange(part.answers.probes)
    found: list[Tensor] = []
    crew.run([_Tokens(StreamName(number, False, index)) for index in range(len(batches))], found.append)
    totals = torch.zeros(len(part.answers.probe_of))
    for batch, log_probs in zip(batches, found, strict=True):
        totals.index_add_(0, batch.owners, log_probs)
    best = torch.zeros(part.answers.probes, dtype=torch.long)
    for answer in totals.argsort().tolist():  # ascending, so the best writes last
        best[part.answers.probe_of[answer]] = answer
    return best


@dataclass(frozen=True)
class _Tokens:
    """Log-probabilities of the answer tokens of a stream under the current flips."""

    wants: StreamName

    def tokens(self, parts: Sequence[Contents]) -> int:
        return self.wants.tokens(parts)

    @torch.no_grad()
    def do(self, replica: Replica, give: Take) -> None:
        """Gives them: [positions]."""
        stream = replica.stream(self.wants)
        give(token_scores(stream.decoder.logits(stream.final()), stream.targets)[0].cpu())


@dataclass(frozen=True)
class _Answers:
    """Attribution of some answers."""

    followed: _Followed
    objective: Objective
    now: Readings
    weights: Tensor
    space: Space

    @property
    def wants(self) -> StreamName:
        return self.followed.stream

    def tokens(self, parts: Sequence[Contents]) -> int:
        return self.wants.tokens(parts)

    def do(self, replica: Replica, give: Take) -> None:
        """Gives addends."""
        stream = self.followed.sequences(replica)

        def sink(effects: Effects) -> None:
            for kind, values in self._terms(effects.values.float().cpu()):
                give(_addend(kind, stream, effects, values))

        _attribute(stream, self.followed.value(stream), sink, self.space)

    def _terms(self, values: Tensor) -> Iterator[tuple[int, Tensor]]:
        """What effects [sequences, rows, places] on these probes add to each kind of sum."""
        objective, now = self.objective, self.now
        sequences, targets = self.followed.targets
        slopes, kept = self.weights[targets], objective.kept[targets]
        if len(targets):
            helped = slopes[:, None, None] * values[sequences]
            yield GAIN, helped.sum(0)
            yield HELPED, (helped > 0).float().sum(0)
        if len(solved := kept.nonzero()[:, 0]):
            yield LOSS, objective.kept_losses(now, values[sequences[solved]], targets[solved]).sum(0)
        sequences, controls = self.followed.controls
        if len(controls):
            yield LOSS, objective.control_losses(now, values[sequences], controls).sum(0)


@dataclass(frozen=True)
class _Texts:
    """Attribution of the drift on a stream of texts, the `index`-th of all, for tokens drawn by the seed."""

    wants: StreamName
    index: int
    seed: int
    scale: float
    space: Space

    def tokens(self, parts: Sequence[Contents]) -> int:
        return self.wants.tokens(parts)

    def do(self, replica: Replica, give: Take) -> None:
        """Gives addends."""
        stream = _each_text(replica.stream(self.wants))
        counts = stream.rows.bincount(minlength=stream.sequences)[stream.rows]

        def value(logits: Tensor) -> Tensor:
            # Divided by the root of the positions of a sequence, so that the squared effect is one on their mean.
            log_probs = logits.float().log_softmax(1)
            drawn = replica.draws.draw(self.seed, self.index, log_probs.detach().exp().cpu())
            return (log_probs.gather(1, drawn.to(logits.device))[:, 0] / counts.sqrt()).sum()

        def sink(effects: Effects) -> None:
            squares = effects.values.float().square().sum(0).cpu() * self.scale
            give(_addend(DRIFT, stream, effects, squares))

        _attribute(stream, value, sink, self.space)


def _each_text(stream: Stream) -> Sequences:
    return Sequences(stream, stream.batch.answers())


def _drifts(parts: Sequence[Contents], objective: Objective, space: Space, seed: int) -> Iterator[_Texts]:
    if not objective.drift:
        return
    texts = sum(part.texts for part in parts)
    before = 0
    for number, part in enumerate(parts):
        for index in part.drawn:
            name = StreamName(number, True, index)
            yield _Texts(name, before + index, seed, objective.drift / (2 * texts), space)
        before += len(part.batches(texts=True))


def _best(
    decoder: Decoder, estimates: _Estimates, targets: int, space: Space, top: int | None
) -> list[Ranked]:
    found: list[Ranked] = []
    for tensor, sums in estimates.sums.items():
        value = sums[GAIN] - sums[LOSS] - sums[DRIFT]
        count = value.numel() if top is None else min(top, value.numel())
        chosen = value.flatten().topk(count).indices
        rows, places = chosen // value.shape[1], chosen % value.shape[1]
        columns = [value, sums[GAIN], sums[LOSS], sums[DRIFT], sums[HELPED] / max(1, targets)]
        info = decoder.matrix(tensor).info
        numbers = torch.stack([column.flatten()[chosen] for column in columns], 1).tolist()
        found += [
            Ranked(flip_of(tensor, row, space.granularity, place, info), *some)
            for row, place, some in zip(rows.tolist(), places.tolist(), numbers, strict=True)
        ]
    return sorted(found, key=lambda ranked: (-ranked.value, ranked.flip))[:top]
