"""Ranks, correlations and candidates of the benches."""

import math
from collections import Counter

import numpy as np
import pytest
from benchmarks.measure import one_flip_each, ranged, ranks, seconds, spearman, summary
from wide import LAYERS

from bankai.model import load
from bankai.model.decoder import Decoder
from bankai.search import Space


def test_equal_values_share_their_rank():
    assert ranks([30.0, 10.0, 20.0, 20.0]).tolist() == [3.0, 0.0, 1.5, 1.5]


def test_rank_correlation_sees_only_the_order():
    values = np.array([0.3, -1.0, 2.0, 5.0])
    assert spearman(values, values**3) == pytest.approx(1.0)
    assert spearman(values, -values) == pytest.approx(-1.0)
    # 1 - 6 * (1 + 1) / (4 * 15): two neighbours have changed places.
    assert spearman([1, 2, 3, 4], [2, 1, 3, 4]) == pytest.approx(0.8)


def test_a_summary_as_text():
    assert ranged(summary([3.0, 1.0, 2.0]), 1) == "2.0 (1.0 to 3.0)"
    assert ranged(summary([1.0]), 1) == "1.0"


def test_seconds_gives_what_the_work_gives():
    result, took = seconds(lambda: math.factorial(5))
    assert result == 120
    assert took >= 0


@pytest.mark.parametrize("granularity", ["row", "group", "bit"])
def test_candidates_are_spread_evenly_over_the_layers(wide_gguf, granularity):
    decoder = Decoder(load(wide_gguf)[0])
    space = Space(projections=("gate_proj", "o_proj"), granularity=granularity)
    candidates = one_flip_each(decoder, space, 4 * LAYERS, seed=1)
    flips = [flip for candidate in candidates for flip in candidate]
    assert len(flips) == len(candidates)
    assert set(Counter(flip.tensor.split(".")[2] for flip in flips).values()) == {4}
    assert {flip.tensor.split(".")[-1] for flip in flips} == {"gate_proj", "o_proj"}
    assert all((flip.group is None, flip.bit is None) == KINDS[granularity] for flip in flips)
    assert candidates == one_flip_each(decoder, space, 4 * LAYERS, seed=1)


KINDS = {"row": (True, True), "group": (False, True), "bit": (False, False)}
