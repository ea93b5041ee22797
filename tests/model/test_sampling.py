"""A token is drawn with the probability that it should have; log-probabilities are those of the model."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bankai.errors import UnsupportedModelError
from bankai.model.sampling import Sampler


def logits(seed: int, size: int = 700, scale: float = 3.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(scale=scale, size=size).astype(np.float32)


def softmax(values: np.ndarray) -> np.ndarray:
    exponentials = np.exp(values.astype(np.float64) - values.max())
    return exponentials / exponentials.sum()


@given(st.integers(0, 1000), st.sampled_from([0.0, 1e-300, 1e-45, 1e-9]))
def test_without_temperature_the_most_probable(seed: int, temperature: float) -> None:
    values = logits(seed)
    choice = Sampler(temperature, top_p=0.3, seed=seed).choose(values)
    assert (choice.token, choice.log_probability, choice.top) == (int(values.argmax()), None, ())


@pytest.mark.parametrize(
    ("temperature", "top_p"), [(1.0, 1.0), (0.5, 1.0), (2.0, 1.0), (1.0, 0.8), (1.5, 0.3)]
)
def test_frequencies(temperature: float, top_p: float) -> None:
    """10,000 draws of 12 tokens: as often as they should be, within 5 standard deviations."""
    values, draws = logits(3, size=12, scale=1.5), 10_000
    wanted = softmax(values / temperature)
    order = np.argsort(-wanted)
    mass = wanted[order].cumsum()
    wanted[order[int((mass < top_p).sum()) + 1 :]] = 0
    wanted /= wanted.sum()
    sampler = Sampler(temperature, top_p, seed=1)
    found = np.bincount([sampler.choose(values).token for _ in range(draws)], minlength=12)
    assert (np.abs(found - draws * wanted) <= 5 * np.sqrt(draws * wanted * (1 - wanted)) + 1e-9).all()


@given(st.integers(0, 1000), st.floats(0.0, 0.999), st.sampled_from([0.0, 2.0, 20.0]))
def test_top_p_takes_the_fewest_tokens_that_have_it(seed: int, top_p: float, scale: float) -> None:
    values = logits(seed, scale=scale)
    probabilities = softmax(values)
    sampler = Sampler(1.0, top_p, seed)
    for _ in range(5):
        token = sampler.choose(values).token
        assert probabilities[probabilities > probabilities[token]].sum() <= top_p + 1e-9


def test_a_seed_gives_the_same_tokens_again() -> None:
    many = [logits(seed) for seed in range(50)]

    def tokens(seed: int | None) -> list[int]:
        sampler = Sampler(1.0, seed=seed)
        return [sampler.choose(values).token for values in many]

    assert tokens(7) == tokens(7)
    assert len({tuple(tokens(seed)) for seed in (7, 8, None, None)}) == 4


@given(st.integers(0, 1000), st.integers(0, 20), st.sampled_from([0.0, 1.0]))
def test_log_probabilities_are_those_at_temperature_1(seed: int, top: int, temperature: float) -> None:
    values = logits(seed).round(1)  # so that some are equal
    wanted = np.log(softmax(values))
    choice = Sampler(temperature, 0.5, seed, top).choose(values)
    assert choice.log_probability == pytest.approx(wanted[choice.token])
    order = np.argsort(-values, kind="stable")[:top]
    assert [token for token, _ in choice.top] == list(order)
    assert [found for _, found in choice.top] == pytest.approx(list(wanted[order]))


def test_more_likeliest_than_there_are_tokens() -> None:
    assert len(Sampler(0, top=20).choose(logits(0, size=5)).top) == 5


def test_a_temperature_just_above_nothing_overflows_nowhere() -> None:
    assert Sampler(1e-5, seed=0).choose(np.array([-30, 40, 12], np.float32)).token == 1


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_what_is_no_number_is_refused(wrong: float, temperature: float) -> None:
    values = logits(0)
    values[5] = wrong
    with pytest.raises(UnsupportedModelError, match="get the model again"):
        Sampler(temperature).choose(values)
