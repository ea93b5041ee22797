"""The key-value part of a GGUF file and the bounded cursor that walks it.

Nothing is decoded while walking: a value is located by stepping over it, and decoded each time it is asked
for. No number in the file is trusted; every length is bounded by the bytes that are left, and the items of all
arrays together, so that the walk takes about a second at most however large the file is. A value takes at most
48 bytes of memory per byte of the file that it is decoded from.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md.
"""

import mmap
import struct
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from bankai.errors import ModelFormatError, UnsupportedModelError
from bankai.io import quote

__all__ = [
    "BOOL",
    "FLOAT32",
    "HEADER",
    "INT32",
    "INT64",
    "SCALARS",
    "STRING",
    "UINT32",
    "UINT64",
    "Cursor",
    "Metadata",
]

# Limits far above any real file; they keep what is built from a hostile one small.
MAX_KEYS = 1 << 16
MAX_TENSORS = 1 << 16
MAX_ITEMS = 1 << 22  # in all arrays of a file together; vocabularies and merges have a million
_ARRAY_COSTS = 16  # items: what an array in an array counts for, since it takes longer to step over
MAX_KEY_BYTES = (1 << 16) - 1
MAX_ARRAY_DEPTH = 4

# GGUF value types
UINT32, INT32, FLOAT32, BOOL, STRING, ARRAY, UINT64, INT64 = 4, 5, 6, 7, 8, 9, 10, 11
SCALARS = {
    kind: np.dtype(code)
    for kind, code in {
        0: "<u1", 1: "<i1", 2: "<u2", 3: "<i2", UINT32: "<u4", INT32: "<i4",
        FLOAT32: "<f4", BOOL: "<u1", UINT64: "<u8", INT64: "<i8", 12: "<f8",
    }.items()
}  # fmt: skip
_U32 = struct.Struct("<I")
_U64 = struct.Struct("<Q")
HEADER = struct.Struct("<4sIQQ")


