"""How baselines with a gradient are fitted."""

from collections.abc import Sequence

import torch
from torch import Tensor

from bankai.search.training import TrainingFitness

__all__ = ["train"]

EVERY = 25  # steps between two looks at the fitness


def train(fitness: TrainingFitness, parameters: Sequence[Tensor], *, steps: int, rate: float) -> list[Tensor]:
    """Adam on the loss; the parameters where the fitness was best, the start included.

    The parameters must be in use by the model of the fitness.
    """
    optimizer = torch.optim.Adam(parameters, lr=rate)
    best, kept = fitness.fitness(), [parameter.detach().clone() for parameter in parameters]
    for step in range(1, steps + 1):
        optimizer.zero_grad()
        fitness.loss(step).backward()
        optimizer.step()
        if (step % EVERY == 0 or step == steps) and (found := fitness.fitness()) > best:
            best, kept = found, [parameter.detach().clone() for parameter in parameters]
    return kept
