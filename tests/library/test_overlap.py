"""Where two patches meet: exact counts, an estimate that follows from them, and no order."""

import pytest
from hypothesis import given, settings
from patches import PATCHES

from bankai.errors import LibraryError
from bankai.library.library import Library
from bankai.library.overlap import overlap, overlaps
from bankai.patch import Binding, Flip, Patch, encode

UP, GATE, DOWN = (f"model.layers.3.mlp.{name}_proj" for name in ("up", "gate", "down"))


def test_the_same_row_in_any_way() -> None:
    first = Patch.of([Flip(UP, 1), Flip(UP, 2), Flip(DOWN, 9, 4)])
    second = Patch.of([Flip(UP, 1), Flip(UP, 2, 0), Flip(DOWN, 9, 5, 3), Flip("lm_head", 1)])
    found = overlap(first, second)
    assert (found.cancelled, found.shared_rows, found.shared_neurons) == (1, 3, 0)
    assert (found.same_tensor, found.same_layer, found.interference) == (1.0, 1.0, 1.0)


def test_gate_and_up_of_a_neuron() -> None:
    first = Patch.of([Flip(UP, 1), Flip(UP, 2), Flip(UP, 3), Flip(UP, 4)])
    second = Patch.of([Flip(GATE, 1), Flip(GATE, 9), Flip(DOWN, 2), Flip(DOWN, 3)])
    found = overlap(first, second)
    assert (found.cancelled, found.shared_rows, found.shared_neurons) == (0, 0, 1)
    assert (found.same_tensor, found.same_layer, found.interference) == (0.0, 1.0, 0.25)
    both = overlap(Patch.of([Flip(UP, 1), Flip(GATE, 1)]), Patch.of([Flip(UP, 1), Flip(GATE, 1)]))
    assert (both.shared_rows, both.shared_neurons, both.interference) == (2, 1, 1.0)


def test_shares_are_of_the_smaller() -> None:
    small = Patch.of([Flip(UP, 1), Flip("lm_head", 1)])
    large = Patch.of([Flip(UP, row) for row in range(2, 9)] + [Flip("model.layers.4.mlp.up_proj", 1)])
    found = overlap(small, large)
    assert (found.same_tensor, found.same_layer, found.interference) == (0.5, 0.5, 0.0)
    assert overlap(large, small) == found
    assert overlap(Patch.empty(), large).interference == 0.0


def test_bases() -> None:
    mine, other = (Binding(base, b"before..", b"after...") for base in (b"basebase", b"another."))
    flips = frozenset([Flip(UP, 1)])
    assert overlap(Patch(flips, mine), Patch(flips, mine)).same_base is True
    assert overlap(Patch(flips, mine), Patch(flips, other)).same_base is False
    assert overlap(Patch(flips, mine), Patch(flips)).same_base is None


@given(PATCHES, PATCHES)
@settings(max_examples=25)
def test_order_does_not_matter_and_shares_are_ordered(first: Patch, second: Patch) -> None:
    found = overlap(first, second)
    assert found == overlap(second, first)
    assert found.cancelled == len(first.flips) + len(second.flips) - len(first.flips | second.flips)
    assert 0 <= found.same_tensor <= found.same_layer <= 1 and 0 <= found.interference <= found.same_layer
    assert (found.shared_rows > 0) <= (found.interference > 0)


def test_patches_of_a_library(tmp_path) -> None:
    with Library(tmp_path / "l", create=True) as library:
        for number, flips in enumerate([[Flip(UP, 1)], [Flip(UP, 2)], [Flip(UP, 1), Flip(UP, 2, 3)]]):
            library.put(encode(Patch.of(flips)), name=f"p{number}")
        every = overlaps(library, ["p0", "p1", "p2"])
        assert [(pair.first, pair.second) for pair in every] == [("p0", "p2"), ("p1", "p2"), ("p0", "p1")]
        assert [pair.overlap.interference for pair in every] == [1.0, 1.0, 0.0]
        assert [pair.second for pair in overlaps(library, ["p0"])] == ["p2", "p1"]
        for wrong in ([], ["p0", "p0"]):
            with pytest.raises(LibraryError, match="different patches"):
                overlaps(library, wrong)
