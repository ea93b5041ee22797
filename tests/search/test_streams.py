"""Cached streams against those of a fresh build, and against the model's own forward."""

import pytest
import torch
from wide import CONTROLS, LAYERS, SHAPES, TARGETS, name

from bankai.evaluation.batches import prepare
from bankai.evaluation.scoring import answer_hidden
from bankai.model import flip, load
from bankai.model.decoder import Decoder
from bankai.patch import Flip
from bankai.search.streams import Sequences, Stream


@pytest.fixture(scope="module", params=[False, True], ids=["packed", "dense"])
def loaded(request, wide_gguf):
    return load(wide_gguf, dense=request.param)


@pytest.fixture(scope="module", params=[False, True], ids=["sequences", "trees"])
def batches(loaded, request):
    prepared = prepare(loaded[1], TARGETS + CONTROLS, batch_tokens=60)
    batches = (prepared if request.param else prepared.as_sequences()).batches
    assert len(batches) > 1 and all((batch.sight is not None) == request.param for batch in batches)
    return batches


def equal(one, other):
    pairs = [
        pair
        for streams in zip(one, other, strict=True)
        for kind in ("middle", "added")
        for pair in zip(*(getattr(stream, kind) for stream in streams), strict=True)
    ]
    return all(torch.equal(*pair) for pair in pairs)


def made(decoder, batches):
    return [Stream(decoder, batch) for batch in batches]


def refresh(streams, layer):
    for stream in streams:
        stream.refresh(layer)


@pytest.mark.parametrize("layer", range(LAYERS))
@pytest.mark.parametrize("path", SHAPES)
def test_refresh_follows_the_bits(loaded, batches, layer, path):
    decoder = Decoder(loaded[0])
    streams = made(decoder, batches)
    before = made(decoder, batches)
    flips = [Flip(name(layer, path), 3), Flip(name(layer, path), 5, 1), Flip(name(layer, path), 6, 0, 9)]
    flip(loaded[0], flips)
    assert equal(streams, before)  # nothing moves by itself
    refresh(streams, layer)
    fresh = made(decoder, batches)
    flip(loaded[0], flips)
    assert equal(streams, fresh) and not equal(streams, before)
    refresh(streams, layer)
    assert equal(streams, before)


def test_refresh_leaves_the_layers_before_alone(loaded, batches):
    streams = made(Decoder(loaded[0]), batches)
    kept = [id(tensor) for stream in streams for tensor in (*stream.middle[:2], *stream.added[:2])]
    refresh(streams, 2)
    assert [id(tensor) for stream in streams for tensor in (*stream.middle[:2], *stream.added[:2])] == kept
    refresh(streams, LAYERS)
    assert all(len(stream.middle) == len(stream.added) == LAYERS for stream in streams)


@torch.no_grad()
def test_streams_are_those_of_the_forward(loaded, batches):
    model = loaded[0]
    streams = made(Decoder(model), batches)
    for stream, batch in zip(streams, batches, strict=True):
        how = {}
        if batch.sight is not None:
            how = {"attention_mask": batch.sight[None, None], "position_ids": batch.sight.sum(1)[None] - 1}
        states = model(batch.ids, use_cache=False, output_hidden_states=True, **how).hidden_states
        assert all(torch.equal(stream.entering(layer), states[layer]) for layer in range(LAYERS))
        assert torch.equal(model.model.norm(stream.final()), answer_hidden(model, batch))
        assert (stream.sequences, stream.tokens) == (len(batch.ids), batch.ids.numel())


@torch.no_grad()
def test_read_takes_the_positions_of_interest(loaded, batches):
    stream = Stream(Decoder(loaded[0]), batches[0])
    places = list(zip(stream.rows.tolist(), stream.columns.tolist(), strict=True))
    hidden = torch.randn(2, *stream.entering(0).shape)
    found = stream.read(hidden)
    assert found.shape == (2, len(places), 256)
    for at, (row, column) in enumerate(places):
        assert torch.equal(found[:, at], hidden[:, row, column])


@torch.no_grad()
def test_answers_of_a_tree_are_what_they_are_as_sequences(loaded):
    """Float32 sums in another order: 1e-4, as for candidates in test_batched."""
    decoder = Decoder(loaded[0])
    prepared = prepare(loaded[1], TARGETS + CONTROLS)
    (tree,) = prepared.batches
    assert tree.sight is not None
    stream, chosen = Stream(decoder, tree), tree.answers()[1::2]
    some, alone = Sequences(stream, chosen), Stream(decoder, tree.sequences(chosen)[0])
    assert torch.equal(some.batch.ids, alone.batch.ids) and some.sequences == len(chosen)
    length = torch.zeros(len(chosen), dtype=torch.long).scatter_reduce(0, some.rows, some.columns, "amax") + 1
    for layer in range(LAYERS + 1):
        found, expected = some.entering(layer), alone.entering(layer)
        for row, count in enumerate(length.tolist()):
            torch.testing.assert_close(found[row, :count], expected[row, :count], atol=1e-4, rtol=0)
    read = stream.targets[torch.isin(tree.owners, chosen)]
    assert torch.equal(some.targets, read)
