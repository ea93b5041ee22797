"""Fitness: what a search tries to raise, put together from small terms. Knows readings, nothing of models or flips.

A fitness is the gain of the targets, less `penalty` times what the controls lose, targets that the base solves among
them, less `drift` times the KL divergence on neutral text. Terms are functions of what is read now and what the base
read; all are 0 at the base.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from bankai.evaluation.scoring import means_by_group
from bankai.search.settings import SearchSettings

__all__ = ["GAINS", "LOSSES", "Gain", "Loss", "Objective", "Readings"]

Indices = Sequence[int] | slice
STEEPNESS = 2.0  # nats of margin over which "boundary" goes from unsolved to solved


@dataclass(frozen=True)
class Readings:
    """What one state of the model, or each of many candidates, gives. All may carry leading dimensions.

    `targets`, `controls`: scores in nats; `target_margins`, `control_margins`: their margins; `drift`: KL divergence
    from the base on each neutral text, in nats per token.
    """

    targets: Tensor  # [..., targets]
    target_margins: Tensor
    controls: Tensor  # [..., controls]
    control_margins: Tensor
    drift: Tensor  # [..., texts]

    def first(self, targets: int, controls: int, texts: int) -> "Readings":
        """The first so many of each kind."""
        return self.some(slice(targets), slice(controls), slice(texts))

    def some(self, targets: Indices, controls: Indices, texts: Indices) -> "Readings":
        """Those with these indices of each kind."""
        return Readings(
            self.targets[..., targets],
            self.target_margins[..., targets],
            self.controls[..., controls],
            self.control_margins[..., controls],
            self.drift[..., texts],
        )

    def at(self, candidate: int) -> "Readings":
        """Those of one candidate."""
        return Readings(*(getattr(self, name)[candidate] for name in self.__dataclass_fields__))

    @property
    def counts(self) -> tuple[int, int, int]:
        """Targets, controls and texts that were read."""
        return self.targets.shape[-1], self.controls.shape[-1], self.drift.shape[-1]


@dataclass(frozen=True)
class Gain:
    """How the targets have improved: `value(now, base, domain)` with the domain of each target, int [targets].

    `reads` tells which reading of a target it looks at, so that attribution follows the same.
    """

    reads: str  # "score" or "margin"
    value: Callable[[Readings, Readings, Tensor], Tensor]


@dataclass(frozen=True)
class Loss:
    """What each control has lost: `value(now, base)`, both readings [..., controls], is at least 0."""

    reads: str
    value: Callable[[Tensor, Tensor], Tensor]


def _mean(now: Readings, base: Readings, domain: Tensor) -> Tensor:
    return means_by_group(now.targets - base.targets, domain).mean(-1)


def _worst(now: Readings, base: Readings, domain: Tensor) -> Tensor:
    return means_by_group(now.targets - base.targets, domain).amin(-1)


def _boundary(now: Readings, base: Readings, domain: Tensor) -> Tensor:
    near = [(readings.target_margins / STEEPNESS).sigmoid() for readings in (now, base)]
    return means_by_group(near[0] - near[1], domain).mean(-1)


def _score_loss(now: Tensor, base: Tensor) -> Tensor:
    return (base - now).clamp(min=0)


def _margin_loss(now: Tensor, base: Tensor) -> Tensor:
    """The share of its margin that a solved control has lost; nothing is lost where nothing was solved."""
    return torch.where(base > 0, (base - now).clamp(min=0) / base.clamp(min=1.0), 0.0)


GAINS = {
    "mean": Gain("score", _mean),  # mean score gain, each domain weighing the same
    "worst": Gain("score", _worst),  # that of the domain which gained least
    "boundary": Gain("margin", _boundary),  # targets near the boundary count most, solved ones hardly
}
LOSSES = {
    "score": Loss("score", _score_loss),  # nats of score lost
    "margin": Loss("margin", _margin_loss),  # share of the margin lost
}


@dataclass(frozen=True)
class Objective:
    """The fitness of readings against those of the base; see the head of this module."""

    base: Readings
    domain: Tensor  # int [targets]: 0 for all, or the set or category that each target is of
    gain: Gain
    loss: Loss
    penalty: float
    drift: float = 0.0

    @classmethod
    def of(cls, settings: SearchSettings, base: Readings, domains: Sequence[int]) -> "Objective":
        """The one that settings ask for; `domains` has that of every target."""
        return cls(
            base,
            torch.tensor(domains),
            GAINS[settings.gain],
            LOSSES[settings.loss],
            settings.penalty,
            settings.drift,
        )

    def some(self, targets: Indices, controls: Indices, texts: Indices) -> "Objective":
        """The fitness of readings of the probes and texts with these indices alone."""
        return replace(self, base=self.base.some(targets, controls, texts), domain=self.domain[targets])

    @property
    def kept(self) -> Tensor:
        """Which targets the base solves: they are preserved like controls. Bool [targets]."""
        return self.base.target_margins > 0

    def __call__(self, now: Readings) -> Tensor:
        """[...] for readings [..., n] of all probes, or of the first few of each kind."""
        targets, controls, texts = now.counts
        base, kept = self.base.first(targets, controls, texts), self.kept[:targets]
        fitness = self.gain.value(now, base, self.domain[:targets])
        lost = torch.cat(
            [
                self.loss.value(self._control(now), self._control(base)),
                self.loss.value(self._target(now)[..., kept], self._target(base)[kept]),
            ],
            -1,
        )
        if lost.shape[-1]:
            fitness = fitness - self.penalty * lost.mean(-1)
        if texts:
            fitness = fitness - self.drift * now.drift.mean(-1)
        return fitness

    def target_weights(self, now: Readings) -> Tensor:
        """Slope of the gain in the reading of each target: [targets]."""
        name = "targets" if self.gain.reads == "score" else "target_margins"
        with torch.enable_grad():
            reading = getattr(now, name).detach().requires_grad_()
            fields = {field: getattr(now, field) for field in now.__dataclass_fields__} | {name: reading}
            value = self.gain.value(Readings(**fields), self.base, self.domain)
            return torch.autograd.grad(value, reading)[0]

    def control_losses(self, now: Readings, change: Tensor, controls: Tensor) -> Tensor:
        """Fitness lost if the readings of these controls changed: int [k] and [k, ...] to [k, ...]."""
        return self._losses(self._control(now)[controls], self._control(self.base)[controls], change)

    def kept_losses(self, now: Readings, change: Tensor, targets: Tensor) -> Tensor:
        """As `control_losses`, of targets that the base solves; nothing when gain and loss read different things."""
        if self.gain.reads != self.loss.reads:
            return torch.zeros_like(change)
        return self._losses(self._target(now)[targets], self._target(self.base)[targets], change)

    def _losses(self, reading: Tensor, base: Tensor, change: Tensor) -> Tensor:
        reading, base = (values.view(-1, *[1] * (change.ndim - 1)) for values in (reading, base))
        more = self.loss.value(reading + change, base) - self.loss.value(reading, base)
        return more * (self.penalty / (len(self.base.controls) + int(self.kept.sum())))

    def _control(self, readings: Readings) -> Tensor:
        return readings.controls if self.loss.reads == "score" else readings.control_margins

    def _target(self, readings: Readings) -> Tensor:
        return readings.targets if self.loss.reads == "score" else readings.target_margins
