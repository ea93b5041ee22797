"""The choice of a token at the ends of what temperatures and logits can be."""

import pytest
import torch

from bankai.errors import UnsupportedModelError
from bankai.model.generation import _choose


@pytest.mark.parametrize("temperature", [0.0, 1e-45, 1e-300, 1e-9, 1e-5])
def test_tiny_temperature_is_greedy(temperature):
    logits = torch.tensor([-30.0, 40.0, 12.0])
    assert _choose(logits, temperature, torch.Generator().manual_seed(0)) == 1


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_logits_that_are_not_numbers(value, temperature):
    with pytest.raises(UnsupportedModelError, match="get the model again"):
        _choose(torch.tensor([0.0, value]), temperature, torch.Generator())
