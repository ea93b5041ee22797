"""Random bits: drawn as they should be, and perplexity changes as much as they say."""

from random import Random

import pytest

from bankai.experiments.random_flips import EXPERIMENT, PUBLISHED_SHARE, draw_bits, matched_count, strategies
from bankai.model.decoder import Decoder
from bankai.patch import Flip
from bankai.quantization import MatrixInfo
from bankai.quantization.one_bit import Q1_0


def test_bits_are_different_and_within_their_rows() -> None:
    rows = [("a", 3, MatrixInfo(Q1_0, (4, 256))), ("b", 0, MatrixInfo(Q1_0, (1, 128)))]
    drawn = draw_bits(rows, 384, Random(0))
    assert drawn == {Flip("a", 3, bit // 128, bit % 128) for bit in range(256)} | {
        Flip("b", 0, 0, bit) for bit in range(128)
    }
    assert len(draw_bits(rows, 100, Random(1))) == 100


def test_the_same_share_as_published() -> None:
    assert 0.000091 < PUBLISHED_SHARE < 0.000093
    assert matched_count(36 * 3 * 4096 * 12288) == 500_000 and matched_count(1) == 1


def test_strategies_of_nano(context) -> None:
    decoder = Decoder(context.bench.model)
    found = strategies(decoder)
    assert len(found["all layers"]) == 4 * (512 + 512 + 256)
    assert {row[0].split(".")[2] for row in found["middle layers"]} == {"1", "2"}
    scales = {tensor: decoder.matrix(tensor).magnitudes() for tensor, _, _ in found["all layers"]}
    low, high = (
        [scales[tensor][row] for tensor, row, _ in found[name]]
        for name in ("middle scale", "top-quarter scale")
    )
    assert len(low) == 2 * len(high) == 2560 and max(low) <= min(high)


def test_a_run_and_its_claim(context) -> None:
    result = EXPERIMENT.run(context)
    assert result["matched"] == 145 and {one["count"] for one in result["measured"]} == {145, 1000}
    assert len(result["measured"]) == 4 * 2 and any(one["change"] != 0 for one in result["measured"])
    (table,), (plot,) = EXPERIMENT.tables(result), EXPERIMENT.plots(result)
    assert len(table.rows) == len(plot.series) == 4


def test_the_claim_is_about_the_worst_strategy() -> None:
    measured = [
        {"strategy": name, "count": 5, "seed": seed, "change": change}
        for name, changes in {"a": (0.001, 0.002), "b": (-0.004, -0.006)}.items()
        for seed, change in enumerate(changes)
    ]
    (claim,) = EXPERIMENT.claims({"bits": 100, "matched": 5, "measured": measured})
    assert claim.value == pytest.approx(-0.005) and "b" in claim.ours
    half = 12.706 * 0.001  # t(1) times the standard error of two values 0.002 apart
    assert claim.interval == pytest.approx((-0.005 - half, -0.005 + half))
