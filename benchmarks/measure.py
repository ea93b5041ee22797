"""What several benches need: clocks, medians, rank correlation, candidates spread over the layers."""

import random
import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from bankai.model.decoder import Decoder
from bankai.patch import Flip
from bankai.search import Space

__all__ = ["Candidates", "one_flip_each", "ranged", "ranks", "seconds", "spearman", "summary"]

T = TypeVar("T")
Candidates = list[frozenset[Flip]]


def seconds(work: Callable[[], T]) -> tuple[T, float]:
    """What the work gives, and how long it took, what it set going on an accelerator included."""
    _wait()
    start = time.perf_counter()
    result = work()
    _wait()
    return result, time.perf_counter() - start


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def summary(values: Sequence[float]) -> dict[str, float]:
    """Median and range."""
    return {"median": median(values), "low": min(values), "high": max(values)}


def ranged(found: dict[str, float], places: int = 2) -> str:
    """A summary as text: the median, and the range when there is one."""
    text = f"{found['median']:.{places}f}"
    if found["low"] == found["high"]:
        return text
    return f"{text} ({found['low']:.{places}f} to {found['high']:.{places}f})"


def ranks(values: ArrayLike) -> NDArray[np.float64]:
    """Rank of each value from 0; equal ones share the mean of theirs."""
    _, index, counts = np.unique(np.asarray(values), return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts + 1) / 2)[index]


def spearman(first: ArrayLike, second: ArrayLike) -> float:
    """Rank correlation."""
    return float(np.corrcoef(ranks(first), ranks(second))[0, 1])


def one_flip_each(decoder: Decoder, space: Space, count: int, seed: int) -> Candidates:
    """Candidates of one random place each, as many in every layer of the space as in any other, in random order."""
    rng, layers = random.Random(seed), space.layers_of(decoder)
    chosen = [layers[index % len(layers)] for index in range(count)]
    rng.shuffle(chosen)
    return [frozenset([_within(space, layer).draw(decoder, rng)]) for layer in chosen]


def _within(space: Space, layer: int) -> Space:
    """The same space in one layer."""
    return Space(projections=space.projections, layers=(layer,), granularity=space.granularity)
