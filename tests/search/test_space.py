"""The places of a space, counted and drawn."""

import random

import hybrid
import pytest
from wide import LAYERS, SHAPES, name

from bankai.architectures import PROJECTIONS
from bankai.errors import PlaceError
from bankai.model import load
from bankai.model.decoder import Decoder
from bankai.patch import Flip
from bankai.patch.places import flip_of
from bankai.search.space import Space


@pytest.fixture(scope="module")
def decoder(wide_gguf):
    return Decoder(load(wide_gguf)[0])


def test_every_projection_has_a_short_name():
    assert set(PROJECTIONS.values()) == {*SHAPES, *hybrid.LINEAR}
    assert all(path.endswith(short) for short, path in PROJECTIONS.items())
    assert Space().paths() == ("mlp.gate_proj", "mlp.up_proj", "mlp.down_proj")


def test_all_layers_unless_chosen(decoder):
    assert Space().layers_of(decoder) == tuple(range(LAYERS))
    space = Space(layers=(2, 0), projections=("k_proj", "up_proj"))
    assert list(space.tensors(decoder)) == [
        name(layer, path) for layer in (0, 2) for path in ("k_proj", "up_proj")
    ]


@pytest.mark.parametrize("layer", [-1, LAYERS])
def test_a_layer_that_is_not_there_is_named(decoder, layer):
    with pytest.raises(PlaceError, match=f"layers 0 to {LAYERS - 1}, not {layer}"):
        Space(layers=(0, layer)).layers_of(decoder)


def test_in_a_hybrid_every_layer_has_its_own(hybrid_gguf):
    decoder = Decoder(load(hybrid_gguf)[0])
    assert set(Space(projections=tuple(PROJECTIONS)).tensors(decoder)) == set(hybrid.SHAPES)
    mixed = Space(projections=("in_proj_z", "q_proj", "up_proj"))
    assert [tensor.split(".", 2)[2] for tensor in mixed.tensors(decoder)] == [
        "0.linear_attn.in_proj_z", "0.mlp.up_proj", "1.self_attn.q_proj", "1.mlp.up_proj",
        "2.linear_attn.in_proj_z", "2.mlp.up_proj", "3.self_attn.q_proj", "3.mlp.up_proj",
    ]  # fmt: skip
    assert mixed.size(decoder) == 2 * 768 + 2 * 512 + 4 * 384
    assert {mixed.draw(decoder, random.Random(seed)).tensor for seed in range(200)} == set(
        mixed.tensors(decoder)
    )


def test_a_projection_that_no_searched_layer_has_is_named(decoder, hybrid_gguf):
    linear = Space(projections=("up_proj", "in_proj_z"))
    with pytest.raises(
        PlaceError, match="none of the layers to search has in_proj_z; choose among gate_proj"
    ):
        linear.layers_of(decoder)
    mixed = Decoder(load(hybrid_gguf)[0])
    assert linear.layers_of(mixed) == (0, 1, 2, 3)
    with pytest.raises(PlaceError, match="has in_proj_z"):
        list(Space(projections=("in_proj_z",), layers=hybrid.FULL_LAYERS).tensors(mixed))


@pytest.mark.parametrize(
    ("granularity", "size"), [("row", 640), ("group", 384 * 2 + 256 * 3), ("bit", 384 * 256 * 2)]
)
def test_size_and_places(decoder, granularity, size):
    space = Space(projections=("up_proj", "down_proj"), layers=(1,), granularity=granularity)
    assert space.size(decoder) == size
    places = {"row": 1, "group": 3, "bit": 384}[granularity]
    tensor, info = name(1, "down_proj"), decoder.matrix(name(1, "down_proj")).info
    flips = [flip_of(tensor, row, granularity, place, info) for row in (0, 255) for place in range(places)]
    assert len(set(flips)) == 2 * places
    last = {"row": (), "group": (2,), "bit": (2, 127)}[granularity]
    assert flips[-1] == Flip(name(1, "down_proj"), 255, *last)
    assert list(space.row_flips(decoder)) == [
        Flip(name(1, path), row)
        for path, rows in (("up_proj", 384), ("down_proj", 256))
        for row in range(rows)
    ]


@pytest.mark.parametrize("granularity", ["row", "group", "bit"])
def test_draws_are_alike_over_the_places(decoder, granularity):
    space = Space(projections=("up_proj", "down_proj", "v_proj"), layers=(0, 2), granularity=granularity)
    flips = [space.draw(decoder, random.Random(seed)) for seed in range(3000)]
    assert flips == [space.draw(decoder, random.Random(seed)) for seed in range(3000)]
    for tensor in space.tensors(decoder):
        layer = int(tensor.split(".")[2])
        one = Space(projections=(tensor.split(".")[-1],), layers=(layer,), granularity=granularity)
        share = one.size(decoder) / space.size(decoder)
        drawn = [flip for flip in flips if flip.tensor == tensor]
        assert abs(len(drawn) / 3000 - share) < 0.04  # four standard deviations
        rows, columns = SHAPES[".".join(tensor.split(".")[3:])]
        assert max(flip.row for flip in drawn) > 0.9 * rows and min(flip.row for flip in drawn) < 0.1 * rows
        if granularity != "row":
            assert {flip.group for flip in drawn} == set(range(columns // 128))


def test_scale_of_a_row_is_its_mean(decoder):
    flips = [Flip(name(0, "down_proj"), 3), Flip(name(2, "q_proj"), 9), Flip(name(0, "down_proj"), 0)]
    expected = [
        decoder.model.get_submodule(flip.tensor).weight[flip.row].abs().mean().item() for flip in flips
    ]
    found = [decoder.matrix(flip.tensor).magnitudes()[flip.row] for flip in flips]
    assert found == pytest.approx(expected, rel=1e-5)
