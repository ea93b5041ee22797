"""Impact and rows: their arithmetic, the two orders of rows, and ratios of known values."""

import pytest

from bankai.experiments import impact_map, rows
from bankai.experiments.gaps import Gaps, impact, paired
from bankai.model.decoder import Decoder
from bankai.probes import load_probe_set


def test_impact_is_the_mean_absolute_change() -> None:
    assert impact([1, 2, 3], [2, 2, 0]) == pytest.approx(4 / 3)


def test_rows_by_gradient_are_those_that_change_the_gaps(context) -> None:
    probes = [probe for probe in load_probe_set("elicitable").split("target") if probe.distractor][:6]
    pairs, decoder = paired(probes), Decoder(context.bench.model)
    assert [probe.answers for probe in pairs[6:]] == [(probe.distractor,) for probe in probes]
    orders = rows.orders(context, decoder, 2, pairs)
    scales = {
        tensor: decoder.matrix(tensor).magnitudes() for tensor in {flip.tensor for flip in orders["scale"]}
    }
    by_scale = [scales[flip.tensor][flip.row] for flip in orders["scale"]]
    assert by_scale == sorted(by_scale, reverse=True) and len(by_scale) == 1024
    gaps, order = Gaps(context, probes), orders["gradient"]

    def effect(flip) -> float:
        return gaps.impact([flip])

    assert min(map(effect, order[:4])) > 3 * max(map(effect, order[500:504]))
    assert gaps() == gaps.base and gaps.impact([]) == 0


def test_claims_of_layers() -> None:
    def layers(*values: float) -> list[dict[str, float]]:
        return [{"all": value} for value in values]

    seeds = [
        {"broad": layers(1, 6, 3), "calculus": layers(4, 2, 1)},
        {"broad": layers(2, 2, 4), "calculus": layers(1, 3, 1)},
    ]
    found = impact_map.EXPERIMENT.claims({"seeds": seeds})
    assert [claim.value for claim in found] == pytest.approx([(6 + 2) / 2, (2 + 0.5) / 2, (0.5 + 3) / 2])


def test_claims_of_rows() -> None:
    layers = {
        str(layer): {"scale": [9.0, 4.0], "gradient": [9.0, 6.0], "random": [1.0, 2.0]} for layer in range(3)
    }
    layers["1"]["scale"] = [9.0, 5.0]
    seed = {"layers": layers}
    scale, gradient = rows.EXPERIMENT.claims({"counts": [1, 8], "last_but_one": "1", "seeds": [seed, seed]})
    assert scale.value == 2.5 and gradient.value == 3 and scale.what.startswith("8 rows")
    some = {"counts": [8], "last_but_one": "1", "seeds": [{"layers": {"0": layers["0"], "2": layers["2"]}}]}
    assert rows.EXPERIMENT.claims(some)[0].value == 2  # the last that was looked into
