"""Fields of a configuration that may be damaged: each is checked when read."""

from collections.abc import Mapping
from reprlib import repr as short
from typing import Any

import numpy as np

from bankai.errors import ModelFormatError

__all__ = ["positive", "size", "token_id", "truth", "widen"]

_LARGEST = 1 << 31  # of any size or count


def widen(value: Any) -> Any:
    """A float32 from a file as the shortest decimal that rounds to it: 1e-06, not 9.999999974752427e-07."""
    if not isinstance(value, float):
        return value
    with np.errstate(over="ignore"):  # the infinity is refused where the value is used
        return float(str(np.float32(value)))


def size(raw: Mapping[str, Any], key: str) -> int:
    """A count above 0. Raises ModelFormatError."""
    value = raw.get(key)
    if type(value) is not int or not 0 < value < _LARGEST:
        raise ModelFormatError(
            f"{key} is {short(value)}, not a count; the model's configuration is damaged, get it again"
        )
    return value


def positive(raw: Mapping[str, Any], key: str) -> float:
    """A number above 0 as a float. Raises ModelFormatError."""
    value: Any = raw.get(key)
    if type(value) not in (int, float) or not 0 < value < 1e300:  # no int too large for a float, no NaN
        raise ModelFormatError(f"{key} is {short(value)}, not a positive number; get the model again")
    return float(value)


def truth(raw: Mapping[str, Any], key: str) -> bool:
    """True or false; false when absent. Raises ModelFormatError."""
    value = raw.get(key, False)
    if type(value) is not bool:
        raise ModelFormatError(f"{key} is {short(value)}, neither true nor false; get the model again")
    return value


def token_id(value: Any, key: str, vocab_size: int) -> int:
    """An id in the vocabulary, the first where several are given. Raises ModelFormatError."""
    first = value[0] if isinstance(value, list) and value else value  # generation configs list several ends
    if type(first) is not int or not 0 <= first < vocab_size:
        raise ModelFormatError(f"{key} is {short(value)}, not a token of {vocab_size}; get the model again")
    return first
