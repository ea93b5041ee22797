"""Impact: its arithmetic, the two orders of rows, and ratios of known values."""

import pytest

from bankai.experiments.impact_map import EXPERIMENT, impact, paired, row_orders
from bankai.model import patched
from bankai.model.decoder import Decoder
from bankai.patch import Patch
from bankai.probes import load_probe_set
from bankai.search.space import row_scales


def test_impact_is_the_mean_absolute_change() -> None:
    assert impact([1, 2, 3], [2, 2, 0]) == pytest.approx(4 / 3)


def test_rows_by_gradient_are_those_that_change_the_gaps(context) -> None:
    probes = paired([probe for probe in load_probe_set("elicitable").split("target") if probe.distractor][:6])
    assert [probe.answers for probe in probes[6:]] == [(probe.distractor,) for probe in probes[:6]]
    decoder = Decoder(context.bench.model)
    orders = row_orders(context, decoder, 2, probes)
    scales = {tensor: row_scales(decoder, tensor) for tensor in {flip.tensor for flip in orders["scale"]}}
    by_scale = [scales[flip.tensor][flip.row] for flip in orders["scale"]]
    assert by_scale == sorted(by_scale, reverse=True) and len(by_scale) == 1024

    def gaps() -> list[float]:
        scores = [found.score for found in context.score(probes)]
        return [right - wrong for right, wrong in zip(scores[:6], scores[6:], strict=True)]

    def effect(flip) -> float:
        with patched(context.bench.model, Patch(frozenset([flip])), unbound=True):
            return impact(base, gaps())

    base, order = gaps(), orders["gradient"]
    assert min(map(effect, order[:4])) > 3 * max(map(effect, order[500:504]))


def test_claims_of_known_values() -> None:
    def layers(*values: float) -> list[dict[str, float]]:
        return [{"all": value} for value in values]

    rows = {
        str(layer): {"counts": [8], "scale": [4.0], "gradient": [6.0], "random": [2.0]} for layer in range(3)
    }
    rows["1"]["scale"] = [5.0]
    found = EXPERIMENT.claims(
        {"seeds": [{"layers": layers(1, 6, 3), "rows": rows}, {"layers": layers(2, 2, 4), "rows": rows}]}
    )
    assert [claim.value for claim in found] == pytest.approx([(6 + 2) / 2, (2 + 0.5) / 2, 2.5])
