"""docs/format.md is the specification: its golden bytes and its reader are the real ones."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from patches import PATCHES

from bankai.patch import Binding, Flip, Manifest, Patch, decode, encode
from bankai.patch.universe import FAMILIES
from bankai.signing.signature import PublicKey, Signature, verify

PAGE = (Path(__file__).parents[2] / "docs" / "format.md").read_text()

GOLDEN = {
    "rows": Patch.of(
        [
            Flip("lm_head", 9),
            Flip("model.layers.1.mlp.up_proj", 7),
            Flip("model.layers.1.mlp.up_proj", 300),
            Flip("model.layers.4.mlp.up_proj", 0),
            Flip("model.layers.4.mlp.gate_proj", 2),
        ]
    ),
    "bits": Patch.of(
        [
            Flip("model.layers.2.self_attn.o_proj", 5),
            Flip("model.layers.2.self_attn.o_proj", 5, 1),
            Flip("model.layers.2.self_attn.o_proj", 5, 1, 3),
            Flip("model.layers.2.self_attn.o_proj", 2, 0, 0),
            Flip("model.layers.2.self_attn.o_proj", 2, 0, 127),
        ]
    ),
    "bound": Patch(
        frozenset(
            [
                Flip("model.layers.0.mlp.down_proj", 5),
                Flip("model.layers.0.mlp.down_proj", 5, 2),
                Flip("model.layers.0.mlp.experts.3.up_proj", 1, 0),
            ]
        ),
        Binding(
            *(
                bytes.fromhex(digest)
                for digest in ("0011223344556677", "8899aabbccddeeff", "0123456789abcdef")
            )
        ),
        Manifest(name="demo", seed=7),
    ),
    "other": Patch(
        frozenset([Flip("model.layers.0.mlp.up_proj", 3, 17), Flip("lm_head", 2, 0, 31)]),
        Binding(
            *(
                bytes.fromhex(digest)
                for digest in ("0011223344556677", "8899aabbccddeeff", "0123456789abcdef")
            ),
            version=2,
        ),
    ),
}


def block(title: str) -> str:
    found = re.search(rf'^```\w+ title="{title}"\n(.*?)^```$', PAGE, re.MULTILINE | re.DOTALL)
    assert found is not None, f"the page has no block {title!r}"
    return found[1]


def golden(name: str) -> bytes:
    """The bytes of a block: per line what stands before the comment, which two spaces begin."""
    return bytes.fromhex("".join(line.split("  ")[0] for line in block(f"golden {name}").splitlines()))


@pytest.fixture(scope="module")
def read() -> Callable[[bytes], tuple[bytes | None, list[tuple[Any, ...]], bytes]]:
    source = block("reader.py")
    assert sum(map(bool, source.splitlines())) <= 50
    names: dict[str, Any] = {}
    exec(source, names)
    return names["read"]  # type: ignore[no-any-return]


@pytest.mark.parametrize("name", GOLDEN)
def test_golden_bytes(name: str) -> None:
    patch = GOLDEN[name]
    assert encode(patch).hex() == golden(name).hex()
    again = decode(golden(name))
    assert (again.flips, again.binding, again.manifest) == (patch.flips, patch.binding, patch.manifest)


def test_the_pages_signature_is_minisigns_over_the_golden_rows() -> None:
    signature, key = Signature.decode(block("golden signature")), PublicKey.decode(block("golden key"))
    assert verify(golden("rows"), signature, [key]) == key
    files = Path(__file__).parents[1] / "signing" / "minisign"
    assert (files / "rows.bankai").read_bytes() == golden("rows")
    assert (files / "rows.bankai.minisig").read_text() == block("golden signature") == signature.encode()
    assert (files / "plain.pub").read_text() == block("golden key") == key.encode()


def check(read: Callable[..., Any], patch: Patch) -> None:
    binding, flips, manifest = read(encode(patch))
    expected = patch.binding
    assert binding == (expected and expected.fingerprint + expected.before + expected.after)
    assert len(flips) == len(patch)
    assert {Flip(*flip) for flip in flips} == patch.flips
    if patch.manifest != Manifest():
        assert msgspec.msgpack.decode(manifest, type=Manifest) == patch.manifest
    else:
        assert manifest == b""


@pytest.mark.parametrize("name", GOLDEN)
def test_the_pages_reader_reads_the_golden_bytes(read: Callable[..., Any], name: str) -> None:
    check(read, GOLDEN[name])


@given(PATCHES)
def test_the_pages_reader_reads_what_is_written(read: Callable[..., Any], patch: Patch) -> None:
    check(read, patch)


def test_the_pages_table_of_families() -> None:
    listed = dict(re.findall(r"\| (\d) \| `([^`]+)` ", PAGE))
    assert [listed[str(code)] for code in range(len(FAMILIES))] == list(FAMILIES)
