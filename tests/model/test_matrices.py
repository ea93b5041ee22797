"""Packed and dense matrices against plain arithmetic, and XORs against the weights that they claim to negate."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from quantized import NAMES, places_of, random_tensor

from bankai.model import Embedding, Linear, matrices
from bankai.model.matrices import DenseMatrix, PackedMatrix, make_matrix, matrix_bytes
from bankai.quantization import quantization
from bankai.quantization.one_bit import signs_of

OUT, COLUMNS = 24, 384
KINDS = [("Q1_0", False), *((name, True) for name in NAMES)]


def tensor(name="Q1_0", seed=0):
    return random_tensor("w", quantization(name), (OUT, COLUMNS), np.random.default_rng(seed))


def made(name="Q1_0", dense=False, dtype=torch.float32):
    return make_matrix(tensor(name), dtype, dense=dense)


@pytest.mark.parametrize(("name", "dense"), KINDS)
def test_weights_and_blocks_are_exactly_those_of_the_tensor(name, dense):
    matrix = made(name, dense)
    assert isinstance(matrix, DenseMatrix if dense else PackedMatrix)
    assert np.array_equal(matrix.expand().numpy(), tensor(name).to_dense())
    assert np.array_equal(matrix.blocks(), tensor(name).blocks)
    assert np.array_equal(matrix.blocks([5, 2]), tensor(name).blocks[[5, 2]])
    assert matrix.info == tensor(name).info and matrix.group == quantization(name).weights


@pytest.mark.parametrize(("name", "dense"), KINDS)
def test_product_and_input_gradient_equal_a_dense_layer(name, dense):
    layer, reference = Linear(made(name, dense)), torch.from_numpy(tensor(name).to_dense())
    x = torch.randn(2, 5, COLUMNS, requires_grad=True)
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
def test_product_in_parts_equals_the_product_at_once(rows, dtype, monkeypatch):
    x = torch.randn(2, 5, COLUMNS).to(dtype)

    def result():
        leaf = x.clone().requires_grad_()
        y = Linear(made())(leaf)
        y.backward(torch.ones_like(y))
        return y.detach(), leaf.grad

    whole, whole_gradient = result()
    monkeypatch.setattr(matrices, "_CPU_PART", rows * COLUMNS)
    parts, gradient = result()
    # Every output is the same sum; a gradient is summed part by part, in float32 or better.
    low = dtype in (torch.bfloat16, torch.float16)
    torch.testing.assert_close(parts, whole, atol=1e-1 if low else 1e-4, rtol=1e-2 if low else 1e-5)
    torch.testing.assert_close(
        gradient, whole_gradient, atol=1e-1 if low else 1e-4, rtol=1e-2 if low else 1e-5
    )
    assert gradient.dtype == parts.dtype == dtype


def test_one_part_is_held_at_a_time(monkeypatch):
    monkeypatch.setattr(matrices, "_CPU_PART", 5 * COLUMNS)
    matrix, seen = made(), []
    for rows, part in matrices._expanded(matrix.signs, matrix.scales, torch.float32):
        assert np.array_equal(part.numpy(), tensor().to_dense()[rows])
        seen.append((len(part), part.data_ptr()))
    assert [length for length, _ in seen] == [5, 5, 5, 5, 4]
    assert len({place for _, place in seen}) == 1


def test_backward_keeps_only_the_packed_bits():
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        Linear(made())(torch.randn(4, COLUMNS, requires_grad=True))
    assert sum(t.numel() * t.element_size() for t in kept) == OUT * COLUMNS // 128 * 18


def test_gradient_agrees_with_finite_differences():
    layer = Linear(made())
    x = torch.randn(2, COLUMNS, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(layer, (x,))


@pytest.mark.parametrize(("name", "dense"), KINDS)
def test_rows_and_columns_are_looked_up(name, dense):
    matrix, weights = made(name, dense), tensor(name).to_dense()
    ids = torch.tensor([[3, 0], [23, 3]])
    assert np.array_equal(Embedding(matrix)(ids).numpy(), weights[ids.numpy()])
    columns = torch.tensor([0, 31, 130, COLUMNS - 1])
    assert np.array_equal(matrix.columns(columns).numpy(), weights[:, columns.numpy()])


@pytest.mark.parametrize(("name", "dense"), KINDS)
def test_a_flipped_row_negates_its_output_bit_for_bit(name, dense):
    matrix, x = made(name, dense), torch.randn(7, COLUMNS)
    layer = Linear(matrix)
    before, rows = layer(x), np.array([2, 11])
    matrix.xor(rows, np.broadcast_to(matrix.info.quantization.mask, matrix.blocks(rows).shape))
    before[:, [2, 11]] *= -1
    assert torch.equal(layer(x), before)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize(("name", "dense"), KINDS)
@given(st.data())
def test_xor_agrees_with_the_blocks_and_undoes_itself(name, dense, dtype, data):
    matrix, reference = made(name, dense, dtype), tensor(name).blocks.copy()
    before, places = matrix.expand().clone(), data.draw(places_of(tensor(name)))
    rows, masks = places.masks(matrix.info)
    matrix.xor(rows, masks)
    reference[rows] ^= masks
    assert np.array_equal(matrix.blocks(), reference)
    negated = torch.zeros(OUT, COLUMNS, dtype=torch.bool)
    negated[torch.from_numpy(rows)] = torch.from_numpy(matrix.info.quantization.negated(masks))
    assert torch.equal(matrix.expand(), torch.where(negated, -before, before))
    matrix.xor(rows, masks)
    assert torch.equal(matrix.expand(), before) and np.array_equal(matrix.blocks(), tensor(name).blocks)


@pytest.mark.parametrize(("name", "dense"), KINDS)
def test_other_blocks_take_the_place_of_all(name, dense):
    matrix, other = made(name, dense), tensor(name, seed=1)
    matrix.replace(other.blocks)
    assert np.array_equal(matrix.blocks(), other.blocks)
    assert np.array_equal(matrix.expand().numpy(), other.to_dense())


@pytest.mark.parametrize(("name", "dense"), KINDS)
def test_changing_dtype_leaves_the_stored_blocks(name, dense):
    matrix = made(name, dense).to(torch.bfloat16)
    assert Embedding(matrix)(torch.tensor([0])).dtype == matrix.dtype == torch.bfloat16
    assert np.array_equal(matrix.blocks(), tensor(name).blocks)


@pytest.mark.parametrize(("name", "dense"), KINDS)
def test_magnitudes_are_the_mean_absolute_weights(name, dense):
    expected = np.abs(tensor(name).to_dense().astype(np.float64)).mean(1)
    np.testing.assert_allclose(made(name, dense).magnitudes().numpy(), expected, rtol=1e-5)


@pytest.mark.parametrize(("name", "dense"), KINDS)
def test_memory_is_told_beforehand(name, dense):
    matrix = made(name, dense)
    held = sum(buffer.numel() * buffer.element_size() for buffer in matrix.buffers())
    if dense and matrix._blocks is not None:
        held += matrix._blocks.nbytes
    assert matrix_bytes(matrix.info, 4, dense=dense) == held


def test_signs_of_a_packed_matrix_are_those_of_the_file():
    assert np.array_equal(made().signs.numpy(), signs_of(tensor().blocks))
