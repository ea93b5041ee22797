"""What a patch costs: shares and sizes against counts of their own."""

import pytest

from bankai.checkpoint.synth import SHAPES
from bankai.experiments import cost
from bankai.experiments.context import Context
from bankai.experiments.verdicts import verdict


def test_published_share() -> None:
    shape = SHAPES["bonsai-8b"]
    assert cost.mlp_bits(shape) == 36 * 3 * 4096 * 12288
    patch = cost.published_patch(shape, 7)
    assert len(patch) == 93 and patch == cost.published_patch(shape, 7) != cost.published_patch(shape, 8)
    assert all(flip.group is None and flip.row < 12288 for flip in patch.flips)


def test_a_run(context: Context) -> None:
    result = cost.EXPERIMENT.run(context)
    (seed,) = result["seeds"]
    flips = context.usual_search(0).flips
    shapes = {"gate_proj": (512, 256), "up_proj": (512, 256), "down_proj": (256, 512)}
    bits = sum(shapes[flip.tensor.split(".")[-1]][1] for flip in flips)
    assert result["weights"] == 4 * 3 * 256 * 512 and seed["share"] == pytest.approx(bits / result["weights"])
    assert seed["flips"] == len(flips) and result["published_share"] == pytest.approx(7.0e-5, rel=0.01)
    assert result["patches"] == 20 and result["library_bytes"] > 20 * 93
    (table,) = cost.EXPERIMENT.tables(result)
    assert all(len(row) == len(table.columns) for row in table.rows)


def test_claims() -> None:
    seed = {"share": 0.00005, "seconds": 12.0}
    result = {"seeds": [seed, seed], "published_share": 7e-5, "patches": 500, "library_bytes": 700_000}
    share, thousand, search = cost.EXPERIMENT.claims(result)
    assert share.value == pytest.approx(0.005) and verdict(share) == "replicates"
    assert thousand.value == pytest.approx(1.4) and verdict(thousand) == "does not"
    assert verdict(search) == "cannot tell" and "not run" in search.ours
