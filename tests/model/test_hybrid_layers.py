"""A hybrid in pieces against transformers' own forward, and what its flipped rows do further on."""

import builders
import pytest
import torch
from hybrid import FULL_LAYERS, HYBRID, LAYERS, LINEAR, LINEAR_LAYERS, SHAPES
from transformers import Qwen3_5ForCausalLM

from bankai.architectures import architecture
from bankai.architectures.base import ATTENTION, MLP
from bankai.architectures.qwen35 import LINEAR_ATTENTION, Qwen35
from bankai.checkpoint.model_file import open_checkpoint
from bankai.model import Linear, ModelMatrices, flip, load
from bankai.model.decoder import Decoder
from bankai.patch import Flip
from bankai.patch.binding import digest, fingerprint

LINEAR_PATHS = tuple(Qwen35.layers[LINEAR_ATTENTION].mixer)
LENGTHS = (1, 5, 70)  # the delta rule computes 64 tokens together


@pytest.fixture(scope="module", params=[False, True], ids=["packed", "dense"])
def decoder(request, hybrid_gguf):
    return Decoder(load(hybrid_gguf, dense=request.param)[0])


def tokens(sequences, length):
    return torch.randint(297, (sequences, length), generator=torch.Generator().manual_seed(length))


def residual(decoder, ids):
    hidden = decoder.embed(ids)
    positions = decoder.positions(hidden)
    for layer in range(decoder.layers):
        middle = decoder.attend(layer, hidden, positions)
        hidden = middle + decoder.transform(layer, middle)
    return hidden


def test_every_projection_is_a_matrix_and_named_as_in_files(hybrid_gguf):
    decoder = Decoder(load(hybrid_gguf)[0])
    assert isinstance(decoder.model, Qwen3_5ForCausalLM)
    assert set(LINEAR_PATHS) == set(LINEAR)
    for layer in range(LAYERS):
        own = LINEAR_PATHS if layer in LINEAR_LAYERS else ATTENTION
        assert decoder.projections(layer) == (*own, *MLP)
    found = {decoder.name(layer, path) for layer in range(LAYERS) for path in decoder.projections(layer)}
    assert found == set(SHAPES)
    for name, shape in SHAPES.items():
        module = decoder.model.get_submodule(name)
        assert isinstance(module, Linear) and module.matrix.shape == shape
    tensors = ModelMatrices(decoder.model)
    with open_checkpoint(hybrid_gguf) as checkpoint:
        assert set(tensors.matrices) == set(checkpoint.matrices)
        assert fingerprint(tensors) == fingerprint(checkpoint)
        flips = [Flip(name, shape[0] - 1) for name, shape in SHAPES.items()]
        assert digest(tensors, flips) == digest(checkpoint, flips)


@torch.no_grad()
def test_it_is_transformers_model_on_the_unpacked_weights(hybrid_gguf):
    """Built from the file's canonical tensors by transformers alone."""
    with open_checkpoint(hybrid_gguf) as checkpoint:
        kinds = list(architecture("qwen35").layer_kinds(checkpoint.config))
        config = Qwen3_5ForCausalLM.config_class(**checkpoint.config, layer_types=kinds)
        stock = Qwen3_5ForCausalLM(config).eval()
        weights = {name: checkpoint.packed(name).to_dense() for name in checkpoint.matrices}
        weights |= {name: checkpoint.vector(name).copy() for name in checkpoint.vectors}
    bare = ("A_log", "dt_bias")
    state = {
        name if name.endswith(bare) else f"{name}.weight": torch.from_numpy(weight)
        for name, weight in weights.items()
    }
    stock.load_state_dict(state)
    ids = tokens(2, 70)
    found = load(hybrid_gguf)[0](ids, use_cache=False).logits
    torch.testing.assert_close(found, stock(ids, use_cache=False).logits, atol=1e-4, rtol=0)
    assert found.std() > 0.3


