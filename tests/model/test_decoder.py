"""The pieces of a decoder in a row against the model's own forward, bit for bit."""

import builders
import pytest
import torch
from wide import LAYERS, SHAPES, WIDE, name

from bankai.architectures.base import ATTENTION, MLP
from bankai.model import Linear, load
from bankai.model.decoder import Decoder

YARN = {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 4096}
VARIANTS = {"untied": {}, "tied": {"tie_word_embeddings": True}, "yarn": {"rope_parameters": YARN}}
LENGTHS = (1, 2, 17, 64)


@pytest.fixture(scope="module", params=[(v, d) for v in VARIANTS for d in (False, True)], ids=str)
def model(request, tmp_path_factory):
    variant, dense = request.param
    path = tmp_path_factory.mktemp(variant) / "model.gguf"
    return load(builders.build_tiny_gguf(path, seed=8, **WIDE | VARIANTS[variant]), dense=dense)[0]


def tokens(sequences, length):
    return torch.randint(297, (sequences, length), generator=torch.Generator().manual_seed(length))


def residual(decoder, ids):
    """The pieces in a row, up to the head."""
    hidden = decoder.embed(ids)
    positions = decoder.positions(hidden)
    for layer in range(decoder.layers):
        middle = decoder.attend(layer, hidden, positions)
        hidden = middle + decoder.transform(layer, middle)
    return hidden


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("sequences", [1, 5])
@torch.no_grad()
def test_pieces_in_a_row_are_the_forward(model, sequences, length):
    decoder, ids = Decoder(model), tokens(sequences, length)
    hidden = residual(decoder, ids)
    assert torch.equal(decoder.logits(hidden), model(ids, use_cache=False).logits)
    normed = model.model(ids, use_cache=False).last_hidden_state
    assert torch.equal(decoder.logits(hidden[:, -1]), model.lm_head(normed[:, -1].contiguous()))
    rows, columns = torch.arange(sequences), torch.arange(sequences) % length
    assert torch.equal(decoder.logits(hidden[rows, columns]), model.lm_head(normed[rows, columns]))


@torch.no_grad()
def test_every_piece_is_that_of_the_forward(model):
    decoder, ids = Decoder(model), tokens(2, 9)
    # After the last layer transformers reports the normed state, so that one is left to the test above.
    states = model(ids, use_cache=False, output_hidden_states=True).hidden_states[:-1]
    hidden = decoder.embed(ids)
    positions = decoder.positions(hidden)
    assert len(states) == decoder.layers
    for layer, state in enumerate(states):
        assert torch.equal(hidden, state)
        middle = decoder.attend(layer, hidden, positions)
        assert torch.equal(
            decoder.transform(layer, middle), model.model.layers[layer].mlp(decoder.normed(layer, middle))
        )
        hidden = middle + decoder.transform(layer, middle)


@torch.no_grad()
def test_right_padding_reaches_no_token(model):
    decoder, lengths = Decoder(model), (3, 20, 11)
    ids = tokens(3, 20)
    for row, length in enumerate(lengths):
        ids[row, length:] = 0
    mask = torch.tensor([[column < length for column in range(20)] for length in lengths]).long()
    found = decoder.logits(residual(decoder, ids))
    masked = model(ids, attention_mask=mask, use_cache=False).logits
    other = ids.clone()
    other[mask == 0] = 250
    assert torch.equal(decoder.logits(residual(decoder, other))[mask == 1], found[mask == 1])
    # Attention with an explicit mask, and products of other shapes, sum in another order.
    torch.testing.assert_close(found[mask == 1], masked[mask == 1], atol=1e-4, rtol=1e-4)
    for row, length in enumerate(lengths):
        alone = model(ids[row : row + 1, :length], use_cache=False).logits[0]
        torch.testing.assert_close(found[row, :length], alone, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_mlp_and_head_work_position_by_position(model):
    decoder = Decoder(model)
    hidden = residual(decoder, tokens(2, 9))
    some = hidden[[0, 1, 1], [4, 0, 8]]
    whole = hidden + decoder.transform(1, hidden)
    torch.testing.assert_close(
        some + decoder.transform(1, some), whole[[0, 1, 1], [4, 0, 8]], atol=1e-5, rtol=1e-5
    )
    torch.testing.assert_close(
        decoder.logits(some), decoder.logits(hidden)[[0, 1, 1], [4, 0, 8]], atol=1e-5, rtol=1e-5
    )


def test_names_and_sizes(model):
    decoder = Decoder(model)
    assert (decoder.layers, decoder.vocabulary, decoder.device) == (LAYERS, 300, torch.device("cpu"))
    assert set(SHAPES) == {*ATTENTION, *MLP}
    for layer in range(LAYERS):
        for path, shape in SHAPES.items():
            module = model.get_submodule(decoder.name(layer, path))
            assert isinstance(module, Linear) and module.matrix.shape == shape
            assert decoder.name(layer, path) == name(layer, path)
