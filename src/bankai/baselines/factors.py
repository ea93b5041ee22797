"""What submodules of a model give, times a factor for each number."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

from torch import Tensor
from transformers import PreTrainedModel

from bankai.model.hooks import hooked

__all__ = ["Factors", "multiplied"]

Factors = Mapping[str, Tensor]
"""By canonical name of the submodule: [width], 1 where nothing changes."""


@contextmanager
def multiplied(model: PreTrainedModel, factors: Factors) -> Iterator[PreTrainedModel]:
    """While open, submodules give what they gave times the factors, with a gradient for the factors."""
    with hooked(model, {name: partial(_times, factor) for name, factor in factors.items()}):
        yield model


def _times(factor: Tensor, _: Any, inputs: Any, y: Tensor) -> Tensor:
    return (y * factor.to(y.device)).to(y.dtype)
