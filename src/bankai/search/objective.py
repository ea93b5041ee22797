"""Fitness: what a search tries to raise. Knows scores, nothing of models or flips."""

from dataclasses import dataclass

from torch import Tensor

__all__ = ["Objective"]


@dataclass(frozen=True)
class Objective:
    """fitness = mean(score - base) over targets - penalty * mean(max(0, base - score)) over controls.

    `targets` and `controls` are the base scores in nats, [targets] and [controls]. All arguments may carry leading
    candidate dimensions: [..., targets] and [..., controls] give [...].
    """

    targets: Tensor
    controls: Tensor
    penalty: float

    def __call__(self, targets: Tensor, controls: Tensor) -> Tensor:
        gain = (targets - self.targets).mean(-1)
        if not len(self.controls):
            return gain
        return gain - self.penalty * (self.controls - controls).clamp(min=0).mean(-1)