class Cursor:
    """A position in a mapped GGUF file, which never passes its end; raises ModelFormatError instead."""

    def __init__(self, buffer: mmap.mmap, label: str, position: int = 0) -> None:
        self.buffer = buffer
        self.size = len(buffer)
        self.label = label
        self.position = position
        self.items = 0  # stepped over, in arrays

    def error(self, problem: str) -> ModelFormatError:
        """The error to raise for ``problem`` in this file."""
        return ModelFormatError(f"{self.label}: {problem}; the file is damaged, get it again")

    def header(self) -> tuple[int, int]:
        """Check magic and version; return the counts of tensors and of metadata keys.

        Raises ModelFormatError and UnsupportedModelError.
        """
        magic, version, tensors, keys = HEADER.unpack_from(self.buffer)
        if magic != b"GGUF":
            raise ModelFormatError(f"{self.label} is not a GGUF file; give a .gguf file or an MLX directory")
        if version not in (2, 3):
            kind = "is big-endian" if version and version & 0xFFFF == 0 else f"has GGUF version {version}"
            raise UnsupportedModelError(f"{self.label} {kind}; convert it to little-endian GGUF version 3")
        if tensors > MAX_TENSORS or keys > MAX_KEYS:
            raise self.error(f"it claims {tensors} tensors and {keys} metadata keys")
        self.position = HEADER.size
        return tensors, keys

    def take(self, count: int) -> int:
        """Step over ``count`` bytes; return where they start."""
        start = self.position
        if count > self.size - start:
            raise self.error(f"{count} bytes wanted at offset {start}, {self.size - start} left")
        self.position = start + count
        return start

    def u32(self) -> int:
        """Next little-endian unsigned 32-bit number."""
        value: int = _U32.unpack_from(self.buffer, self.take(4))[0]
        return value

    def u64(self) -> int:
        """Next little-endian unsigned 64-bit number."""
        value: int = _U64.unpack_from(self.buffer, self.take(8))[0]
        return value

    def text(self, limit: int, what: str) -> str:
        """Next string, of at most ``limit`` bytes of UTF-8."""
        length = self.u64()
        if length > limit:
            raise self.error(f"{what} of {length} bytes, at most {limit} are allowed")
        start = self.take(length)
        try:
            return self.buffer[start : start + length].decode("utf-8")
        except UnicodeDecodeError as error:
            raise self.error(f"{what} at offset {start} is not UTF-8") from error

    def skip_value(self, kind: int) -> None:
        """Step over one metadata value of that type."""
        if kind in SCALARS:
            self.take(SCALARS[kind].itemsize)
        elif kind == STRING:
            self.take(self.u64())
        elif kind == ARRAY:
            self._skip_array(depth=1)
        else:
            raise self.error(f"unknown metadata value type {kind}")

    def _skip_array(self, depth: int) -> None:
        item, count = self.u32(), self.u64()
        self.items += count * _ARRAY_COSTS if item == ARRAY else count
        if self.items > MAX_ITEMS:
            raise self.error(f"an array of {count} items; {MAX_ITEMS} are allowed in all")
        if item in SCALARS:
            self.take(count * SCALARS[item].itemsize)
        elif item == STRING:
            self._skip_strings(count)
        elif item == ARRAY and depth < MAX_ARRAY_DEPTH:
            if count > (self.size - self.position) // 12:  # 12: type and count of an empty array
                raise self.error(f"an array of {count} arrays")
            for _ in range(count):
                self._skip_array(depth + 1)
        else:
            raise self.error(
                f"array of value type {item}, unknown or nested more than {MAX_ARRAY_DEPTH} deep"
            )

    def _skip_strings(self, count: int) -> None:
        """Step over ``count`` strings. Kept tight: a vocabulary has 150,000 of them and as many merges."""
        if count > (self.size - self.position) // 8:  # 8: length of an empty string
            raise self.error(f"an array of {count} strings")
        position, last, unpack, buffer = self.position, self.size - 8, _U64.unpack_from, self.buffer
        for _ in range(count):
            if position > last:
                raise self.error(f"an array of {count} strings passes the end")
            position += 8 + unpack(buffer, position)[0]
        self.take(position - self.position)

    def value(self, kind: int, what: str) -> Any:
        """Decode one metadata value; arrays become lists."""
        if kind == STRING:
            return self.text(self.size, what)
        if kind != ARRAY:
            return self._numbers(kind, 1, what)[0]
        item, count = self.u32(), self.u64()
        if item in SCALARS:
            return self._numbers(item, count, what)
        return [self.value(item, what) for _ in range(count)]

    def _numbers(self, kind: int, count: int, what: str) -> list[Any]:
        dtype = SCALARS[kind]
        numbers = np.frombuffer(self.buffer, dtype, count, self.take(count * dtype.itemsize))
        values: list[Any] = numbers.tolist()
        if kind != BOOL:
            return values
        if (numbers > 1).any():
            raise self.error(f"{what} is neither true nor false")
        return [bool(value) for value in values]


class Metadata(Mapping[str, Any]):
    """Keys and values of a GGUF file; a value is a bool, int, float, str or a list of them.

    Reading a value raises ModelFormatError for text that is not UTF-8 and for a truth value other than 0 or
    1.
    """

    def __init__(self, cursor: Cursor, count: int) -> None:
        """Locate ``count`` values from ``cursor`` on, and leave it behind the last. Raises ModelFormatError."""
        self._buffer = cursor.buffer
        self._label = cursor.label
        self._places: dict[str, tuple[int, int]] = {}  # key -> value type, position
        for _ in range(count):
            key = cursor.text(MAX_KEY_BYTES, "metadata key")
            if key in self._places:
                raise cursor.error(f"metadata key {quote(key)} occurs twice")
            kind = cursor.u32()
            self._places[key] = (kind, cursor.position)
            cursor.skip_value(kind)

    def __getitem__(self, key: str) -> Any:
        kind, position = self._places[key]
        return Cursor(self._buffer, self._label, position).value(kind, f"value of {key}")

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    def kind(self, key: str) -> int:
        """GGUF value type of ``key``."""
        return self._places[key][0]
