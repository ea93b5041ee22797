"""Rows flipped by amounts: at the ends they are flips, and the slope is what a little more of each would do."""

from pathlib import Path

import msgspec
import pytest
import torch
from wide import CONTROLS, TARGETS, TEXTS

from bankai.architectures import PROJECTIONS
from bankai.errors import PlaceError
from bankai.evaluation.batches import prepare
from bankai.evaluation.scoring import score_tensors
from bankai.model import flip, load
from bankai.model.decoder import Decoder
from bankai.patch import Kind
from bankai.search import Problem, SearchProbes, SearchSettings, Space, State, Trained, run_search
from bankai.search.relaxation import Relaxation, flipped_by
from bankai.search.training import TrainingFitness

TOLERANCE = 1e-4  # nats: a mixed activation is silu(g) - g, a flipped gate silu(-g), which differ by rounding


def everywhere(decoder: Decoder, granularity: Kind = "row") -> Space:
    known = {path for layer in range(decoder.layers) for path in decoder.projections(layer)}
    return Space(
        projections=tuple(name for name, path in PROJECTIONS.items() if path in known),
        granularity=granularity,
    )


@pytest.fixture(params=["tiny_gguf", "hybrid_gguf"])
def loaded(request):
    return load(request.getfixturevalue(request.param), dense=True)


@pytest.mark.parametrize("granularity", ["row", "group"])
@torch.no_grad()
def test_whole_amounts_are_flips(loaded, granularity: Kind) -> None:
    model, tokenizer = loaded
    decoder = Decoder(model)
    relaxation, prepared = Relaxation(decoder, everywhere(decoder, granularity)), prepare(tokenizer, TARGETS)
    base, _ = score_tensors(model, prepared)
    generator = torch.Generator().manual_seed(5)
    chosen = torch.randperm(len(relaxation.amounts), generator=generator)[:200]
    relaxation.amounts[chosen] = 1.0
    with flipped_by(decoder, relaxation.by_tensor(relaxation.amounts)):
        found, _ = score_tensors(model, prepared)
    flips = relaxation.largest(1000)
    assert len(flips) == 200 and len({flip.tensor for flip in flips}) > 5
    assert {flip.kind for flip in flips} == {granularity}
    places = {some.shape[1] for some in relaxation.by_tensor(relaxation.amounts).values()}
    assert (max(places) > 1) == (granularity == "group")
    flip(model, flips)
    flipped, _ = score_tensors(model, prepared)
    flip(model, flips)
    again, _ = score_tensors(model, prepared)
    assert (flipped - base).abs().max() > 0.1
    torch.testing.assert_close(found, flipped, atol=TOLERANCE, rtol=0)
    assert torch.equal(again, base)


@pytest.mark.parametrize("granularity", ["row", "group"])
def test_the_slope_is_that_of_the_loss(loaded, granularity: Kind) -> None:
    model, tokenizer = loaded
    model.double()
    decoder = Decoder(model)
    relaxation = Relaxation(decoder, everywhere(decoder, granularity))
    prepared = prepare(tokenizer, TARGETS[:3])
    generator = torch.Generator().manual_seed(5)
    relaxation.amounts = torch.rand(len(relaxation.amounts), generator=generator) / 10

    def loss() -> torch.Tensor:
        return -score_tensors(model, prepared)[0].mean()

    value, slope = relaxation.slope(loss)
    direction = torch.randn(len(slope), generator=generator)
    direction /= direction.norm()
    relaxation.amounts += 1e-2 * direction
    more, _ = relaxation.slope(loss)
    relaxation.amounts -= 2e-2 * direction
    less, _ = relaxation.slope(loss)
    assert (more - less) / 2e-2 == pytest.approx(float(slope @ direction), rel=0.05, abs=1e-4)
    assert min(more, less) != value
    model.float()


def test_the_largest_come_first_and_none_of_nothing(loaded) -> None:
    decoder = Decoder(loaded[0])
    relaxation = Relaxation(decoder, everywhere(decoder))
    assert relaxation.largest(5) == []
    tensors = list(relaxation.by_tensor(relaxation.amounts))
    values = {name: torch.zeros_like(some) for name, some in relaxation.by_tensor(relaxation.amounts).items()}
    values[tensors[0]][3, 0], values[tensors[-1]][7, 0], values[tensors[1]][0, 0] = 0.5, 0.9, 0.7
    relaxation.amounts = relaxation.joined(values)
    found = [(one.tensor, one.row) for one in relaxation.largest(5)]
    assert found == [(tensors[-1], 7), (tensors[1], 0), (tensors[0], 3)]
    assert [(one.tensor, one.row) for one in relaxation.largest(2)] == found[:2]
    assert torch.equal(relaxation.joined({}), torch.zeros(len(relaxation.amounts)))


def test_a_step_reads_the_same_whenever_it_is_made(tiny_gguf: Path) -> None:
    model, tokenizer = load(tiny_gguf, dense=True)
    probes = SearchProbes(tuple(TARGETS), tuple(CONTROLS), texts=tuple(TEXTS))
    first, second = (TrainingFitness(model, tokenizer, probes, seed=4) for _ in range(2))
    decoder = Decoder(model)
    (tensor,) = [*Space(projections=("up_proj",), layers=(0,)).tensors(decoder)]
    amounts = {tensor: torch.linspace(0, 1, decoder.matrix(tensor).info.rows)[:, None]}
    with torch.no_grad(), flipped_by(decoder, amounts):
        forwards = [float(first.loss(step)) for step in (1, 2, 3)]
        backwards = [float(second.loss(step)) for step in (3, 2, 1)]
    assert forwards == backwards[::-1]


def test_training_goes_on_as_if_it_had_never_stopped(tiny_gguf: Path) -> None:
    model, tokenizer = load(tiny_gguf, dense=True)
    probes = SearchProbes(tuple(TARGETS), tuple(CONTROLS), texts=tuple(TEXTS))
    settings = SearchSettings(strategy="relaxed", budget=150, flips=8, drift=0.1)
    *_, whole = run_search(model, tokenizer, probes, settings)
    state, rounds = State(), 0
    for event in run_search(model, tokenizer, probes, settings, state=state):
        rounds += isinstance(event, Trained)
        if rounds == 2:
            break
    assert state.training is not None and state.training.steps == 10
    saved = msgspec.json.decode(msgspec.json.encode(state), type=State)
    *_, resumed = run_search(model, tokenizer, probes, settings, state=saved)
    assert resumed.flips and (resumed.flips, resumed.fitness) == (whole.flips, whole.fitness)


def test_no_more_flips_than_asked_for_are_put_on(tiny_gguf: Path) -> None:
    model, tokenizer = load(tiny_gguf, dense=True)
    probes = SearchProbes(tuple(TARGETS), tuple(CONTROLS))
    settings = SearchSettings(strategy="relaxed", budget=100, flips=4)
    with Problem(model, tokenizer, probes, settings) as problem:
        assert problem.most == 4
    *events, finished = run_search(model, tokenizer, probes, settings)
    trained = [one for one in events if isinstance(one, Trained)]
    assert trained and all(one.sure <= one.flips <= 8 for one in trained)  # a sum of 4, each above a half
    assert 0 < len(finished.flips) <= 4


def test_relaxed_search_is_not_of_single_weights() -> None:
    with pytest.raises(PlaceError, match="rows"):
        SearchSettings(strategy="relaxed", space=Space(granularity="bit"))
