"""Candidates by their estimated effect on the fitness, gain against harm.

Targets by the slope of their gain; controls one by one, since the corner of a hinge has no slope; neutral text by the
expected KL divergence of a flip, about half the mean square of its effect on the log-probability of tokens drawn from
the model (a diagonal Fisher). Does not know: what is kept.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from bankai.evaluation.scoring import token_scores
from bankai.model.decoder import Decoder
from bankai.patch import Flip
from bankai.search.attribution import Effects, Sink, stream_effects
from bankai.search.objective import Objective, Readings
from bankai.search.parts import Part
from bankai.search.space import Space
from bankai.search.streams import Stream

__all__ = ["Ranked", "probe_effects", "rank"]


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


class _Estimates:
    """Sums over sequences for every place of every tensor, [4, rows, places]: gain, loss, drift, targets helped.

    Streams of different size come in different blocks of rows.
    """

    def __init__(self, decoder: Decoder) -> None:
        self.decoder = decoder
        self.sums: dict[str, Tensor] = {}

    def add(self, kind: int, effects: Effects, values: Tensor) -> None:
        """Add [rows of the effects, places] to one kind of sum."""
        if effects.tensor not in self.sums:
            rows = self.decoder.model.get_submodule(effects.tensor).out_features
            self.sums[effects.tensor] = values.new_zeros(4, rows, values.shape[1])
        self.sums[effects.tensor][kind, effects.first_row :][: len(values)] += values


def rank(
    parts: list[Part],
    objective: Objective,
    now: Readings,
    space: Space,
    *,
    top: int | None = None,
    seed: int = 0,
) -> list[Ranked]:
    """The `top` places (None: all) by estimated change of the fitness, best first.

    `now` are the current readings in the order of the parts; `seed` draws the tokens for the drift.
    """
    estimates, weights = _Estimates(parts[0].decoder), objective.target_weights(now)
    generator = torch.Generator().manual_seed(seed)
    for answers in _answer_streams(parts, objective):
        _attribute(answers.stream, answers.value, answers.sink(estimates, objective, now, weights), space)
    if objective.drift:
        texts = sum(part.texts for part in parts)
        for stream in (stream for part in parts for stream in part.streams[1]):
            scale = objective.drift / (2 * texts)
            _attribute(stream, _sampled(stream, generator), _drift_sink(estimates, stream, scale), space)
    return _best(estimates, len(weights), space, top)


def probe_effects(parts: list[Part], objective: Objective, space: Space) -> dict[str, Tensor]:
    """Estimated change of what the objective reads of each probe: per tensor [targets + controls, rows, places].

    Targets come first, then controls, in the order of the parts. Holds everything at once: for small models and for
    looking at.
    """
    targets, controls = sum(part.targets for part in parts), sum(part.controls for part in parts)
    found: dict[str, Tensor] = {}
    for answers in _answer_streams(parts, objective):
        at = torch.cat([answers.targets[1], answers.controls[1] + targets])
        sequences = torch.cat([answers.targets[0], answers.controls[0]])

        def keep(effects: Effects, at: Tensor = at, sequences: Tensor = sequences) -> None:
            _, rows, places = effects.values.shape
            if effects.tensor not in found:
                out = parts[0].decoder.model.get_submodule(effects.tensor).out_features
                found[effects.tensor] = torch.zeros(targets + controls, out, places)
            found[effects.tensor][at, effects.first_row : effects.first_row + rows] = (
                effects.values[sequences].float().cpu()
            )

        _attribute(answers.stream, answers.value, keep, space)
    return found


def _attribute(stream: Stream, value: Callable[[Tensor], Tensor], sink: Sink, space: Space) -> None:
    layers = space.layers_of(stream.decoder)
    stream_effects(
        stream, value, sink, layers=layers, projections=space.paths(), granularity=space.granularity
    )


@dataclass(frozen=True)
class _AnswerStream:
    """A stream of answers; of several accepted ones the one that scores best now is followed.

    `targets` and `controls` hold sequences and the probes they answer, numbered through all parts.
    """

    stream: Stream
    targets: tuple[Tensor, Tensor]
    controls: tuple[Tensor, Tensor]
    reads: tuple[str, str]

    def value(self, logits: Tensor) -> Tensor:
        """Sum over the followed sequences of score or margin."""
        stream = self.stream
        log_probs, margins = token_scores(logits, stream.targets)
        sums = log_probs.new_zeros(stream.sequences).index_add(0, stream.rows, log_probs)
        least = margins.new_full((stream.sequences,), torch.inf).scatter_reduce(
            0, stream.rows, margins, "amin"
        )
        by_name = {"score": sums, "margin": least}
        pairs = zip(self.reads, (self.targets[0], self.controls[0]), strict=True)
        return sum(by_name[name][sequences.to(logits.device)].sum() for name, sequences in pairs)

    def sink(self, estimates: _Estimates, objective: Objective, now: Readings, weights: Tensor) -> Sink:
        """What adds the effects on these probes to the estimates."""
        sequences, targets = self.targets
        slopes, kept = weights[targets], objective.kept[targets]

        def add(effects: Effects) -> None:
            values = effects.values.float().cpu()
            if len(targets):
                helped = slopes[:, None, None] * values[sequences]
                estimates.add(GAIN, effects, helped.sum(0))
                estimates.add(HELPED, effects, (helped > 0).float().sum(0))
            if len(solved := kept.nonzero()[:, 0]):
                lost = objective.kept_losses(now, values[sequences[solved]], targets[solved])
                estimates.add(LOSS, effects, lost.sum(0))
            if len(self.controls[0]):
                lost = objective.control_losses(now, values[self.controls[0]], self.controls[1])
                estimates.add(LOSS, effects, lost.sum(0))

        return add


def _answer_streams(parts: list[Part], objective: Objective) -> Iterator[_AnswerStream]:
    first_target = first_control = 0
    for part in parts:
        best = _best_answers(part)
        for stream in part.streams[0]:
            owners = torch.empty(stream.sequences, dtype=torch.long)
            owners[stream.batch.rows] = stream.batch.owners
            probe = part.answers.probe_of[owners]
            followed = best[probe] == owners
            target, control = (probe < part.targets) & followed, (probe >= part.targets) & followed
            yield _AnswerStream(
                stream,
                (target.nonzero()[:, 0], probe[target] + first_target),
                (control.nonzero()[:, 0], probe[control] - part.targets + first_control),
                (objective.gain.reads, objective.loss.reads),
            )
        first_target, first_control = first_target + part.targets, first_control + part.controls


@torch.no_grad()
def _best_answers(part: Part) -> Tensor:
    """Index of the answer of each probe that scores best now: [probes]."""
    totals = torch.zeros(len(part.answers.probe_of))
    for stream in part.streams[0]:
        log_probs, _ = token_scores(stream.decoder.logits(stream.final()), stream.targets)
        totals.index_add_(0, stream.batch.owners, log_probs.cpu())
    best = torch.zeros(part.answers.probes, dtype=torch.long)
    for answer in totals.argsort().tolist():  # ascending, so the best writes last
        best[part.answers.probe_of[answer]] = answer
    return best


def _sampled(stream: Stream, generator: torch.Generator) -> Callable[[Tensor], Tensor]:
    """Sum of the log-probabilities of one token drawn from the model at each position.

    Each is divided by the root of its sequence's positions, so that the squared effect is one on their mean.
    """
    counts = stream.rows.bincount(minlength=stream.sequences)[stream.rows].to(stream.decoder.device)

    def value(logits: Tensor) -> Tensor:
        log_probs = logits.float().log_softmax(1)
        drawn = torch.multinomial(log_probs.detach().exp().cpu(), 1, generator=generator).to(logits.device)
        return (log_probs.gather(1, drawn)[:, 0] / counts.sqrt()).sum()

    return value


def _drift_sink(estimates: _Estimates, stream: Stream, scale: float) -> Sink:
    return lambda effects: estimates.add(DRIFT, effects, effects.values.float().square().sum(0).cpu() * scale)


def _best(estimates: _Estimates, targets: int, space: Space, top: int | None) -> list[Ranked]:
    found: list[Ranked] = []
    for tensor, sums in estimates.sums.items():
        value = sums[GAIN] - sums[LOSS] - sums[DRIFT]
        count = value.numel() if top is None else min(top, value.numel())
        chosen = value.flatten().topk(count).indices
        rows, places = chosen // value.shape[1], chosen % value.shape[1]
        columns = [value, sums[GAIN], sums[LOSS], sums[DRIFT], sums[HELPED] / max(1, targets)]
        numbers = torch.stack([column.flatten()[chosen] for column in columns], 1).tolist()
        found += [
            Ranked(space.flip(tensor, row, place), *some)
            for row, place, some in zip(rows.tolist(), places.tolist(), numbers, strict=True)
        ]
    return sorted(found, key=lambda ranked: (-ranked.value, ranked.flip))[:top]
