"""Patches on a loaded model: on, off, refused; never half."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bankai.errors import (
    AlreadyAppliedError,
    RowRangeError,
    UnboundPatchError,
    UnknownTensorError,
    WrongBaseError,
)
from bankai.model import ModelMatrices, flip, load, patched
from bankai.patch import Flip, Patch, bind
from bankai.patch.binding import content_digest

UP, DOWN = "model.layers.0.mlp.up_proj", "model.layers.1.mlp.down_proj"
FLIPS = st.frozensets(
    st.one_of(
        st.builds(Flip, st.just(UP), st.integers(0, 255), st.none() | st.just(0)),
        st.builds(Flip, st.just(DOWN), st.integers(0, 127), st.none() | st.integers(0, 1)),
        st.builds(Flip, st.just(DOWN), st.integers(0, 127), st.integers(0, 1), st.integers(0, 127)),
        st.builds(Flip, st.just("lm_head"), st.integers(0, 299)),
    ),
    max_size=8,
)


@pytest.fixture(scope="module", params=[False, True], ids=["packed", "dense"])
def model(request, tiny_gguf):
    return load(tiny_gguf, dense=request.param)[0]


def bits(model):
    return content_digest(ModelMatrices(model))


def logits(model):
    with torch.no_grad():
        return model(torch.arange(40, 60)[None]).logits.numpy()


def bound(model, *flips):
    return bind(Patch.of(flips), ModelMatrices(model))


def test_patch_changes_the_logits_and_leaves_no_trace(model):
    before, state = logits(model), bits(model)
    with patched(model, bound(model, Flip(UP, 3), Flip(DOWN, 9, 1), Flip(DOWN, 8, 0, 77))) as same:
        assert same is model
        assert not np.array_equal(logits(model), before)
    assert np.array_equal(logits(model), before) and bits(model) == state


def test_patch_is_taken_off_when_the_block_raises(model):
    state = bits(model)
    with pytest.raises(RuntimeError, match="inside"), patched(model, bound(model, Flip(UP, 3))):
        raise RuntimeError("inside")
    assert bits(model) == state


def test_a_bit_changes_one_weight(model):
    layer = model.get_submodule(UP)
    before = layer.weight.clone()
    flip(model, [Flip(UP, 3), Flip(UP, 3, 0), Flip(UP, 3, 0, 5), Flip(UP, 4, 0, 9), Flip(UP, 4, 0, 8)])
    before[3, 5] *= -1
    before[4, 8:10] *= -1
    assert torch.equal(layer.weight, before)
    flip(model, [Flip(UP, 3, 0, 5), Flip(UP, 4, 0, 9), Flip(UP, 4, 0, 8)])


@settings(max_examples=25)
@given(first=FLIPS, second=FLIPS)
def test_toggles_commute_and_undo(model, first, second):
    state = bits(model)
    flip(model, first)
    flip(model, second)
    both = bits(model)
    flip(model, first ^ second)
    assert bits(model) == state
    flip(model, second)
    flip(model, first)
    assert bits(model) == both
    flip(model, first)
    flip(model, second)
    assert bits(model) == state


def test_overlapping_patches_nest(model):
    state = bits(model)
    first, second = bound(model, Flip(UP, 3), Flip(UP, 4)), bound(model, Flip(UP, 4), Flip(UP, 5))
    with patched(model, first), patched(model, second):
        nested = bits(model)
    assert bits(model) == state
    with patched(model, Patch.of([Flip(UP, 3), Flip(UP, 5)]), unbound=True):
        assert bits(model) == nested


def test_twice_is_refused(model):
    patch = bound(model, Flip(UP, 3))
    with patched(model, patch):
        on = bits(model)
        with pytest.raises(AlreadyAppliedError), patched(model, patch):
            pass
        assert bits(model) == on


def test_model_that_came_with_the_patch_is_refused(model):
    patch = bound(model, Flip(UP, 3))
    flip(model, patch.flips)
    with pytest.raises(AlreadyAppliedError), patched(model, patch):
        pass
    flip(model, patch.flips)


def test_other_bits_are_refused(model):
    patch = bound(model, Flip(UP, 3))
    flip(model, [Flip(UP, 3, 0), Flip(DOWN, 3)])
    before = bits(model)
    with pytest.raises((WrongBaseError, AlreadyAppliedError)), patched(model, patch):
        pass
    assert bits(model) == before
    flip(model, [Flip(UP, 3, 0), Flip(DOWN, 3)])


def test_other_model_is_refused(model, tmp_path):
    import builders

    other, _ = load(builders.build_tiny_gguf(tmp_path / "other.gguf", seed=9))
    state = bits(other)
    with pytest.raises(WrongBaseError), patched(other, bound(model, Flip(UP, 3))):
        pass
    assert bits(other) == state


def test_unbound_is_refused_unless_asked_for(model):
    patch, state = Patch.of([Flip(UP, 3)]), bits(model)
    with pytest.raises(UnboundPatchError), patched(model, patch):
        pass
    with patched(model, patch, unbound=True):
        assert bits(model) != state
    assert bits(model) == state


@pytest.mark.parametrize(
    ("bad", "error"),
    [
        (Flip("model.layers.7.mlp.up_proj", 0), UnknownTensorError),
        (Flip("model.norm", 0), UnknownTensorError),
        (Flip(UP, 256), RowRangeError),
        (Flip(DOWN, 0, 2), RowRangeError),
        (Flip(DOWN, 0, 2, 5), RowRangeError),
        (Flip(DOWN, 128, 0, 5), RowRangeError),
    ],
)
def test_unknown_places_are_refused_whole(model, bad, error):
    state = bits(model)
    with pytest.raises(error), patched(model, Patch.of([Flip(UP, 1), bad]), unbound=True):
        pass
    with pytest.raises(error):
        flip(model, [Flip(UP, 1), bad])
    assert bits(model) == state
