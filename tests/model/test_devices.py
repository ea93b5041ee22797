"""Model, patches and a search on an accelerator as on the CPU. Each runs where its device exists and says so where not;
on the CPU itself they show that the comparison is sound.
"""

import pytest
import torch
from wide import CONTROLS, LAYERS, TARGETS, TEXTS, name

from bankai.model import ModelMatrices, load, patched
from bankai.model.decoder import Decoder
from bankai.patch import Flip, Patch
from bankai.patch.binding import bind, digest
from bankai.search import Problem, SearchProbes, SearchSettings, Space

# Of logits and log-probabilities of order 1, summed in another order; nothing is computed below float32 here.
TOLERANCE = 1e-3
THERE = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
PLACES = {"up_proj": (), "down_proj": (1,), "q_proj": (0, 77)}
FLIPS = [Flip(name(layer, path), 7, *place) for layer in range(LAYERS) for path, place in PLACES.items()]


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(device, marks=pytest.mark.skipif(not there, reason=f"this machine has no {device}"))
        for device, there in THERE.items()
    ],
)
def device(request):
    return request.param


@pytest.fixture(params=["wide_gguf", "hybrid_gguf"])
def gguf(request):
    return request.getfixturevalue(request.param)


@torch.no_grad()
def logits(model):
    ids = torch.randint(297, (3, 40), generator=torch.Generator().manual_seed(0))
    return model(ids.to(model.device), use_cache=False).logits.cpu()


@pytest.mark.parametrize("dense", [False, True], ids=["packed", "dense"])
def test_logits_are_those_of_the_cpu(device, gguf, dense):
    model = load(gguf, dense=dense, device=device)[0]
    assert model.device.type == device
    torch.testing.assert_close(logits(model), logits(load(gguf)[0]), atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("dense", [False, True], ids=["packed", "dense"])
def test_a_patch_goes_on_and_comes_off_bit_by_bit(device, wide_gguf, dense):
    model, tensors = load(wide_gguf, dense=dense, device=device)[0], ModelMatrices(load(wide_gguf)[0])
    here = ModelMatrices(model)
    patch, before, base = bind(Patch.of(FLIPS), tensors), digest(here, FLIPS), logits(model)
    assert before == digest(tensors, FLIPS)
    with patched(model, patch):
        assert digest(here, FLIPS) != before
        assert not torch.equal(logits(model), base)
    assert digest(here, FLIPS) == before and torch.equal(logits(model), base)


def test_ranks_and_exact_effects_are_those_of_the_cpu(device, gguf):
    probes = SearchProbes(TARGETS, CONTROLS, texts=TEXTS)
    settings = SearchSettings(space=Space())
    found = []
    for where in ("cpu", device):
        model, tokenizer = load(gguf, device=where)
        with Problem(model, tokenizer, probes, settings) as problem:
            candidates = [
                frozenset([Flip(f"model.layers.{layer}.mlp.{path}", 3)])
                for layer in range(Decoder(model).layers)
                for path in ("gate_proj", "up_proj", "down_proj")
            ]
            found.append((problem.measure(candidates), {place.flip for place in problem.rank(32)}))
    (exact, best), (effects, chosen) = found
    assert max(abs(one - other) for one, other in zip(exact, effects, strict=True)) < TOLERANCE
    assert len(best & chosen) >= 30  # places of equal estimates may change at the end
