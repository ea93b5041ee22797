"""The points of the cost model: every step is timed once more than it is counted, and the table names them all."""

from benchmarks import scale


def test_probes_have_the_length_that_is_said():
    probes = scale.encoded(3, 32, 4)
    assert [(len(one.ids), len(one.answer)) for (one,) in probes] == [(33, 4)] * 3


def test_every_step_is_measured():
    result = scale.run(quick=True)
    assert [one["tokens"] for one in result["forwards"]] == [32, 128, 512]
    assert [one["layer"] for one in result["layers"]] == [0, 1]
    steps = [*(one["seconds"] for one in (*result["forwards"], *result["layers"])), result["attribution"]]
    steps += [result["refresh"], result["draw"]["seconds"], result["digest"]]
    assert all(0 < one["low"] <= one["median"] <= one["high"] for one in steps)
    assert result["forwards"][2]["seconds"]["low"] > result["forwards"][0]["seconds"]["low"]
    text = scale.table(result)
    assert text.count("\n| ") == 1 + 1 + 3 + 2 + 4
    assert "exact measurement of a flip in layer 1, 128 tokens" in text
