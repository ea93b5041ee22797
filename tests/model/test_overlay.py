"""Blocks of a batch with their own flips against the same flips made in the bits."""

import pytest
import torch
from hypothesis import given, settings
from wide import CANDIDATES, LAYERS, SHAPES, name

from bankai.model import Linear, flip, load
from bankai.model.decoder import Decoder
from bankai.model.matrices import DenseMatrix
from bankai.model.overlay import flipped_rows, overlaid, row_versions
from bankai.patch import Flip

LEVELS = {"row": (None, None), "group": (1, None), "bit": (1, 77)}


@pytest.fixture(scope="module", params=[False, True], ids=["packed", "dense"])
def model(request, wide_gguf):
    return load(wide_gguf, dense=request.param)[0]


def numbers(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(len(shape)))


def flipped(model, flips, run):
    """What `run` gives while the bits are flipped."""
    flip(model, flips)
    try:
        return run()
    finally:
        flip(model, flips)


def versions(model):
    return [module.versions for module in model.modules() if isinstance(module, Linear)]


def both(model, tensor, blocks):
    """Outputs of one layer for equal blocks of a batch, overlaid and flipped: two [blocks, 2, 5, out]."""
    layer = model.get_submodule(tensor)
    x = numbers(2 * len(blocks), 5, layer.in_features)
    with overlaid(model, blocks):
        found = layer(x)
    # The whole batch each time: a product of another shape may sum in another order.
    expected = [flipped(model, block, lambda: layer(x)).view(len(blocks), 2, 5, -1) for block in blocks]
    return found.view(len(blocks), 2, 5, -1), torch.stack([y[at] for at, y in enumerate(expected)])


@pytest.mark.parametrize("path", SHAPES)
@torch.no_grad()
def test_rows_of_a_block_are_negated_bit_for_bit(model, path):
    tensor, last = name(1, path), SHAPES[path][0] - 1
    blocks = [
        {Flip(tensor, 3)},
        set(),
        {Flip(tensor, 3), Flip(tensor, 0), Flip(tensor, last)},
        {Flip(tensor, 9)},
    ]
    found, expected = both(model, tensor, blocks)
    assert torch.equal(found, expected)
    assert not torch.equal(found[0], found[1].neg()) and (found[:, :, :, 3] != 0).all()


@pytest.mark.parametrize("path", SHAPES)
@pytest.mark.parametrize("level", ["group", "bit"])
@torch.no_grad()
def test_groups_and_bits_of_a_block(model, path, level):
    tensor, last = name(2, path), SHAPES[path][0] - 1
    blocks = [{Flip(tensor, row, *LEVELS[level])} for row in (0, 3, last)] + [set()]
    found, expected = both(model, tensor, blocks)
    # A changed row is one sum of its own; the product may take its terms in another order.
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    base = model.get_submodule(tensor)(numbers(8, 5, SHAPES[path][1])).view(4, 2, 5, -1)
    changed = (found - base).abs().amax((1, 2)) > 1e-4
    assert changed.nonzero().tolist() == [[0, 0], [1, 3], [2, last]]


@torch.no_grad()
def test_places_on_one_row_combine_by_xor(model):
    tensor = name(0, "down_proj")
    row, group, bit = Flip(tensor, 4), Flip(tensor, 4, 2), Flip(tensor, 4, 2, 60)
    groups = {Flip(tensor, 4, index) for index in range(3)}
    bits = {Flip(tensor, 4, 2, index) for index in range(128)}
    blocks = [
        {row, group},
        {row, bit},
        {group, bit},
        {row, group, bit},
        {row} | groups,
        {group} | bits,
        {row},
        groups,
    ]
    found, expected = both(model, tensor, blocks)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    matrix = model.get_submodule(tensor).matrix
    weight = matrix.expand()[4]
    signs = torch.ones(384)
    signs[:256] = -1
    signs[256 + 60] = -1
    assert torch.equal(flipped_rows(matrix, {row, group, bit})[4], signs * weight)
    assert torch.equal(flipped_rows(matrix, {row} | groups)[4], weight)
    assert torch.equal(flipped_rows(matrix, {group} | bits)[4], weight)


@settings(max_examples=15)
@given(blocks=CANDIDATES)
@torch.no_grad()
def test_each_block_is_the_model_with_its_flips(model, blocks):
    ids = torch.randint(297, (2, 7), generator=torch.Generator().manual_seed(5))
    with overlaid(model, blocks):
        found = model(ids.repeat(len(blocks), 1), use_cache=False).logits.view(len(blocks), 2, 7, -1)
    for at, block in enumerate(blocks):
        expected = flipped(model, block, lambda: model(ids, use_cache=False).logits)
        # Float32 sums in another order through three layers.
        torch.testing.assert_close(found[at], expected, atol=1e-4, rtol=1e-4)
    assert versions(model) == [None] * (7 * LAYERS + 1)