@pytest.mark.parametrize("length", LENGTHS)
@torch.no_grad()
def test_pieces_in_a_row_are_the_forward(decoder, length):
    ids = tokens(3, length)
    states = decoder.model.model(ids, use_cache=False, output_hidden_states=True).hidden_states[:-1]
    hidden = decoder.embed(ids)
    positions = decoder.positions(hidden)
    for layer, state in enumerate(states):
        assert torch.equal(hidden, state)
        middle = decoder.attend(layer, hidden, positions)
        hidden = middle + decoder.transform(layer, middle)
    assert torch.equal(decoder.logits(hidden), decoder.model(ids, use_cache=False).logits)


@torch.no_grad()
def test_right_padding_reaches_no_token(decoder):
    lengths, ids = (3, 70, 66), tokens(3, 70)
    other = ids.clone()
    for row, length in enumerate(lengths):
        ids[row, length:], other[row, length:] = 0, 250
    found, same = (decoder.logits(residual(decoder, some)) for some in (ids, other))
    for row, length in enumerate(lengths):
        torch.testing.assert_close(found[row, :length], same[row, :length], atol=1e-5, rtol=0)
        alone = decoder.model(ids[row : row + 1, :length], use_cache=False).logits[0]
        torch.testing.assert_close(found[row, :length], alone, atol=1e-4, rtol=0)


@torch.no_grad()
def test_text_token_by_token_is_text_at_once(decoder):
    ids, cache, found = tokens(1, 12), None, []
    for step in (ids[:, :5], *ids[:, 5:].split(1, dim=1)):
        output = decoder.model(input_ids=step, past_key_values=cache, use_cache=True)
        cache = output.past_key_values
        found.append(output.logits)
    torch.testing.assert_close(torch.cat(found, 1), decoder.model(ids).logits, atol=1e-4, rtol=0)


CHANGED = (*(path for path in LINEAR_PATHS if path != "linear_attn.out_proj"), "mlp.gate_proj")


@pytest.mark.parametrize("path", CHANGED)
@torch.no_grad()
def test_a_flipped_row_changes_what_is_noted_by_what_is_noted(decoder, path):
    layer = LINEAR_LAYERS[1]
    hidden = decoder.embed(tokens(2, 9))
    positions, name = decoder.positions(hidden), decoder.name(layer, path)

    def noted():
        changes = {}
        middle = decoder.attend(layer, hidden, positions, changes)
        decoder.transform(layer, hidden if path.startswith("mlp") else middle, changes)
        return changes[path]

    before, rows = noted(), SHAPES[name][0]
    assert before.at.shape == before.by.shape == (2, 9, rows)
    for row in (0, rows // 2, rows - 1):
        flip(decoder.model, [Flip(name, row)])
        after = noted().at
        flip(decoder.model, [Flip(name, row)])
        expected = before.at.clone()
        expected[..., row] += before.by[..., row]
        torch.testing.assert_close(after, expected, atol=2e-6, rtol=1e-5)
        assert (before.by[..., row].abs() > 1e-3).any()


def test_noting_changes_changes_nothing(decoder):
    hidden = decoder.embed(tokens(2, 9))
    positions = decoder.positions(hidden)
    for layer in range(LAYERS):
        changes = {}
        assert torch.equal(
            decoder.attend(layer, hidden, positions, changes), decoder.attend(layer, hidden, positions)
        )
        assert torch.equal(decoder.transform(layer, hidden, changes), decoder.transform(layer, hidden))
        assert set(changes) == (set(CHANGED) if layer in LINEAR_LAYERS else {"mlp.gate_proj"})


def test_heads_as_many_as_keys_and_tied(tmp_path):
    """Nothing is reordered then; and the head is the embedding."""
    changes = HYBRID | {"linear_num_value_heads": 2, "tie_word_embeddings": True}
    path = builders.build_tiny_gguf(tmp_path / "even.gguf", **changes)
    model = load(path)[0]
    assert model.lm_head.matrix is model.model.embed_tokens.matrix
    ids = tokens(1, 9)
    with torch.no_grad():
        assert torch.equal(
            Decoder(model).logits(residual(Decoder(model), ids)), model(ids, use_cache=False).logits
        )


def test_layers_of_the_fixture_are_of_both_kinds():
    assert {*LINEAR_LAYERS, *FULL_LAYERS} == set(range(LAYERS))
