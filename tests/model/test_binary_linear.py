"""Packed layers against dense arithmetic, and flips against the bits they claim to change."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bankai.errors import RowRangeError
from bankai.model import BinaryEmbedding, BinaryLinear, PackedWeight, binary_linear
from bankai.quantization.binary import BinaryTensor

OUT, GROUPS = 24, 3
ROWS = st.lists(st.integers(0, OUT - 1), max_size=6)
PLACES = st.lists(st.tuples(st.integers(0, OUT - 1), st.integers(0, GROUPS - 1)), max_size=6)
BITS = st.lists(
    st.tuples(st.integers(0, OUT - 1), st.integers(0, GROUPS - 1), st.integers(0, 15) | st.just(127)),
    max_size=9,
)


def tensor(seed=0):
    rng = np.random.default_rng(seed)
    signs = rng.integers(0, 256, (OUT, GROUPS, 16), dtype=np.uint8)
    return BinaryTensor("w", signs, rng.uniform(0.01, 2, (OUT, GROUPS)).astype(np.float16))


def packed(dense=False, seed=0):
    weight = PackedWeight.from_tensor(tensor(seed))
    if dense:
        weight.densify()
    return weight


@pytest.mark.parametrize("dense", [False, True])
def test_weights_are_exactly_those_of_the_tensor(dense):
    assert np.array_equal(packed(dense).expand().numpy(), tensor().to_dense())


@pytest.mark.parametrize("dense", [False, True])
def test_product_and_input_gradient_equal_a_dense_layer(dense):
    layer, reference = BinaryLinear(packed(dense)), torch.from_numpy(tensor().to_dense())
    x = torch.randn(2, 5, GROUPS * 128, requires_grad=True)
    other = x.detach().clone().requires_grad_()
    y, expected = layer(x), other @ reference.T
    upstream = torch.randn_like(y)
    y.backward(upstream)
    expected.backward(upstream)
    # The same products in float32, perhaps summed in another order.
    torch.testing.assert_close(y, expected, atol=1e-4, rtol=1e-5)
    torch.testing.assert_close(x.grad, other.grad, atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("rows", [1, 5, OUT - 1])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_product_in_blocks_equals_the_product_at_once(rows, dtype, monkeypatch):
    x = torch.randn(2, 5, GROUPS * 128).to(dtype)

    def result():
        leaf = x.clone().requires_grad_()
        y = BinaryLinear(packed())(leaf)
        y.backward(torch.ones_like(y))
        return y.detach(), leaf.grad

    whole, whole_gradient = result()
    monkeypatch.setattr(binary_linear, "_CPU_BLOCK", rows * GROUPS * 128)
    blocks, gradient = result()
    # Every output is the same sum; a gradient is summed block by block, in float32 or better.
    low = dtype in (torch.bfloat16, torch.float16)
    torch.testing.assert_close(blocks, whole, atol=1e-1 if low else 1e-4, rtol=1e-2 if low else 1e-5)
    torch.testing.assert_close(
        gradient, whole_gradient, atol=1e-1 if low else 1e-4, rtol=1e-2 if low else 1e-5
    )
    assert gradient.dtype == blocks.dtype == dtype


def test_one_block_is_held_at_a_time(monkeypatch):
    monkeypatch.setattr(binary_linear, "_CPU_BLOCK", 5 * GROUPS * 128)
    weight, seen = packed(), []
    for rows, block in binary_linear._blocks(weight.signs, weight.scales, torch.float32):
        assert np.array_equal(block.numpy(), tensor().to_dense()[rows])
        seen.append((len(block), block.data_ptr()))
    assert [length for length, _ in seen] == [5, 5, 5, 5, 4]
    assert len({place for _, place in seen}) == 1


def test_backward_keeps_only_the_packed_bits():
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        BinaryLinear(packed())(torch.randn(4, GROUPS * 128, requires_grad=True))
    assert sum(t.numel() * t.element_size() for t in kept) == OUT * GROUPS * 18


def test_gradient_agrees_with_finite_differences():
    layer = BinaryLinear(packed())
    x = torch.randn(2, GROUPS * 128, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(layer, (x,))


@pytest.mark.parametrize("dense", [False, True])
def test_embedding_looks_up_rows(dense):
    ids = torch.tensor([[3, 0], [23, 3]])
    assert np.array_equal(BinaryEmbedding(packed(dense))(ids).numpy(), tensor().to_dense()[ids.numpy()])


@pytest.mark.parametrize("dense", [False, True])
def test_flipped_row_negates_its_output_bit_for_bit(dense):
    layer, x = BinaryLinear(packed(dense)), torch.randn(7, GROUPS * 128)
    before = layer(x)
    layer.flip(rows=[2, 11])
    after = layer(x)
    before[:, [2, 11]] *= -1
    assert torch.equal(after, before)


@pytest.mark.parametrize("dense", [False, True])
@given(rows=ROWS, groups=PLACES, bits=BITS)
def test_flip_agrees_with_the_tensor_and_undoes_itself(dense, rows, groups, bits):
    weight, reference = packed(dense), tensor()
    weight.flip(rows, groups, bits)
    reference.flip(rows, groups, bits)
    assert np.array_equal(weight.signs.numpy(), reference.signs)
    assert np.array_equal(weight.expand().numpy(), reference.to_dense())
    weight.flip(rows, groups, bits)
    assert np.array_equal(weight.expand().numpy(), tensor().to_dense())


@pytest.mark.parametrize(
    "places",
    [
        ([0, OUT],),
        ([-1],),
        ([0], [(OUT, 0)]),
        ([0], [(0, GROUPS)]),
        ([0], [(1, -1)]),
        ([0], [], [(OUT, 0, 0)]),
        ([0], [], [(0, GROUPS, 0)]),
        ([0], [], [(0, 0, 128)]),
        ([0], [], [(0, 0, -1)]),
    ],
)
def test_places_outside_are_refused_before_anything_changes(places):
    weight = packed(dense=True)
    with pytest.raises(RowRangeError):
        weight.flip(*places)
    assert np.array_equal(weight.expand().numpy(), tensor().to_dense())
    assert np.array_equal(weight.signs.numpy(), tensor().signs)


def test_changing_dtype_leaves_the_stored_scales():
    weight = packed()
    before = weight.scales.clone()
    weight.to(torch.bfloat16)
    assert weight.scales.dtype == torch.float16 and torch.equal(weight.scales, before)
    assert BinaryEmbedding(weight)(torch.tensor([0])).dtype == torch.bfloat16


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="groups"):
        PackedWeight(torch.zeros(4, 2, 16, dtype=torch.uint8), torch.zeros(4, 3, dtype=torch.float16))
