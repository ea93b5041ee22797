"""Random draws that follow one another, each of which can be made alone.

One generator serves all draws of a seed in turn. How far a draw takes it depends on the shape of the probabilities
only, so where it stands before any of them is known without making those before.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["Draws"]


class Draws:
    """Draws of one index from every row, of probabilities of these shapes: [rows, columns] each, in their order."""

    def __init__(self, shapes: Sequence[tuple[int, int]]) -> None:
        self._shapes = shapes
        self._states: dict[
            int, list[Tensor]
        ] = {}  # by seed: where the generator stands before each draw so far

    def draw(self, seed: int, index: int, probabilities: Tensor) -> Tensor:
        """The draw of that number among those of the seed: [rows, columns] to int [rows, 1]."""
        states = self._states.setdefault(seed, [torch.Generator().manual_seed(seed).get_state()])
        while len(states) <= index:
            even = torch.ones(1).expand(self._shapes[len(states) - 1])
            _, after = _draw(states[-1], even)
            states.append(after)
        drawn, after = _draw(states[index], probabilities)
        if len(states) == index + 1:
            states.append(after)
        return drawn


def _draw(state: Tensor, probabilities: Tensor) -> tuple[Tensor, Tensor]:
    """What is drawn, and where the generator stands then."""
    generator = torch.Generator()
    generator.set_state(state)
    return torch.multinomial(probabilities, 1, generator=generator), generator.get_state()
