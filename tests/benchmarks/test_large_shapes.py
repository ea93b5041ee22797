"""The benches of large shapes, on a tiny one: every step is reported, and verdicts follow the bars."""

import pytest
import torch
from benchmarks import accelerator, big, expansion, llama, swap

from bankai.checkpoint.synth import synthesize
from bankai.model import load
from bankai.model.matrices import expand
from bankai.probes.encode import encode


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return synthesize(tmp_path_factory.mktemp("shapes") / "tiny.gguf", "tiny")


def test_probes_have_about_the_length_that_is_said(tiny):
    tokenizer = load(tiny)[1]
    searched = big.probes(tokenizer)
    assert (len(searched.targets), len(searched.controls)) == (big.TARGETS, big.CONTROLS)
    lengths = [len(encode(probe, tokenizer)[0].ids) for probe in (*searched.targets, *searched.controls)]
    assert all(abs(length - big.TOKENS) <= 4 for length in lengths)


def test_big_reports_every_step_of_a_process_for_each_shape():
    result = big.run(quick=True)
    found = [result, result["hybrid"]]
    assert [one["shape"] for one in found] == ["tiny", "tiny-hybrid"]
    for one, layers in zip(found, (2, 4), strict=True):
        steps = one["steps"]
        assert [step["step"] for step in steps] == ["load", "baseline", "attribution", "measuring"]
        peaks = [step["peak_gb"] for step in steps]
        assert peaks == sorted(peaks)
        assert one["peak_gb"] >= peaks[-1] > 0.05  # python with torch
        last = layers - 1
        assert (one["places"], one["ranked"]) == (layers * (2 * 512 + 256), big.TOP)
        assert one["layers"] == [last, last]
        assert len(one["fitness"]) == big.CANDIDATES
    text = big.table(result)
    assert f"{result['peak_gb']:.2f} GB meets the bar of 6 GB." in text
    assert f"The peak is {result['hybrid']['peak_gb']:.2f} GB; there is no bar for it." in text
    assert f"Threads: {result['hybrid']['threads']}." in text
    assert text.count("| load, packed |") == 2 and "attribution over 5,120 rows" in text
    over = result | {"peak_gb": 6.01, "hybrid": result["hybrid"] | {"peak_gb": 7.0}}
    assert "6.01 GB misses the bar" in big.table(over) and big.table(over).count("misses") == 1


def test_a_given_model_is_used(monkeypatch, tmp_path):
    monkeypatch.setenv(big.PATH, str(tmp_path / "given.gguf"))
    assert big.synthetic("bonsai-8b", tmp_path) == tmp_path / "given.gguf"
    assert big.synthetic("tiny", tmp_path) == tmp_path / "tiny.gguf"
    assert (tmp_path / "tiny.gguf").stat().st_size > 10_000


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_shifts_give_the_weights_of_the_table(dtype):
    signs = torch.randint(0, 256, (5, 3, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    scales = torch.tensor([[0.0, 0.01, 3.0]] * 5).half()
    assert torch.equal(expansion.shifted(signs, scales, dtype), expand(signs, scales, dtype))


@pytest.mark.engines
def test_the_accelerator_bench_runs_on_the_cpu():
    """Among the engines since torch.compile needs a C++ compiler."""
    result = accelerator.run(quick=True, device="cpu", shape="tiny", dtype="bfloat16")
    assert (result["device"], result["probes"], result["tokens"]) == ("cpu", 3, 90)
    for side in (result["packed"], result["dense"]):
        assert list(side["batched"]) == ["all layers", "layer 0", "layer 1"]
        assert side["peak_gb"] is None
        assert side["search"]["evaluations"] >= 10 and side["search"]["seconds"] > 0
    assert result["expansion"]["same"] and (result["expansion"]["rows"], result["expansion"]["columns"]) == (
        512,
        256,
    )
    assert result["agreement"]["per_probe"] > 0.5
    text = accelerator.table(result)
    assert "| peak, GB | not counted | not counted |" in text
    assert text.count("times the plain loop") == 2


def test_the_accelerator_verdict_follows_its_aims():
    side = {
        "batched": {"layer 0": {"median": 0.08}, "all layers": {"median": 0.05}},
        "plain": {"median": 0.5},
        "search": {"seconds": 60.0},
    }
    assert "within 0.08 s; 10.0 times" in (text := accelerator._verdict("packed", side))
    assert "reaches 10; a whole search in 60.0 s, within 60 s" in text
    side["batched"]["all layers"]["median"], side["search"]["seconds"] = 0.06, 60.2
    assert "misses 10; a whole search in 60.2 s, over 60 s" in accelerator._verdict("packed", side)


@pytest.fixture(scope="module")
def swapped():
    return swap.run(quick=True)


def test_swap_measures_every_place(swapped):
    assert set(swapped["places"]) == set(swap.PLACES)
    for one in swapped["places"].values():
        assert 0 < one["xor"]["median"] < one["volatile"]["median"] < one["first"]
        assert one["bytes"] > swapped["flips"] * 16
    assert swapped["durable"]["median"] < swapped["cold"]["median"]
    assert swapped["peft"]["adapter_bytes"] > 0 and swapped["peft"]["load"] > 0


def test_swap_tells_what_is_missed(swapped):
    slow = {name: dict(one) for name, one in swapped["places"].items()}
    slow["attention"]["xor"] = dict.fromkeys(("median", "low", "high"), 101e-6)
    told = swap.table(swapped | {"places": slow})
    assert "XOR in the map, the slowest places: 101 µs, bar at most 100 µs: **missed**" in told
    assert told.count("bar at most") == 4


@pytest.mark.engines
def test_llama_compares_base_and_patched():
    result = llama.run(quick=True)
    assert set(result["speed"]) == {"base", "patched"} and result["flips"] == 93
    speed = dict.fromkeys(("median", "low", "high"), 100.0)
    even = {name: dict.fromkeys(("prompt", "generation"), speed) for name in ("base", "patched")}
    assert "Ratios between 0.97 and 1.03: met." in llama.table(result | {"speed": even})
    slower = even | {"patched": dict.fromkeys(("prompt", "generation"), dict.fromkeys(speed, 96.0))}
    assert "**missed**" in llama.table(result | {"speed": slower})
