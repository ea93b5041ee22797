"""A token out of logits, and how likely it was. Does not know: models, text."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bankai.errors import UnsupportedModelError
from bankai.serving.engine import Logits

__all__ = ["Choice", "Sampler"]

_GREEDY_BELOW = 1e-6  # as `bankai.model.generation`: colder than this is greedy, and dividing could overflow


@dataclass(frozen=True, slots=True)
class Choice:
    """A token, its log-probability and the most likely tokens with theirs, all of the model at temperature 1."""

    token: int
    log_probability: float
    top: tuple[tuple[int, float], ...]


class Sampler:
    """Greedy at temperature 0, else drawn among the likeliest tokens that make up `top_p`; one `seed`, one text."""

    def __init__(
        self, temperature: float = 1.0, top_p: float = 1.0, seed: int | None = None, top: int = 0
    ) -> None:
        self.temperature, self.top_p, self.top = temperature, top_p, top
        self._random = np.random.default_rng(seed)

    def choose(self, logits: Logits) -> Choice:
        """Raises UnsupportedModelError for logits that are not numbers."""
        if not np.isfinite(logits).all():
            raise UnsupportedModelError("the model computes infinities or no numbers; get the model again")
        log_probabilities = _log_softmax(logits)
        token = self._token(logits)
        likeliest = np.argsort(-log_probabilities, kind="stable")[: self.top] if self.top else ()
        top = tuple((int(other), float(log_probabilities[other])) for other in likeliest)
        return Choice(token, float(log_probabilities[token]), top)

    def _token(self, logits: Logits) -> int:
        if self.temperature < _GREEDY_BELOW:
            return int(logits.argmax())
        probabilities = np.exp(_log_softmax(logits / self.temperature))
        if self.top_p < 1:
            order = np.argsort(-probabilities, kind="stable")
            before = probabilities[order].cumsum() - probabilities[order]
            probabilities[order[before >= self.top_p]] = 0.0
        return int(self._random.choice(len(logits), p=probabilities / probabilities.sum()))


def _log_softmax(logits: NDArray[np.floating]) -> NDArray[np.float64]:
    wide = logits.astype(np.float64)
    wide -= wide.max()
    wide -= np.log(np.exp(wide).sum())
    return wide
