"""Digests by hand, and states, for models of either definition."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from builders import build_tiny_gguf
from hypothesis import given
from hypothesis import strategies as st
from quantized import random_tensor

from bankai import patch as patch_room
from bankai.checkpoint.convert import convert
from bankai.checkpoint.model_file import open_checkpoint
from bankai.errors import RowRangeError, UnboundPatchError, UnknownTensorError
from bankai.patch import Flip, Patch, bind, check_places, digest, fingerprint, state
from bankai.patch.binding import content_digest
from bankai.patch.places import places_by_tensor
from bankai.quantization import MatrixInfo, PackedTensor, quantization
from bankai.quantization.one_bit import scales_of, signs_of


class Model:
    """Two tensors in memory: "a" [6, 256] and "b" [12, 128]."""

    def __init__(self, seed: int = 0, kinds: Mapping[str, str] | None = None) -> None:
        rng, kinds = np.random.default_rng(seed), kinds or {}
        self.tensors = {
            name: random_tensor(name, quantization(kinds.get(name, "Q1_0")), shape, rng)
            for name, shape in SHAPES.items()
        }

    @property
    def matrices(self) -> Mapping[str, MatrixInfo]:
        return {name: tensor.info for name, tensor in self.tensors.items()}

    def packed(self, name: str, rows: Sequence[int] | None = None) -> PackedTensor:
        tensor = self.tensors[name]
        blocks = tensor.blocks if rows is None else tensor.blocks[list(rows)]
        return PackedTensor(name, tensor.quantization, blocks)

    def signs(self, name: str) -> np.ndarray:
        return signs_of(self.tensors[name].blocks)

    def scales(self, name: str) -> np.ndarray:
        return scales_of(self.tensors[name].blocks)

    def flip(self, flips: frozenset[Flip]) -> None:
        for name, places in places_by_tensor(flips).items():
            rows, masks = places.masks(self.matrices[name])
            self.tensors[name].blocks[rows] ^= masks


SHAPES = {"b": (12, 128), "a": (6, 256)}
MIXED = {"a": "Q4_1", "b": "F16"}
FLIPS = st.one_of(
    st.builds(Flip, st.just("a"), st.integers(0, 5), st.sampled_from([None, 0, 1])),
    st.builds(Flip, st.just("b"), st.integers(0, 11), st.sampled_from([None, 0])),
    st.builds(Flip, st.just("a"), st.integers(0, 5), st.integers(0, 1), st.sampled_from([0, 1, 63, 127])),
    st.builds(Flip, st.just("b"), st.integers(0, 11), st.just(0), st.integers(0, 127)),
)
SETS = st.frozensets(FLIPS, max_size=8)


@given(SETS, SETS)
def test_a_digest_with_flips_imagined_is_the_digest_after_flipping(
    flips: frozenset[Flip], other: frozenset[Flip]
) -> None:
    model = Model()
    imagined = digest(model, flips, other)
    before = digest(model, flips)
    model.flip(other)
    assert digest(model, flips) == imagined
    assert digest(model, flips, other) == before


@pytest.mark.parametrize("touched_flip", [Flip("a", 2, 1), Flip("a", 2), Flip("a", 2, 1, 77)])
@pytest.mark.parametrize("bits", [[], [Flip("a", 2, 1, 3), Flip("a", 2, 1, 4), Flip("a", 2, 0, 4)]])
def test_an_imagined_row_and_a_group_of_it_cancel_in_that_group(touched_flip: Flip, bits: list[Flip]) -> None:
    model, other = Model(), frozenset([Flip("a", 2), Flip("a", 2, 1), *bits])
    imagined = digest(model, [touched_flip], other)
    model.flip(other)
    assert digest(model, [touched_flip]) == imagined


@given(SETS)
def test_states(flips: frozenset[Flip]) -> None:
    model = Model()
    patch = bind(Patch(flips), model)
    assert patch.binding is not None
    assert state(model, patch) == "base"
    model.flip(flips)
    # a row and all its groups cancel, so do a group and all its bits: then nothing changes, and it is off
    assert state(model, patch) == ("applied" if patch.binding.before != patch.binding.after else "base")
    model.flip(flips)
    assert state(model, patch) == "base"


def test_bits_that_are_neither_are_foreign() -> None:
    model = Model()
    patch = bind(Patch.of([Flip("a", 2)]), model)
    model.signs("a")[2, 1, 5] ^= 1
    assert state(model, patch) == "foreign"
    model.signs("a")[2, 1, 5] ^= 1
    model.signs("a")[3, 1, 5] ^= 1  # not touched by the patch
    assert state(model, patch) == "base"


def test_a_bit_answers_for_its_whole_group() -> None:
    model = Model()
    patch = bind(Patch.of([Flip("a", 2, 1, 5)]), model)
    model.signs("a")[2, 1, 15] ^= 1
    assert state(model, patch) == "foreign"
    model.signs("a")[2, 1, 15] ^= 1
    model.signs("a")[2, 0, 15] ^= 1  # the group beside it
    assert state(model, patch) == "base"
    model.scales("a")[2, 1] *= -1
    assert state(model, patch) == "foreign"


def test_a_changed_scale_is_foreign() -> None:
    model = Model()
    patch = bind(Patch.of([Flip("b", 7, 0)]), model)
    model.scales("b")[7, 0] += 1
    assert state(model, patch) == "foreign"


def test_fingerprint_covers_names_shapes_and_scales_but_no_bits() -> None:
    model = Model()
    first = fingerprint(model)
    model.flip(frozenset([Flip("a", 2), Flip("b", 0, 0)]))
    assert fingerprint(model) == first
    model.scales("a")[3, 1] *= 2
    second = fingerprint(model)
    del model.tensors["b"]
    third = fingerprint(model)
    model.tensors["c"] = model.tensors.pop("a")
    assert len({first, second, third, fingerprint(model)}) == 4
    assert state(model, bind(Patch.of([Flip("a", 1)]), Model())) == "foreign"


def test_digests_by_hand() -> None:
    """The byte strings of docs/format.md, written out."""
    model = Model()

    def integers(*values: int) -> bytes:
        return b"".join(value.to_bytes(8, "little") for value in values)

    expected = b"bankai fingerprint 1\0"
    for name, rows in (("a", [0, 0, 1, 2, 3, 3, 4, 5]), ("b", [0, 1, 3, 4, 6, 7, 9, 10])):
        expected += name.encode() + b"\0" + integers(*model.matrices[name].shape)
        expected += b"".join(model.scales(name)[row, :8].tobytes() for row in rows)
    assert fingerprint(model) == hashlib.blake2b(expected, digest_size=8).digest()

    expected = b"bankai bits 1\0" + b"a\0" + integers(1, 2)
    expected += integers(4) + model.signs("a")[4].tobytes() + model.scales("a")[4].tobytes()
    expected += integers(1, 1, 5, 0)
    expected += model.signs("a")[1, 1].tobytes() + model.signs("a")[5, 0].tobytes()
    expected += model.scales("a")[1, 1].tobytes() + model.scales("a")[5, 0].tobytes()
    expected += (
        b"b\0" + integers(1, 0) + integers(9) + model.signs("b")[9].tobytes() + model.scales("b")[9].tobytes()
    )
    flips = [Flip("b", 9), Flip("a", 5, 0), Flip("a", 1, 1), Flip("a", 4), Flip("a", 4, 1)]
    assert digest(model, flips) == hashlib.blake2b(expected, digest_size=8).digest()
    # bits in what is covered already add nothing; elsewhere each group with a bit counts once
    inside = [Flip("b", 9, 0, 127), Flip("a", 5, 0, 3), Flip("a", 4, 1, 0), Flip("a", 4, 0, 9)]
    assert digest(model, [*flips, *inside]) == digest(model, flips)
    by_bits = [Flip("a", 5, 0, 3), Flip("a", 5, 0, 99), Flip("a", 1, 1, 127), Flip("a", 4), Flip("b", 9)]
    assert digest(model, by_bits) == digest(model, flips)


def test_digests_of_other_models_by_hand() -> None:
    """The second definition of docs/format.md, written out."""
    model = Model(kinds=MIXED)
    a, b = model.packed("a").blocks, model.packed("b").blocks

    def integers(*values: int) -> bytes:
        return b"".join(value.to_bytes(8, "little") for value in values)

    kept = {"a": b"\xff\x7f\xff\x7f" + b"\xff" * 16, "b": b"\xff\x7f" * 32}
    expected = b"bankai fingerprint 2\0"
    for name, rows in (("a", [0, 0, 1, 2, 3, 3, 4, 5]), ("b", [0, 1, 3, 4, 6, 7, 9, 10])):
        blocks = model.packed(name).blocks & np.frombuffer(kept[name], np.uint8)
        expected += name.encode() + b"\0" + MIXED[name].encode() + b"\0" + integers(*SHAPES[name])
        expected += b"".join(blocks[row, :8].tobytes() for row in rows)
    assert fingerprint(model) == hashlib.blake2b(expected, digest_size=8).digest()

    expected = b"bankai bits 2\0" + b"a\0Q4_1\0" + integers(1, 2) + integers(4) + a[4].tobytes()
    expected += integers(1, 1, 5, 7) + a[1, 1].tobytes() + a[5, 7].tobytes()
    expected += (
        b"b\0F16\0" + integers(1, 1) + integers(9) + b[9].tobytes() + integers(3, 2) + b[3, 2].tobytes()
    )
    flips = [
        Flip("b", 9),
        Flip("a", 5, 7),
        Flip("a", 1, 1),
        Flip("a", 4),
        Flip("a", 4, 1),
        Flip("b", 3, 2, 31),
    ]
    assert digest(model, flips) == hashlib.blake2b(expected, digest_size=8).digest()
    bound = bind(Patch.of(flips), model)
    assert bound.binding and bound.binding.version == 2
    one_bit = bind(Patch.of([Flip("a", 0)]), Model())
    assert one_bit.binding and one_bit.binding.version == 1


@given(st.sets(st.integers(0, 5)), st.sets(st.tuples(st.integers(0, 5), st.integers(0, 7))))
def test_states_of_other_models(rows: set[int], groups: set[tuple[int, int]]) -> None:
    """No patch makes its model foreign, though it changes signs of scales."""
    model = Model(kinds=MIXED)
    flips = frozenset([*(Flip("a", row) for row in rows), *(Flip("a", *place) for place in groups)])
    patch, other = bind(Patch(flips), model), frozenset([Flip("b", 0), Flip("a", 5), Flip("b", 1, 0, 0)])
    identity, imagined, whole = fingerprint(model), digest(model, flips, other), content_digest(model)
    model.flip(flips)
    changed = patch.binding is not None and patch.binding.before != patch.binding.after
    assert fingerprint(model) == identity and state(model, patch) == ("applied" if changed else "base")
    assert (content_digest(model) == whole) == (not changed)
    model.flip(flips ^ other)
    assert fingerprint(model) == identity and digest(model, flips) == imagined


def test_the_quantization_is_part_of_the_fingerprint() -> None:
    """Q4_0 and IQ4_NL have blocks of the same shape: the same bytes are other weights."""
    one, two = Model(kinds=MIXED), Model(kinds=MIXED)
    kind = two.tensors["a"].quantization
    two.tensors["a"] = PackedTensor("a", replace(kind, name="other"), two.tensors["a"].blocks)
    assert fingerprint(one) != fingerprint(two)


def test_gguf_and_mlx_copies_agree(tmp_path: Path, tiny_gguf: Path) -> None:
    convert(tiny_gguf, tmp_path / "mlx")
    flips = [Flip("lm_head", 9), Flip("model.layers.1.mlp.down_proj", 5, 1), Flip("model.embed_tokens", 0)]
    flips += [Flip("lm_head", 8, 0, 127), Flip("model.layers.1.mlp.down_proj", 5, 0, 12)]
    with open_checkpoint(tiny_gguf) as gguf, open_checkpoint(tmp_path / "mlx") as mlx:
        assert fingerprint(gguf) == fingerprint(mlx)
        assert bind(Patch.of(flips), gguf).binding == bind(Patch.of(flips), mlx).binding


def test_models_of_other_seeds_differ(tmp_path: Path, tiny_gguf: Path) -> None:
    other = build_tiny_gguf(tmp_path / "other.gguf", seed=1)
    with open_checkpoint(tiny_gguf) as one, open_checkpoint(other) as two:
        assert fingerprint(one) != fingerprint(two)


@pytest.mark.parametrize(
    ("flip", "error", "message"),
    [
        (Flip("c", 0), UnknownTensorError, "no weight matrix c"),
        (Flip("a", 6), RowRangeError, "a has 6 rows, the patch flips row 6"),
        (Flip("a", 6, 0), RowRangeError, "a has 6 rows, the patch flips row 6"),
        (Flip("a", 5, 2), RowRangeError, "a has 2 groups, the patch flips group 2"),
        (Flip("a", 6, 0, 1), RowRangeError, "a has 6 rows, the patch flips row 6"),
        (Flip("a", 5, 2, 1), RowRangeError, "a has 2 groups, the patch flips group 2"),
    ],
)
def test_places_that_do_not_exist(flip: Flip, error: type[Exception], message: str) -> None:
    model = Model()
    for attempt in (check_places, digest):
        with pytest.raises(error, match=message):
            attempt(model, [Flip("a", 0), flip])
    with pytest.raises(error):
        bind(Patch.of([flip]), model)


def test_an_unbound_patch_has_no_state() -> None:
    with pytest.raises(UnboundPatchError, match="bankai bind"):
        state(Model(), Patch.of([Flip("a", 0)]))


def test_the_rooms_public_names() -> None:
    for name in patch_room.__all__:
        assert getattr(patch_room, name) is not None
    with pytest.raises(AttributeError, match="nothing"):
        patch_room.nothing  # noqa: B018
