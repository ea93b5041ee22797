"""A token out of logits, and how likely it was."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bankai.errors import NotFiniteError

__all__ = ["Choice", "Logits", "Sampler"]

Logits = NDArray[np.float32]
"""Of the next token: [vocabulary]."""

_GREEDY_BELOW = 1e-6  # colder than this is greedy, and dividing could overflow
_LIKELY = 512  # tokens that nearly always hold the mass of `top_p`; sorting all of 150,000 takes 10 ms


@dataclass(frozen=True, slots=True)
class Choice:
    """A token, its log-probability and the most likely tokens with theirs, all of the model at temperature 1.

    Without either when nobody asked for them.
    """

    token: int
    log_probability: float | None = None
    top: tuple[tuple[int, float], ...] = ()


class Sampler:
    """Greedy at temperature 0, else drawn among the likeliest tokens that make up `top_p`; one `seed`, one text.

    `top`: how many most likely tokens to tell with every choice; None for no log-probabilities at all.
    """

    def __init__(
        self,
        temperature: float = 1.0,
        top_p: float = 1.0,
        seed: int | None = None,
        top: int | None = None,
    ) -> None:
        self._temperature, self._top_p, self._top = temperature, top_p, top
        self._random = np.random.default_rng(seed)

    def choose(self, logits: Logits) -> Choice:
        """Raises NotFiniteError for logits that are not numbers."""
        if not np.isfinite(logits).all():
            raise NotFiniteError
        return self._told(logits, self._token(logits))

    def judge(self, logits: Logits, token: int) -> Choice:
        """A token that was given, as if it had been chosen. Raises NotFiniteError for logits that are not numbers."""
        if not np.isfinite(logits).all():
            raise NotFiniteError
        return self._told(logits, token)

    def _told(self, logits: Logits, token: int) -> Choice:
        if self._top is None:
            return Choice(token)
        log_probabilities = logits - _log_sum(logits)
        likeliest = _likeliest(logits, self._top)
        top = tuple((int(other), float(log_probabilities[other])) for other in likeliest)
        return Choice(token, float(log_probabilities[token]), top)

    def _token(self, logits: Logits) -> int:
        if self._temperature < _GREEDY_BELOW:
            return int(logits.argmax())
        scaled = logits.astype(np.float64) / self._temperature
        tokens, probabilities = _nucleus(np.exp(scaled - _log_sum(scaled)), self._top_p)
        sums = probabilities.cumsum()
        drawn = int(np.searchsorted(sums, self._random.random() * sums[-1], side="right"))
        return int(tokens[min(drawn, len(tokens) - 1)])


def _log_sum(logits: NDArray[np.floating]) -> np.float64:
    """Logarithm of the sum of the exponentials."""
    wide = logits.astype(np.float64)
    return np.float64(wide.max() + np.log(np.exp(wide - wide.max()).sum()))


def _likeliest(values: NDArray[np.floating], count: int) -> NDArray[np.intp]:
    """Where the largest values are, the largest first; of equal ones the first, as `argmax` has it."""
    count = min(count, len(values))
    if not count:
        return np.empty(0, np.intp)
    least = np.partition(values, -count)[-count]
    where = np.flatnonzero(values >= least)
    return where[np.argsort(-values[where], kind="stable")][:count]


def _nucleus(
    probabilities: NDArray[np.float64], top_p: float
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """The fewest tokens that together have the probability `top_p`, at least one, and their probabilities."""
    if top_p >= 1:
        return np.arange(len(probabilities)), probabilities
    tokens = _likeliest(probabilities, _LIKELY)
    if probabilities[tokens].sum() < top_p:
        tokens = _likeliest(probabilities, len(probabilities))
    kept = int(np.searchsorted(probabilities[tokens].cumsum(), top_p)) + 1
    return tokens[:kept], probabilities[tokens[:kept]]
