import math
import random
import subprocess
import sys
import tracemalloc
import zlib
from collections.abc import Callable
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from patches import PATCHES, random_rows

import bankai.patch.codec as codec
from bankai.errors import PatchFormatError
from bankai.patch import Binding, Flip, Manifest, Patch, decode, encode, entropy_bytes, payload_bytes, rice
from bankai.patch.rice import MAX_COUNT, varint

BONSAI = {"gate": 12288, "up": 12288, "down": 4096}
GROUPS = 4  # in a row of the patches of bits
NANO = {"gate": 512, "up": 512, "down": 128}
BINDING = Binding(b"f" * 8, b"b" * 8, b"a" * 8)


def sealed(body: bytes) -> bytes:
    """A file of these bytes after the mark, with the right checksum."""
    data = codec.MAGIC + body
    return data + zlib.crc32(data).to_bytes(4, "little")


def assert_same(left: Patch, right: Patch) -> None:
    assert (left.flips, left.binding, left.manifest) == (right.flips, right.binding, right.manifest)


@given(PATCHES)
def test_round_trip(patch: Patch) -> None:
    data = encode(patch)
    assert_same(decode(data), patch)
    assert encode(decode(data)) == data
    bare = decode(encode(patch, manifest=False))
    assert (bare.flips, bare.binding, bare.manifest) == (patch.flips, patch.binding, Manifest())


@given(PATCHES, st.randoms(use_true_random=False))
def test_order_of_flips_does_not_matter(patch: Patch, order: random.Random) -> None:
    flips = sorted(patch.flips)
    order.shuffle(flips)
    assert encode(Patch(frozenset(flips), patch.binding, patch.manifest)) == encode(patch)


@pytest.mark.parametrize(
    ("count", "layers", "rows"),
    [
        (50, list(range(6)), NANO),
        (93, list(range(36)), BONSAI),
        (93, list(range(16, 21)), {"gate": 12288, "up": 12288}),  # clustered: five layers
        (93, [3, 11, 30], BONSAI),
        (2000, list(range(6)), NANO),
    ],
)
def test_payload_is_near_the_entropy(count: int, layers: list[int], rows: dict[str, int]) -> None:
    """Also against the entropy over all rows there are, not only up to the largest one that is flipped."""
    total = len(layers) * sum(rows.values())
    bound = sum(math.log2((total - index) / (index + 1)) for index in range(count)) / 8
    for seed in range(30):
        patch = random_rows(count, layers, rows, seed)
        assert entropy_bytes(patch) <= bound * (1 + 1e-12)  # fsum against sum
        assert payload_bytes(patch) <= 1.08 * entropy_bytes(patch)


