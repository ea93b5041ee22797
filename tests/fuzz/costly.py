"""Sound and hostile files that cost a reader as much as a file of their size can, by the reader they are for.

Each repeats what takes the most memory or time a byte: small integers that Python keeps as objects, empty lists and
objects, short names, many small things of which each has a limit of its own.
"""

import base64
import json
import struct
import zlib
from collections.abc import Callable
from functools import cache

import hostile
from fuzz.seeds import seeds

from bankai.patch import Binding, Flip, Patch, encode
from bankai.patch.codec import MAX_MANIFEST
from bankai.patch.rice import MAX_COUNT, varint

__all__ = ["COSTLY", "bomb", "listing"]

_MANY = 20_000
_LONG = "a" * 150


def _array(kind: int, items: bytes, count: int) -> bytes:
    return hostile.gguf([hostile.pair(b"a", hostile.ARRAY, hostile.array(kind, count, items * count))])


def _json(text: str) -> bytes:
    return b'{"format":"bankai_row_xor_v1","flips":[],' + text.encode() + b"}"


def _flips(count: int) -> bytes:
    flips = (f'{{"layer":0,"proj":"o_proj","row":{row}}}' for row in range(count))
    return b'{"format":"bankai_row_xor_v1","flips":[' + ",".join(flips).encode() + b"]}"


def _tensors(count: int, flips: int) -> bytes:
    """A patch of tensors with the longest of names."""
    names = [f"{_LONG}.{number % 9000}.{'b' * 40}{number // 9000}" for number in range(count)]
    return encode(Patch.of(Flip(name, row, 1, row % 128) for name in names for row in range(flips // count)))


def manifest(item: bytes) -> bytes:
    """MessagePack of the largest manifest whose results are a list of such items."""
    head = b"\x81\xa7results\x81\xa1a\xdd"
    count = (MAX_MANIFEST - len(head) - 4) // len(item)
    return head + struct.pack(">I", count) + item * count


def bomb(row: int, item: bytes = b"\x80") -> bytes:
    """A bound patch of a kilobyte whose manifest unpacks to the largest allowed."""
    bound = Patch(frozenset([Flip("lm_head", row)]), Binding(b"f" * 8, b"b" * 8, b"a" * 8))
    packed = zlib.compress(manifest(item), 9)
    data = bytearray(encode(bound)[:-4])
    data[5] |= 24  # a manifest, compressed
    data += varint(len(packed)) + packed
    return bytes(data) + zlib.crc32(data).to_bytes(4, "little")


def listing(patches: list[bytes]) -> bytes:
    """A sidecar of these patch files."""
    lines = [{"name": "", "time": "", "patch": base64.b64encode(patch).decode()} for patch in patches]
    return json.dumps({"version": 1, "patches": lines}).encode()


def _mlx(part: int, content: bytes) -> bytes:
    """A sound directory but for one file."""
    parts = seeds("mlx")[0].split(b"\0")
    parts[part] = content
    return b"\0".join(parts)


# (reader, what the file is) -> how it is made
COSTLY: dict[tuple[str, str], Callable[[], bytes]] = {
    ("gguf", "numbers below -5"): lambda: _array(1, b"\x80", _MANY),
    ("gguf", "truths"): lambda: _array(hostile.BOOL, b"\1", _MANY),
    ("gguf", "short texts"): lambda: _array(hostile.STRING, hostile.text(b"ab"), _MANY),
    ("gguf", "empty texts"): lambda: _array(hostile.STRING, hostile.text(b""), _MANY),
    ("gguf", "empty arrays"): lambda: _array(hostile.ARRAY, hostile.array(hostile.U8, 0), _MANY),
    ("gguf", "arrays of one"): lambda: _array(hostile.ARRAY, hostile.array(1, 1, b"\x80"), _MANY),
    ("gguf", "a text of wide characters"): lambda: hostile.gguf(
        [hostile.pair(b"a", hostile.STRING, hostile.text("🙂".encode() + b"a" * 200_000))]
    ),
    ("gguf", "keys"): lambda: hostile.gguf(
        [hostile.pair(b"%x" % i, hostile.U8, b"\0") for i in range(_MANY)]
    ),
    ("gguf", "tensors"): lambda: hostile.gguf(
        [hostile.alignment(1)],
        [hostile.tensor(b"%x" % i, [], 24, i) for i in range(_MANY)],
        bytes(_MANY),
        alignment=1,
    ),
    ("safetensors", "empty lists"): lambda: hostile.safetensors('{"a":[' + "[]," * _MANY + "[]]}"),
    ("safetensors", "empty objects"): lambda: hostile.safetensors('{"a":[' + "{}," * _MANY + "{}]}"),
    ("safetensors", "small objects"): lambda: hostile.safetensors('{"a":[' + '{"":9},' * _MANY + "{}]}"),
    ("safetensors", "names"): lambda: hostile.safetensors({f"{i:x}": 0 for i in range(_MANY)}),
    ("mlx", "a configuration of empty objects"): lambda: _mlx(0, b'{"a":[' + b"{}," * _MANY + b"{}]}"),
    ("mlx", "a tokenizer of numbers"): lambda: _mlx(1, b'{"a":[' + b"999," * _MANY + b"9]}"),
    ("patch", "all flips in one tensor"): lambda: encode(
        Patch.of(Flip("lm_head", i) for i in range(MAX_COUNT))
    ),
    ("patch", "all flips in the most tensors"): lambda: _tensors(32_768, MAX_COUNT),
    ("patch", "a manifest of empty objects"): lambda: bomb(0, b"\x80"),
    ("patch", "a manifest of empty lists"): lambda: bomb(0, b"\x90"),
    ("json", "flips"): lambda: _flips(_MANY),
    ("json", "more flips than a patch may have"): lambda: _flips(MAX_COUNT + 1),
    ("json", "a long text"): lambda: _json('"name":"' + "é" * (4 << 20) + '"'),
    ("json", "metadata of empty lists"): lambda: _json('"metadata":{"a":[' + "[]," * 300_000 + "[]]}"),
    ("json", "endless metadata"): lambda: _json('"metadata":{"a":[' + "0," * (4 << 20) + "0]}"),
    ("json", "a long wrong word"): lambda: _flips(1).replace(b"o_proj", b"o" * (1 << 20)),
    ("sidecar", "bombs"): lambda: listing([bomb(row) for row in range(20)]),
    ("sidecar", "all flips, and one more"): lambda: listing(
        [encode(_bound(range(MAX_COUNT))), bomb(MAX_COUNT)]
    ),
    ("probes", "empty lines"): lambda: b"\n" * (1 << 20),
    ("probes", "small probes"): lambda: b"".join(
        b'{"id":"%x","item":"%x","category":"c","split":"target","answers":["6"],"prompt":"p"}\n' % (i, i)
        for i in range(5000)
    ),
}
COSTLY = {case: cache(make) for case, make in COSTLY.items()}


def _bound(rows: range) -> Patch:
    flips = frozenset(Flip("lm_head", row) for row in rows)
    return Patch(flips, Binding(b"f" * 8, b"b" * 8, b"a" * 8))
