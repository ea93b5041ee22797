"""How far one distribution of next tokens is from another."""

from torch import Tensor

__all__ = ["divergence"]


def divergence(base: Tensor, other: Tensor) -> Tensor:
    """KL divergence of `base` from `other` in nats: log-probabilities [..., vocabulary] to [...].

    Rounding can make a zero slightly negative.
    """
    return (base.exp() * (base - other)).sum(-1)