@given(st.integers(50, 300), st.integers(1, 40), st.integers(50, 2000), st.integers(0, 10**6))
@settings(max_examples=60)
def test_payload_is_near_the_entropy_for_any_size(count: int, layers: int, ratio: int, seed: int) -> None:
    """From one place in 50: 50 flips of a denser table hold so little that a count and a part byte exceed 8 %."""
    rows = -(-count * ratio // layers)
    drawn = random.Random(seed).sample(range(layers * rows), count)
    patch = Patch.of(Flip(f"model.layers.{place // rows}.mlp.up_proj", place % rows) for place in drawn)
    assert payload_bytes(patch) <= 1.08 * entropy_bytes(patch)


@given(st.integers(50, 300), st.integers(1, 40), st.integers(30, 5000), st.integers(0, 10**6))
@settings(max_examples=60)
def test_payload_of_bits_is_near_the_entropy(count: int, layers: int, rows: int, seed: int) -> None:
    per_layer = rows * GROUPS * 128
    drawn = random.Random(seed).sample(range(layers * per_layer), count)
    flips = []
    for place in drawn:
        layer, rest = divmod(place, per_layer)
        group, bit = divmod(rest, 128)
        flips.append(Flip(f"model.layers.{layer}.mlp.up_proj", *divmod(group, GROUPS), bit))
    patch = Patch.of(flips)
    assert payload_bytes(patch) <= 1.08 * entropy_bytes(patch)
    bound = sum(math.log2((layers * per_layer - index) / (index + 1)) for index in range(count)) / 8
    assert entropy_bytes(patch) <= bound * (1 + 1e-12)


def test_published_numbers() -> None:
    """DESIGN: 93 of 1,032,192 rows need 172 bytes; of the 122,880 rows of five layers 137."""
    patch = random_rows(93, list(range(36)), BONSAI, 0)
    assert 169 < entropy_bytes(patch) < 172.5
    assert 135 < entropy_bytes(random_rows(93, list(range(16, 21)), {"gate": 12288, "up": 12288}, 0)) < 137


def test_a_small_models_patch_takes_at_most_200_bytes() -> None:
    for seed in range(20):
        patch = random_rows(90, list(range(6)), NANO, seed)
        assert len(encode(Patch(patch.flips, BINDING), manifest=False)) <= 150
        many = random_rows(93, list(range(36)), BONSAI, seed)
        assert len(encode(Patch(many.flips, BINDING), manifest=False)) <= 230


def test_entropy_and_payload_of_little() -> None:
    assert (entropy_bytes(Patch.empty()), payload_bytes(Patch.empty()), len(encode(Patch.empty()))) == (
        0,
        0,
        10,
    )
    assert entropy_bytes(Patch.of([Flip("lm_head", 0)])) == 0
    assert entropy_bytes(Patch.of([Flip("lm_head", 255)])) == pytest.approx(1)
    assert entropy_bytes(Patch.of([Flip("lm_head", 1, 7), Flip("lm_head", 255)])) == pytest.approx(1.5)
    everything = Patch.of(Flip("lm_head", row) for row in range(256))
    assert entropy_bytes(everything) == 0 and decode(encode(everything)) == everything


VALID = encode(
    Patch(
        frozenset([Flip("model.layers.1.mlp.up_proj", 7), Flip("x.2.y", 1, 2), Flip("lm_head", 3, 1, 99)]),
        BINDING,
        Manifest(name="n", results={"fixed": 19}),
    )
)


@pytest.mark.parametrize("length", range(len(VALID)))
def test_truncation_anywhere_is_refused(length: int) -> None:
    with pytest.raises(PatchFormatError):
        decode(VALID[:length])


def test_every_flipped_bit_is_noticed() -> None:
    for bit in range(8 * len(VALID)):
        damaged = bytearray(VALID)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(PatchFormatError):
            decode(bytes(damaged))


ROW = "00 01 08 04 01 80"  # no layers, one family, lm_head, 4 rows, count 1: place 0 ...


@pytest.mark.parametrize(
    ("name", "body", "message"),
    [
        ("unknown flags", "01 40", "unknown flags"),
        ("deflated without manifest", "01 10", "unknown flags"),
        ("other version", "03 00", "version 3"),
        ("trailing byte", "01 00 00", "1 bytes after its end"),
        ("cut binding", "01 01 00", "ends too early"),
        ("no families", "01 02 00 00 01 80", "cannot hold"),
        ("families without end", "01 02 00 ff ff 03 08 04 01 80", "tensor families"),
        ("too many layer bytes", "01 02 e3 09" + "00" * 1251, "layers beyond"),
        ("unknown family", "01 02 00 01 09 04 01 80", "unknown tensor family 9"),
        ("name not ascii", "01 02 00 01 ff 02 c3 a9 01 01 80", "not ASCII"),
        ("impossible name", "01 02 00 01 ff 01 2e 01 01 80", "impossible place"),
        ("two layers in a name", "01 02 01 01 01 ff 05 7b7d2e7b7d 01 01 80", "impossible place"),
        ("row beyond 2^31", "01 02 00 01 08 ff ff ff ff ff 7f 01 00 00 00 00 ff ff", "impossible|past"),
        ("2^63 places", "01 04 00 01 08 ff ff ff ff ff 7f ff ff ff ff 7f 01 ff", r"2\^63"),
        ("2^63 places with bits", "01 20 00 01 08 ff ff ff ff 7f ff ff ff 7f 01 ff", r"2\^63"),
        ("bits of no group", "01 20 00 01 08 01 00 01 80", "cannot hold the 1 places"),
        ("bits without a number of groups", "01 20 00 01 08 01", "ends too early"),
        ("groups beyond 2^20", "01 20 00 01 08 01 81 80 40 01 20 00 00 00", "impossible place"),
        ("bit beyond the table", "01 20 00 01 08 01 01 01 20 00", "outside its own table"),
        ("more bits than the table", "01 20 00 01 08 01 01 81 01" + "ff" * 20, "cannot hold the 129 places"),
        ("more rows than its bits", "01 20 00 01 08 02 01 01 80 00", "canonical"),
        ("more groups than its bits", "01 20 00 01 08 01 02 01 80 00", "canonical"),
        ("padding of bits not zero", "01 20 00 01 08 01 01 02 82 01", "canonical"),
        ("larger table than its flips", "01 02 00 01 08 05 01 80", "canonical"),
        ("unused layer", "01 02 01 03 01 06 01 01 80", "canonical"),
        ("unused family", "01 02 00 02 07 01 08 01 01 80", "canonical"),
        ("families out of order", "01 02 00 02 08 01 07 01 02 c0", "canonical"),
        ("one family twice", "01 02 00 02 08 01 08 01 02 c0", "canonical"),
        ("known family spelled out", "01 02 00 01 ff 07 6c6d5f68656164 01 01 80", "canonical"),
        ("layer not cut out", "01 02 00 01 ff 03 612e31 01 01 80", "canonical"),
        ("padding not zero", "01 02 00 01 08 01 01 c0", "canonical"),
        ("empty layer bitmap byte", "01 02 01 00 01 08 01 01 80", "canonical"),
        ("manifest longer than the file", "01 08 7f 80", "ends too early"),
        ("blank manifest", "01 08 01 80", "canonical"),
        ("manifest of a wrong type", "01 08 01 90", "malformed"),
        ("manifest with a wrong field", "01 08 08 81 a4 6e616d65 01 00", "malformed"),
        ("manifest with an unknown field", "01 08 04 81 a1 7a 01", "canonical"),
        ("manifest not deflate", "01 18 02 81 a0", "cannot be unpacked"),
    ],
)
def test_hostile_files(name: str, body: str, message: str) -> None:
    with pytest.raises(PatchFormatError, match=message):
        decode(sealed(bytes.fromhex(body)))


def manifest_file(deflated: bytes) -> bytes:
    return sealed(bytes([1, 0x18]) + varint(len(deflated)) + deflated)


def test_manifest_bomb_is_refused_in_little_memory() -> None:
    bomb = manifest_file(zlib.compress(bytes(1 << 28), 9))
    tracemalloc.start()
    with pytest.raises(PatchFormatError, match="larger than"):
        decode(bomb)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 << 20


def test_deeply_nested_manifests_are_refused() -> None:
    plain = b"\x81\xa7results\x81\xa1a" + b"\x91" * 5000 + b"\xc0"
    with pytest.raises(PatchFormatError, match="malformed"):
        decode(manifest_file(zlib.compress(plain)))


@pytest.mark.parametrize("tail", [b"more", zlib.compress(b"again")])
def test_bytes_after_the_deflated_manifest_are_refused(tail: bytes) -> None:
    plain = b"\x81\xa4name\xa1n"
    assert decode(manifest_file(zlib.compress(plain))).manifest.name == "n"
    with pytest.raises(PatchFormatError, match="wrong end"):
        decode(manifest_file(zlib.compress(plain) + tail))
    with pytest.raises(PatchFormatError, match="wrong end"):
        decode(manifest_file(zlib.compress(plain)[:-1]))


def test_a_manifest_out_of_bounds_is_not_written() -> None:
    with pytest.raises(PatchFormatError, match="shorten it"):
        encode(Patch(manifest=Manifest(description="x" * (codec.MAX_MANIFEST + 1))))
    manifest = Manifest(results={})
    manifest.results["late"] = object()  # past the check at construction
    with pytest.raises(PatchFormatError, match="cannot be written"):
        encode(Patch(manifest=manifest))


def test_a_patch_out_of_bounds_is_not_written(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as lower:
        lower.setattr(rice, "MAX_COUNT", 9)
        assert encode(Patch.of(Flip("lm_head", row) for row in range(9)))
        with pytest.raises(PatchFormatError, match="more than 9; split it"):
            encode(Patch.of(Flip("lm_head", row) for row in range(10)))
        with pytest.raises(PatchFormatError, match="more than 9; split it"):
            encode(Patch.of(Flip("lm_head", row, *at) for row in range(4) for at in ((), (0,), (0, 0))))
    mixed = encode(Patch.of(Flip("lm_head", row, *at) for row in range(4) for at in ((), (0,), (0, 0))))
    with monkeypatch.context() as lower:
        lower.setattr(rice, "MAX_COUNT", 9)
        with pytest.raises(PatchFormatError, match="more than 9 flips"):
            decode(mixed)
    for bit, layers in ((None, 4096), (0, 32)):
        wide = [Flip(f"a.{layer}.b", 2**31 - 1, 2**20 - 1, bit) for layer in range(layers)]
        with pytest.raises(PatchFormatError, match=r"2\^63 places; split it"):
            encode(Patch.of(wide))
    monkeypatch.setattr(codec, "MAX_FILE", 40)
    with pytest.raises(PatchFormatError, match="split it"):
        encode(Patch.of(Flip("lm_head", 9 * row) for row in range(99)))
    with pytest.raises(PatchFormatError, match="larger than 40"):
        decode(VALID)


@pytest.mark.parametrize(
    "places",
    [
        lambda number: ("lm_head", number),
        lambda number: ("lm_head", 300 + number // 300, 300 + number % 300),
        lambda number: ("lm_head", 300 + number // 2**14, 300 + number // 128 % 128, number % 128),
        lambda number: (f"{'a' * 150}.{number % 9000}.{'b' * 40}", 300 + number, 300, number % 128),
    ],
    ids=["rows", "groups", "bits", "long names"],
)
def test_memory_is_bounded_for_the_densest_file(places: Callable[[int], tuple[Any, ...]]) -> None:
    data = encode(Patch.of(Flip(*places(number)) for number in range(20_000)))
    tracemalloc.start()
    decode(data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak <= 4096 * len(data)
    assert peak / 20_000 * MAX_COUNT <= 256 << 20


@given(st.binary(max_size=80))
@settings(max_examples=300)
def test_fuzz_bytes(body: bytes) -> None:
    for data in (body, codec.MAGIC + body, sealed(b"\x01" + body)):
        try:
            patch = decode(data)
        except PatchFormatError:
            continue
        assert encode(patch, manifest=False) == encode(decode(encode(patch)), manifest=False)


@given(PATCHES, st.data())
@settings(max_examples=300)
def test_fuzz_mutated_files(patch: Patch, data: st.DataObject) -> None:
    """Mutations under a right checksum: refused, or a patch whose file is these very bytes."""
    body = bytearray(encode(patch)[4:-4])
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(body) - 1))
        kind = data.draw(st.sampled_from(["set", "delete", "insert"]))
        if kind == "insert" or len(body) < 3:
            body.insert(at, data.draw(st.integers(0, 255)))
        elif kind == "delete":
            del body[at]
        else:
            body[at] = data.draw(st.integers(0, 255))
    mutated = sealed(bytes(body))
    try:
        result = decode(mutated)
    except PatchFormatError:
        return
    if result.manifest == Manifest():
        assert encode(result) == mutated
    assert_same(decode(encode(result)), result)


def test_reading_patches_imports_no_numpy() -> None:
    code = "import sys, bankai.patch; sys.exit('numpy' in sys.modules or 'tempfile' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_millions_of_families_are_refused_at_their_count() -> None:
    count = 1_000_000
    body = b"\xb1XOR\x01\x02" + b"\x01\x01" + varint(count) + b"\x04\x01" * count
    with pytest.raises(PatchFormatError, match="1000000 tensor families"):
        decode(body + zlib.crc32(body).to_bytes(4, "little"))


def other(*flips: Flip, version: Literal[1, 2] = 2) -> Patch:
    return Patch(frozenset(flips), Binding(bytes(8), bytes(8), bytes(8), version))


def test_version_1_is_kept_where_it_can_hold_the_patch() -> None:
    up = "model.layers.0.mlp.up_proj"
    for patch, version in (
        (Patch.of([Flip(up, 0), Flip(up, 1, 2, 127)]), 1),
        (Patch.of([Flip(up, 1, 2, 128)]), 2),
        (other(Flip(up, 0), version=1), 1),
        (other(Flip(up, 0)), 2),
        (other(), 2),
    ):
        data = encode(patch)
        assert data[4] == version and decode(data) == patch and decode(data).binding == patch.binding


def test_a_file_of_version_2_that_version_1_can_hold_is_not_canonical() -> None:
    data = bytearray(encode(Patch.of([Flip("lm_head", 9)])))
    data[4] = 2
    data[-4:] = zlib.crc32(data[:-4]).to_bytes(4, "little")
    with pytest.raises(PatchFormatError, match="version 1 can hold it"):
        decode(bytes(data))


def test_a_weight_beyond_those_of_a_1_bit_group_is_not_bound_to_a_1_bit_model() -> None:
    with pytest.raises(PatchFormatError, match="bound to a true 1-bit model, whose groups have 128 weights"):
        encode(other(Flip("lm_head", 0, 0, 128), version=1))


def test_a_binding_of_another_version_is_refused() -> None:
    with pytest.raises(ValueError, match="version 1 or 2, not 3"):
        Binding(bytes(8), bytes(8), bytes(8), 3)  # type: ignore[arg-type]
