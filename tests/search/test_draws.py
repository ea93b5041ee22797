"""Draws made alone against one generator that makes them all."""

import pytest
import torch

from bankai.search.draws import Draws

SHAPES = [(3, 40), (1, 7), (20, 300), (5, 40)]


def probabilities() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.rand(shape, generator=generator).softmax(1) for shape in SHAPES]


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 1, 2, 0), (2,), (1, 1, 3, 3)])
def test_draws_in_any_order_are_those_of_one_generator(order):
    asked, draws = probabilities(), Draws(SHAPES)
    for seed in (0, 5):
        generator = torch.Generator().manual_seed(seed)
        expected = [torch.multinomial(one, 1, generator=generator) for one in asked]
        for index in order:
            assert torch.equal(draws.draw(seed, index, asked[index]), expected[index])
