import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from patches import MANIFESTS

from bankai.errors import PatchFormatError
from bankai.patch import Binding, Flip, Manifest, Patch, decode_json, encode_json

PROJECTIONS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def parsed(flips: object, **keys: object) -> Patch:
    return decode_json(json.dumps({"format": "bankai_row_xor_v1", "flips": flips, **keys}).encode())


def test_an_older_file_without_version() -> None:
    patch = parsed(
        [
            {"layer": 3, "proj": "gate_proj", "row": 9},
            {"layer": 35, "proj": "o_proj", "row": 4095, "group": 31},
        ],
        name="calculus",
        description="d",
        base_model="Bonsai-8B",
        stats={"fixed": 4},
        metadata={"bits": 8929280},
        unknown=[1],
    )
    gate = Flip("model.layers.3.mlp.gate_proj", 9)
    assert patch.flips == {gate, Flip("model.layers.35.self_attn.o_proj", 4095, 31)}
    assert patch.binding is None
    assert patch.manifest == Manifest(
        name="calculus",
        description="d",
        base_model="Bonsai-8B",
        results={"fixed": 4},
        metadata={"bits": 8929280},
    )


def test_golden_export() -> None:
    patch = Patch(
        frozenset([Flip("model.layers.1.mlp.up_proj", 7), Flip("model.layers.0.self_attn.q_proj", 5, 2)]),
        Binding(b"f" * 8, b"b" * 8, b"a" * 8),
        Manifest(name="n", seed=4, results={"fixed": 1}, metadata={"note": "x"}),
    )
    assert json.loads(encode_json(patch)) == {
        "version": 1,
        "format": "bankai_row_xor_v1",
        "name": "n",
        "description": "",
        "base_model": "",
        "flips": [
            {"layer": 0, "proj": "q_proj", "row": 5, "group": 2},
            {"layer": 1, "proj": "up_proj", "row": 7},
        ],
        "stats": {"fixed": 1},
        "metadata": {"note": "x", "bankai": {"seed": 4}},
    }


def test_a_row_and_its_groups_are_exported_in_order() -> None:
    up = "model.layers.10.mlp.up_proj"
    flips = [Flip(up, 5, 2), Flip(up, 5, 0), Flip(up, 5), Flip("model.layers.9.mlp.up_proj", 6)]
    exported = json.loads(encode_json(Patch.of(flips)))["flips"]
    assert [(flip["layer"], flip["row"], flip.get("group")) for flip in exported] == [
        (9, 6, None),
        (10, 5, None),
        (10, 5, 0),
        (10, 5, 2),
    ]


FLIPS = st.builds(
    lambda layer, projection, row, group: Flip(
        f"model.layers.{layer}.{'self_attn' if projection[1] == '_' else 'mlp'}.{projection}", row, group
    ),
    st.integers(0, 9999),
    st.sampled_from(PROJECTIONS),
    st.integers(0, 2**31 - 1),
    st.none() | st.integers(0, 2**20 - 1),
)


@given(st.frozensets(FLIPS, max_size=8), MANIFESTS)
def test_round_trip(flips: frozenset[Flip], manifest: Manifest) -> None:
    patch = Patch(flips, None, manifest)
    again = decode_json(encode_json(patch))
    assert again == patch
    if "bankai" not in manifest.metadata:
        assert again.manifest == manifest


def test_a_foreign_bankai_key_stays_metadata() -> None:
    assert parsed([], metadata={"bankai": {"other": 1}}).manifest.metadata == {"bankai": {"other": 1}}
    assert parsed([], metadata={"bankai": 7}).manifest.metadata == {"bankai": 7}


FLIP = {"layer": 0, "proj": "up_proj", "row": 1}


@pytest.mark.parametrize(
    "flip",
    [
        FLIP | {"row": -1},
        FLIP | {"row": True},
        FLIP | {"row": 1.5},
        FLIP | {"row": "1"},
        FLIP | {"row": None},
        FLIP | {"row": 2**31},
        FLIP | {"row": 10**400},
        FLIP | {"layer": -1},
        FLIP | {"layer": 10_000},
        FLIP | {"layer": 1.0e300},
        FLIP | {"group": -1},
        FLIP | {"group": 2**20},
        FLIP | {"group": 0, "bit": 3},
        FLIP | {"proj": "lm_head"},
        FLIP | {"proj": ["up_proj"]},
        {"layer": 0, "row": 1},
        [0, "up_proj", 1],
        7,
    ],
)
def test_hostile_flips(flip: object) -> None:
    with pytest.raises(PatchFormatError, match="not a bankai_row_xor_v1 patch"):
        parsed([flip])


def test_duplicate_flips_are_refused() -> None:
    with pytest.raises(PatchFormatError, match="listed twice; two flips of one place cancel"):
        parsed([FLIP, dict(FLIP)])


@pytest.mark.parametrize(
    "keys",
    [
        {"version": 2},
        {"version": "1"},
        {"version": True},
        {"format": "bankai_row_xor_v2"},
        {"stats": []},
        {"metadata": 1},
        {"name": 1},
        {"stats": {"x": 2**70}},
        {"metadata": {"bankai": {"seed": 2**70}}},
    ],
)
def test_hostile_keys(keys: dict[str, object]) -> None:
    with pytest.raises(PatchFormatError):
        parsed([], **keys)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'{"format":"bankai_row_xor_v1"}',
        b'{"flips":[]}',
        b'{"format":"bankai_row_xor_v1","flips":{}}',
        b'{"format":"bankai_row_xor_v1","flips":[],"name":"\xff"}',
        b'{"format":"bankai_row_xor_v1","flips":[],"stats":{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}}",
    ],
)
def test_hostile_documents(data: bytes) -> None:
    with pytest.raises(PatchFormatError):
        decode_json(data)


@pytest.mark.parametrize("tensor", ["lm_head", "model.embed_tokens", "model.layers.0.mlp.q_proj"])
def test_what_the_format_cannot_name_is_refused(tensor: str) -> None:
    with pytest.raises(PatchFormatError, match=r"write a \.bankai file instead"):
        encode_json(Patch.of([Flip(tensor, 1)]))


def test_single_bits_are_not_exported() -> None:
    bit = Flip("model.layers.0.mlp.up_proj", 1, 0, 5)
    with pytest.raises(PatchFormatError, match=r"single bits; write a \.bankai file instead"):
        encode_json(Patch.of([Flip("model.layers.0.mlp.up_proj", 1), bit]))
