import dataclasses
from typing import Any

import pytest
from hypothesis import given
from patches import BINDINGS, FLIPS, MANIFESTS, PATCHES

from bankai.errors import WrongBaseError
from bankai.patch import Binding, Flip, Manifest, Patch

UP = "model.layers.3.mlp.up_proj"


def unbound(patch: Patch) -> Patch:
    return patch.unbound()


@given(PATCHES.map(unbound), PATCHES.map(unbound), PATCHES.map(unbound))
def test_patches_are_an_abelian_group(a: Patch, b: Patch, c: Patch) -> None:
    assert (a ^ b) ^ c == a ^ (b ^ c)
    assert a ^ b == b ^ a
    assert a ^ Patch.empty() == a == Patch.empty() ^ a
    assert a ^ a == Patch.empty()
    assert a ^ a.inverse == Patch.empty()
    assert hash(a ^ b) == hash(b ^ a)
    assert (a ^ b).flips == (a.flips | b.flips) - (a.flips & b.flips)


@given(PATCHES, BINDINGS, MANIFESTS)
def test_equality_is_of_the_flips(patch: Patch, binding: Binding, manifest: Manifest) -> None:
    assert Patch(patch.flips, binding, manifest) == patch
    assert patch.unbound().binding is None and patch.unbound().manifest == patch.manifest


def test_composing_with_an_empty_side_keeps_what_is_known() -> None:
    binding = Binding(b"f" * 8, b"b" * 8, b"a" * 8)
    patch = Patch(frozenset([Flip(UP, 1)]), binding, Manifest(name="one"))
    for result in (patch ^ Patch.empty(), Patch.empty() ^ patch):
        assert (result.binding, result.manifest.name) == (binding, "one")


def test_a_composition_is_unbound() -> None:
    binding = Binding(b"f" * 8, b"b" * 8, b"a" * 8)
    first = Patch(frozenset([Flip(UP, 1)]), binding, Manifest(name="one"))
    second = Patch(frozenset([Flip(UP, 2)]), binding)
    assert (first ^ second).binding is None
    assert (first ^ second).manifest == Manifest()
    assert (first ^ second.unbound()).binding is None


def test_patches_of_two_models_do_not_compose() -> None:
    first = Patch(frozenset([Flip(UP, 1)]), Binding(b"f" * 8, b"b" * 8, b"a" * 8))
    second = Patch(frozenset([Flip(UP, 2)]), Binding(b"g" * 8, b"b" * 8, b"a" * 8))
    with pytest.raises(WrongBaseError, match="different models"):
        first ^ second
    with pytest.raises(TypeError):
        first ^ 1  # type: ignore[operator]


def test_rows_groups_bits_and_order() -> None:
    head, bit, row, group = Flip("lm_head", 9), Flip(UP, 1, 3, 127), Flip(UP, 2), Flip(UP, 2, 0)
    first, last = Flip(UP, 2, 0, 0), Flip(UP, 2, 1)
    patch = Patch.of([group, first, row, last, head, bit])
    assert patch.rows == (head, row)
    assert patch.groups == (group, last)
    assert patch.bits == (bit, first)
    assert sorted(patch.flips) == [head, bit, row, group, first, last]
    assert len(patch) == 6 and patch and not Patch.empty()


@given(PATCHES)
def test_every_flip_is_of_one_kind(patch: Patch) -> None:
    assert sorted(patch.flips) == sorted([*patch.rows, *patch.groups, *patch.bits])


def test_a_flip_given_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="twice"):
        Patch.of([Flip(UP, 2), Flip(UP, 2)])


@given(FLIPS)
def test_flips_are_immutable(flip: Flip) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        flip.row = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    "place",
    [
        ("", 0),
        ("a..b", 0),
        ("a b", 0),
        ("a.{}.b", 0),
        ("a\n", 0),
        ("é", 0),
        ("x" * 201, 0),
        (UP, -1),
        (UP, 2**31),
        (UP, True),
        (UP, 1.0),
        (UP, 0, -1),
        (UP, 0, 2**20),
        (UP, 0, False),
        (UP, 0, 0, -1),
        (UP, 0, 0, 256),
        (UP, 0, 0, True),
        (UP, 0, 0, 1.0),
        (UP, 0, None, 0),
    ],
)
def test_impossible_flips_are_refused(place: tuple[Any, ...]) -> None:
    with pytest.raises(ValueError):
        Flip(*place)


def test_a_binding_is_three_digests() -> None:
    with pytest.raises(ValueError, match="8 bytes"):
        Binding(b"f" * 8, b"b" * 8, b"a" * 7)


@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), 2**63, b"bytes", (1,), {1: 2}, "\ud800", {"\ud800": 1}]
)
def test_manifests_hold_json_only(value: object) -> None:
    with pytest.raises(ValueError, match="manifest field 'results'"):
        Manifest(results={"value": value})


def test_manifests_are_not_nested_without_end() -> None:
    value: list[object] = []
    for _ in range(20):
        value = [value]
    with pytest.raises(ValueError, match="deep"):
        Manifest(metadata={"value": value})


def test_repr_is_short() -> None:
    assert (
        repr(Patch.of(Flip("model.layers.0.mlp.up_proj", row) for row in range(24)))
        == "Patch(24 flips, unbound)"
    )
    bound = Patch(frozenset([Flip("lm_head", 1)]), Binding(b"1" * 8, b"2" * 8, b"3" * 8))
    assert repr(bound) == "Patch(1 flip, bound)"