@torch.no_grad()
def test_head_may_be_flipped_too(model):
    blocks = [{Flip("lm_head", 5), Flip("lm_head", 6, 1)}, {Flip("lm_head", 299)}]
    found, expected = both(model, "lm_head", blocks)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_positions_need_no_sequences(model):
    tensor, x = name(0, "up_proj"), numbers(6, 256)
    layer = model.get_submodule(tensor)
    flips = {Flip(tensor, 1), Flip(tensor, 2, 0)}
    with overlaid(model, [set(), flips]):
        found = layer(x)
    torch.testing.assert_close(found[:3], layer(x)[:3], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found[3:], flipped(model, flips, lambda: layer(x))[3:], atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_versions_do_not_change_the_bits(model):
    matrix = model.get_submodule(name(1, "gate_proj")).matrix
    before = matrix.expand().clone()
    made = row_versions(matrix, [[Flip(name(1, "gate_proj"), 7, 1)], [], [Flip(name(1, "gate_proj"), 8)]])
    assert torch.equal(matrix.expand(), before)
    assert made.blocks == 3 and made.weights.shape == (1, 256)
    assert [column.tolist() for column in (*made.negated, *made.replaced)] == [[2], [8], [0], [7]]


@torch.no_grad()
def test_nothing_is_left_when_the_block_raises(model):
    ids = torch.arange(8)[None]
    before = model(ids, use_cache=False).logits
    with pytest.raises(RuntimeError, match="inside"), overlaid(model, [{Flip(name(0, "q_proj"), 3, 1)}]):
        assert not torch.equal(model(ids, use_cache=False).logits, before)
        raise RuntimeError("inside")
    assert not any(versions(model))
    assert torch.equal(model(ids, use_cache=False).logits, before)


@pytest.mark.parametrize(
    ("bad", "error"),
    [
        (Flip("model.layers.7.mlp.up_proj", 0), AttributeError),
        (Flip("model.norm", 0), AttributeError),
        (Flip("model.embed_tokens", 0), AttributeError),
        (Flip("model.layers.2.mlp.up_proj", 999, 0), IndexError),
    ],
)
def test_nothing_is_set_when_a_place_is_not_there(model, bad, error):
    good = {Flip(name(layer, path), 0) for layer in range(LAYERS) for path in SHAPES}
    with pytest.raises(error), overlaid(model, [good, {bad}, good]):
        pass
    assert not any(versions(model))
    assert not hasattr(model.model.embed_tokens, "versions")


@torch.no_grad()
def test_gradient_goes_through_the_flipped_rows(model):
    tensor = name(1, "v_proj")
    layer, flips = model.get_submodule(tensor), {Flip(tensor, 5), Flip(tensor, 6, 1), Flip(tensor, 7, 0, 9)}

    def gradient():
        x = numbers(4, 3, 256).requires_grad_()
        with torch.enable_grad():
            (layer(x) * numbers(4, 3, 128)).sum().backward()
        return x.grad

    with overlaid(model, [flips, set()]):
        found = gradient()
    expected = flipped(model, flips, gradient)
    torch.testing.assert_close(found[:2], expected[:2], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found[2:], gradient()[2:], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_columns_are_those_of_the_weight(wide_gguf, model, dtype):
    down = name(0, "down_proj")
    dense = isinstance(model.get_submodule(down).matrix, DenseMatrix)
    loaded = load(wide_gguf, dense=dense, dtype=dtype)[0]
    flip(loaded, [Flip(down, 2), Flip(down, 3, 1), Flip(down, 4, 2, 127)])
    matrix = loaded.get_submodule(down).matrix
    for ids in ([0], [383, 0, 127, 128, 255, 256, 9, 9], list(range(384)), []):
        at = torch.tensor(ids, dtype=torch.long)
        found = matrix.columns(at)
        assert found.dtype == dtype and torch.equal(found, matrix.expand()[:, at])


@torch.no_grad()
def test_decoder_pieces_follow_the_overlay(model):
    decoder, block = Decoder(model), {Flip(name(0, "k_proj"), 3), Flip(name(0, "down_proj"), 3, 1)}
    hidden = numbers(4, 6, 256)

    def layer():
        middle = decoder.attend(0, hidden, decoder.positions(hidden))
        return middle + decoder.transform(0, middle)

    with overlaid(model, [set(), block]):
        found = layer()
    torch.testing.assert_close(found[:2], layer()[:2], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found[2:], flipped(model, block, layer)[2:], atol=1e-5, rtol=1e-5)
