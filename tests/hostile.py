"""Hostile model files, each named after what it attacks, and the plain writers that make them.

The writers say the formats once more, independently of the package: what they write soundly must open.
"""

import json
import struct
from collections.abc import Sequence

U8, U32, STRING, ARRAY, BOOL = 0, 4, 8, 9, 7
F32, Q1_0 = 0, 41


def text(value: bytes) -> bytes:
    return struct.pack("<Q", len(value)) + value


def pair(key: bytes, kind: int, value: bytes) -> bytes:
    return text(key) + struct.pack("<I", kind) + value


def array(kind: int, count: int, items: bytes = b"") -> bytes:
    return struct.pack("<IQ", kind, count) + items


def tensor(name: bytes, dims: Sequence[int], kind: int, offset: int) -> bytes:
    """One tensor info; ``dims`` innermost first, as in the file."""
    return text(name) + struct.pack(f"<I{len(dims)}QIQ", len(dims), *dims, kind, offset)


def gguf(
    pairs: Sequence[bytes] = (),
    tensors: Sequence[bytes] = (),
    data: bytes = b"",
    *,
    counts: tuple[int, int] | None = None,
    version: int = 3,
    alignment: int = 32,
) -> bytes:
    """A GGUF file; ``counts`` lies about the numbers of tensors and pairs."""
    claimed = counts or (len(tensors), len(pairs))
    head = struct.pack("<4sIQQ", b"GGUF", version, *claimed) + b"".join([*pairs, *tensors])
    return head + b"\0" * (-len(head) % alignment) + data


def alignment(value: int) -> bytes:
    return pair(b"general.alignment", U32, struct.pack("<I", value))


SOUND_GGUF = gguf(
    [
        pair(b"a", U32, b"\1\0\0\0"),
        pair(b"s", STRING, text(b"hi")),
        pair(b"l", ARRAY, array(STRING, 1, text(b"x"))),
    ],
    [tensor(b"norm", [4], F32, 0), tensor(b"w", [128, 2], Q1_0, 32)],
    bytes(16) + bytes(16) + bytes(range(36)),
)


def _nested(depth: int) -> bytes:
    return array(ARRAY, 1, _nested(depth - 1)) if depth else array(U8, 0)


def _one(name: bytes = b"t", dims: Sequence[int] = (8,), kind: int = F32, offset: int = 0) -> bytes:
    return gguf([], [tensor(name, dims, kind, offset)], bytes(32))


# name of the attack -> file; each breaks a rule of the format
GGUF_ATTACKS = {
    "empty": b"",
    "magic_only": b"GGUF",
    "another_magic": b"GGML" + SOUND_GGUF[4:],
    "tensor_count_huge": gguf(counts=(1 << 63, 0)),
    "tensor_count_beyond_file": gguf(counts=(60_000, 0)),
    "key_count_huge": gguf(counts=(0, (1 << 64) - 1)),
    "key_count_beyond_file": gguf([pair(b"a", U8, b"\0")], counts=(0, 60_000)),
    "array_count_huge_in_57_bytes": gguf([pair(b"a", ARRAY, array(U8, 1 << 62, b"\0" * 8))], alignment=1),
    "array_of_strings_count_huge": gguf([pair(b"a", ARRAY, array(STRING, 1 << 40))]),
    "array_of_strings_beyond_end": gguf([pair(b"a", ARRAY, array(STRING, 2, text(b"abc") + b"\xff" * 8))]),
    "array_string_length_huge": gguf([pair(b"a", ARRAY, array(STRING, 1, b"\xff" * 8))]),
    "array_strings_end_early": gguf(
        [pair(b"a", ARRAY, array(STRING, 3, text(b"abcdefghijk") + b"\0" * 14))], alignment=1
    ),
    "array_of_arrays_count_huge": gguf([pair(b"a", ARRAY, array(ARRAY, 1 << 62))]),
    "array_depth_bomb": gguf([pair(b"a", ARRAY, _nested(500))]),
    "array_of_unknown_type": gguf([pair(b"a", ARRAY, array(99, 1))]),
    "value_of_unknown_type": gguf([pair(b"a", 13, b"\0" * 8)]),
    "string_length_2_63": gguf([pair(b"a", STRING, struct.pack("<Q", 1 << 63))]),
    "key_length_2_63": gguf([struct.pack("<Q", 1 << 63)]),
    "key_too_long": gguf([pair(b"k" * 65536, U8, b"\0")]),
    "key_not_utf8": gguf([pair(b"\xff\xfe", U8, b"\0")]),
    "key_twice": gguf([pair(b"a", U8, b"\0"), pair(b"a", U8, b"\1")]),
    "alignment_0": gguf([alignment(0)]),
    "alignment_3": gguf([alignment(3)]),
    "alignment_of_another_type": gguf([pair(b"general.alignment", 10, struct.pack("<Q", 1 << 63))]),
    "alignment_beyond_file": gguf([alignment(1 << 31)], [tensor(b"t", [8], F32, 0)], bytes(64)),
    "tensor_twice": gguf([], [tensor(b"t", [8], F32, 0), tensor(b"t", [8], F32, 32)], bytes(64)),
    "tensor_name_too_long": _one(name=b"n" * 65),
    "tensor_name_not_utf8": _one(name=b"\xc3"),
    "tensors_overlap": gguf([], [tensor(b"t", [16], F32, 0), tensor(b"u", [8], F32, 32)], bytes(64)),
    "tensors_identical_place": gguf([], [tensor(b"t", [8], F32, 0), tensor(b"u", [8], F32, 0)], bytes(64)),
    "tensor_misaligned": _one(offset=4, dims=(1,)),
    "tensor_offset_past_end": _one(offset=1 << 20),
    "tensor_offset_2_64": _one(offset=(1 << 64) - 32),
    "tensor_ends_past_end": _one(dims=(9,)),
    "dimensions_5": _one(dims=(1, 1, 1, 1, 1)),
    "dimensions_huge": gguf([], [text(b"t") + struct.pack("<I", (1 << 32) - 1)]),
    "dimension_0": _one(dims=(0,)),
    "dimension_2_63": _one(dims=(1 << 63,)),
    "dimensions_overflow_to_0": _one(dims=(1 << 32, 1 << 32)),
    "dimensions_overflow_to_8": _one(dims=(1 << 61, 1 << 3, 1, 8)),
    "row_not_whole_blocks": _one(dims=(64,), kind=Q1_0),
}

