"""The bench of serving with llama.cpp: a quick run adds up, and its table judges by the bars."""

import pytest
from benchmarks import serve_llama

pytestmark = pytest.mark.engines


@pytest.fixture(scope="module")
def result():
    return serve_llama.run(quick=True)


def test_the_report_adds_up(result) -> None:
    assert (result["shape"], result["flips"], result["rounds"]) == ("tiny", 93, 2)
    assert set(result["swap"]) == {"first", "on", "off", "patch to patch"}
    assert all(found["low"] > 0 for found in result["swap"].values())
    for found in (*result["requests"]["base"].values(), *result["together"].values()):
        assert 0 < found["low"] <= found["median"] <= found["high"]
    text = serve_llama.table(result)
    assert all(f"| {name} |" in text for name in ("patch to patch", "prompt", "a patch each"))


@pytest.mark.parametrize(("swap", "speed", "word"), [(1e-3, 1.03, "met"), (1.1e-3, 1.04, "**missed**")])
def test_the_verdicts_follow_the_bars(result, swap, speed, word) -> None:
    even = {"median": 1.0, "low": 1.0, "high": 1.0}
    found = {
        **result,
        "swap": {name: even | {"median": swap} for name in result["swap"]},
        "requests": result["requests"]
        | {"ratio": dict.fromkeys(("prompt", "generation"), even | {"median": speed})},
    }
    text = serve_llama.table(found)
    assert f"bar at most 1 ms: {word}." in text
    assert f"Ratios between 0.97 and 1.03: {word}." in text
