"""The bench of the engine: its rivals measure what they say, and its report adds up."""

import pytest
import torch
from benchmarks import engine
from benchmarks.draw import small

from bankai.evaluation.scoring import score_probes
from bankai.model import flip, load
from bankai.model.decoder import Decoder
from bankai.patch import Flip
from bankai.probes.encode import encode
from bankai.search.parts import Part

CANDIDATE = frozenset([Flip("model.layers.1.mlp.up_proj", 7), Flip("model.layers.0.mlp.down_proj", 3)])


@pytest.fixture(scope="module")
def nano():
    return load("nano", dense=True)


@pytest.fixture(scope="module")
def probes():
    searched = small(0, targets=5, controls=8).searched
    return (*searched.targets, *searched.controls)


def test_the_published_way_scores_the_same_answers(nano, probes):
    model, tokenizer = nano
    single = [probe for probe in probes if len(probe.answers) == 1]
    assert len(single) > 5
    published = engine.Published(model, tokenizer, single)
    expected = [one.score for one in score_probes(model, tokenizer, single)]
    assert published.answers().tolist() == pytest.approx(expected, abs=1e-4)
    assert len(published()) == len(single)


def test_the_published_way_subtracts_the_distractor(nano, probes):
    model, tokenizer = nano
    with_one = next(probe for probe in probes if probe.distractor)
    published = engine.Published(model, tokenizer, [with_one])
    wrong = type(with_one)(**{**as_fields(with_one), "answers": (with_one.distractor,), "distractor": None})
    right, other = (score_probes(model, tokenizer, [one])[0].score for one in (with_one, wrong))
    assert published().tolist() == pytest.approx([right - other], abs=1e-4)


def as_fields(probe):
    return {name: getattr(probe, name) for name in probe.__struct_fields__}


def test_the_plain_loop_flips_and_flips_back(nano, probes):
    model, tokenizer = nano
    part = Part(Decoder(model), [encode(probe, tokenizer) for probe in probes], [], [])
    base = torch.tensor([one.score for one in score_probes(model, tokenizer, probes)])
    flip(model, CANDIDATE)
    flipped = torch.tensor([one.score for one in score_probes(model, tokenizer, probes)])
    flip(model, CANDIDATE)
    scores = engine.plainly(model, part, [CANDIDATE, frozenset()])
    assert not torch.allclose(base, flipped, atol=1e-3)
    torch.testing.assert_close(scores, torch.stack([flipped, base]), atol=1e-4, rtol=0)


def test_the_report_adds_up():
    result = engine.run(quick=True)
    assert (result["targets"], result["controls"], result["candidates"]) == (4, 4, 8)
    assert result["tokens_published"] > result["tokens"]
    main = result["main"]
    for name in engine.BARS:
        rates = main["per_second"]
        assert main["ratio"][name]["median"] == rates["batched"]["median"] / rates[name]["median"]
        assert main["ratio_half"][name]["median"] == rates["batched_half"]["median"] / rates[name]["median"]
    names = [case["name"] for case in result["cases"]]
    assert [f"MLP rows of layer {layer}" for layer in range(4)] == names[:4]
    assert names[4:] == ["attention rows", "MLP groups", "attention groups", "MLP bits"]
    # Float32 sums in another order, over scores of some ten nats.
    assert max(main["largest_difference"], *(case["largest_difference"] for case in result["cases"])) < 1e-3
    text = engine.table(result)
    assert all(f"| {name} |" in text for name in ("the plain loop", "the published way", *names))


@pytest.mark.parametrize(("ratio", "word"), [(2.0, "meets"), (1.99, "misses")])
def test_the_verdict_follows_the_bar(ratio, word):
    assert engine._verdict("plain", ratio) == f"{ratio:.2f} times the plain loop {word} the bar of 2."