# sound headers that this package does not read
GGUF_UNSUPPORTED = {
    "version_1": gguf(version=1),
    "version_4": gguf(version=4),
    "big_endian": gguf(version=3 << 24),
    "tensor_type_removed": _one(kind=4),
    "tensor_type_huge": _one(kind=(1 << 32) - 1),
}


def safetensors(header: object, data: bytes = b"", length: int | None = None) -> bytes:
    """A safetensors file; ``header`` is JSON text or something to dump, ``length`` lies about its size."""
    raw = header.encode() if isinstance(header, str) else json.dumps(header).encode()
    return struct.pack("<Q", len(raw) if length is None else length) + raw + data


def entry(
    first: int, last: int, shape: Sequence[object] = (2,), dtype: str = "F32", **more: object
) -> dict[str, object]:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [first, last], **more}


SOUND_SAFETENSORS = safetensors({"__metadata__": {"a": "b"}, "t": entry(0, 8)}, bytes(8))
_T = '{"dtype":"U8","shape":[1],"data_offsets":[0,1]}'

SAFETENSORS_ATTACKS = {
    "empty": b"",
    "seven_bytes": b"\0" * 7,
    "length_2_63": safetensors({}, length=1 << 63),
    "length_past_end": safetensors({}, length=3),
    "length_0": safetensors("", length=0),
    "not_json": safetensors("{oops"),
    "not_utf8": struct.pack("<Q", 2) + b"\xff\xfe",
    "not_an_object": safetensors([1]),
    "depth_bomb": safetensors("[" * 100_000),
    "nan": safetensors('{"t":NaN}'),
    "number_of_5000_digits": safetensors('{"t":' + "9" * 5000 + "}"),
    "name_twice": safetensors(f'{{"t":{_T},"t":{_T}}}', b"\0"),
    "entry_not_an_object": safetensors({"t": 1}),
    "entry_lacks_offsets": safetensors({"t": {"dtype": "F32", "shape": [2]}}, bytes(8)),
    "entry_has_more": safetensors({"t": entry(0, 8, extra=1)}, bytes(8)),
    "entry_offsets_3": safetensors({"t": entry(0, 8) | {"data_offsets": [0, 4, 8]}}, bytes(8)),
    "shape_negative": safetensors({"t": entry(0, 8, shape=[-1, -2])}, bytes(8)),
    "shape_boolean": safetensors({"t": entry(0, 4, shape=[True])}, bytes(4)),
    "shape_float": safetensors({"t": entry(0, 8, shape=[2.0])}, bytes(8)),
    "shape_overflow": safetensors({"t": entry(0, 0, shape=[1 << 62, 1 << 62])}),
    "shape_of_9": safetensors({"t": entry(0, 4, shape=[1] * 9)}, bytes(4)),
    "range_backwards": safetensors({"t": entry(8, 0)}, bytes(8)),
    "range_past_end": safetensors({"t": entry(0, 8)}, bytes(4)),
    "range_too_small": safetensors({"t": entry(0, 4)}, bytes(4)),
    "overlap": safetensors({"t": entry(0, 8), "u": entry(4, 12)}, bytes(12)),
    "hole_before": safetensors({"t": entry(4, 12)}, bytes(12)),
    "bytes_left_over": safetensors({"t": entry(0, 8)}, bytes(9)),
}
