"""The figures of the page about scale: fitted where something was measured, compared with what was not used to fit."""

import pytest
from benchmarks import forecast

STEPS = [{"step": name, "seconds": 1.0} for name in ("load", "baseline", "attribution", "measuring")]


def shape(threads):
    return {
        "shape": "tiny-hybrid",
        "threads": threads,
        "tokens": 174,
        "layers": [3, 3],
        "flips": ["model.layers.3.mlp.up_proj", "model.layers.3.mlp.down_proj"],
        "steps": STEPS,
    }


def test_shapes_of_big_are_computed_for_their_threads(monkeypatch):
    own = forecast.report
    big = {"threads": 2, "result": shape(2) | {"hybrid": shape(1)}}
    monkeypatch.setattr(forecast, "report", lambda name: big if name == "big" else own(name))
    found = [one for one in forecast.checks() if one.bench == "big"]
    assert [one.what for one in found[:3]] == [
        "tiny-hybrid, 174 tokens, 2 threads: baseline",
        "tiny-hybrid, 174 tokens, 2 threads: attribution and cached streams",
        "tiny-hybrid, 174 tokens, 2 threads: 2 flips in layers 3 to 3",
    ]
    for two, one in zip(found[:3], found[3:], strict=True):
        assert one.computed == pytest.approx(2 * two.computed)
        assert "1 thread:" in one.what


def test_a_gpu_is_what_its_data_sheet_says_in_part():
    packed, expanded = forecast.gpu(), forecast.gpu(packed=False)
    assert packed.flops == expanded.flops == 0.4 * 989e12
    assert packed.unpack == 3.35e12 / 9 and expanded.unpack == float("inf")
    assert packed.draw == forecast.cpu()[1].draw > 1e6


def test_a_search_is_quicker_on_more_devices_but_not_by_as_much():
    one, two = (forecast.search("tiny", devices) for devices in (1, 2))
    assert two.seconds < one.seconds < 2 * two.seconds
    assert one.evaluations == two.evaluations and one.units == two.units
    assert two.workers * two.seconds == pytest.approx(two.busy + two.waiting.total())
    free = forecast.search("tiny", 1, draw=1e30)
    assert free.seconds < one.seconds and free.kinds["drawing tokens"] < 1e-9


def test_the_parts_of_a_search_hold_all_probes():
    parts = forecast.contents(2, 24, 12, 4)
    assert [part.targets for part in parts] == [6, 6, 12]
    assert sum(part.probes for part in parts) == 40
    assert {len(one.ids) for part in parts for (one,) in part.encoded} == {31}
