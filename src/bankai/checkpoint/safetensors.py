"""safetensors files: a strict memory-mapped reader, and a streaming writer.

Format: https://github.com/huggingface/safetensors#format. Eight bytes little-endian length, a JSON header,
then the bytes of the tensors without holes or overlaps. The `safetensors` package does not tell where in the file a
tensor lies, which flips in place need.
"""

import json
import mmap
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bankai.errors import ModelFormatError, UnsupportedModelError
from bankai.io import map_file, parse_object, quote, release

__all__ = ["SafetensorsFile", "TensorEntry", "write_safetensors"]

MAX_HEADER = 16 << 20  # the format allows 100 MB; a model of 1,000 layers needs 2 MB
MAX_DIMENSIONS = 8

DTYPES = {
    "BOOL": "u1", "U8": "u1", "I8": "i1", "F8_E5M2": "u1", "F8_E4M3": "u1", "U16": "<u2", "I16": "<i2",
    "F16": "<f2", "BF16": "<u2", "U32": "<u4", "I32": "<i4", "F32": "<f4", "U64": "<u8", "I64": "<i8",
    "F64": "<f8",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class TensorEntry:
    """One tensor: safetensors dtype, shape, and first byte from the start of the file."""

    dtype: str
    shape: tuple[int, ...]
    offset: int

    @property
    def nbytes(self) -> int:
        """Bytes of the whole tensor."""
        return prod(self.shape) * np.dtype(DTYPES[self.dtype]).itemsize


class SafetensorsFile:
    """A mapped safetensors file; ``tensors`` by name.

    Raises ModelFormatError when the file breaks a rule of the format and UnsupportedModelError for a dtype
    that is not known. The arrays that it hands out cannot be written to.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._map = map_file(path, minimum=8)
        try:
            self.tensors = _read_header(self._map, path)
        except BaseException:
            self.close()
            raise

    def array(self, name: str) -> NDArray[Any]:
        """The tensor ``name`` as a view of the map in its stored type (BF16 as its 16-bit words)."""
        entry = self.tensors[name]
        flat = np.frombuffer(self._map, DTYPES[entry.dtype], prod(entry.shape), entry.offset)
        return flat.reshape(entry.shape)

    def release(self) -> None:
        """Let the system take back the memory of what was read."""
        release(self._map)

    def close(self) -> None:
        """Let go of the map; arrays handed out keep it alive until they are gone too."""
        with suppress(BufferError):
            self._map.close()


def write_safetensors(
    path: Path,
    layout: Mapping[str, tuple[str, tuple[int, ...]]],
    arrays: Iterable[NDArray[Any]],
    metadata: Mapping[str, str],
) -> None:
    """Write tensors of ``layout`` (name -> dtype, shape), whose contents ``arrays`` yields in that order.

    ``path`` must not exist; raises FileExistsError. A failure leaves a part of the file.
    """
    header: dict[str, Any] = {"__metadata__": dict(metadata)}
    position = 0
    for name, (dtype, shape) in layout.items():
        end = position + TensorEntry(dtype, shape, position).nbytes
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [position, end]}
        position = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # keeps 8-byte types aligned
    with open(path, "xb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for array in arrays:
            np.ascontiguousarray(array).tofile(file)


def _read_header(buffer: mmap.mmap, path: Path) -> dict[str, TensorEntry]:
    """Entries by name. Raises ModelFormatError unless they cover the bytes after the header exactly."""
    length = int.from_bytes(buffer[:8], "little")
    if length > min(MAX_HEADER, len(buffer) - 8):
        raise ModelFormatError(f"{path} has a header of {length} bytes; the file is damaged, get it again")
    header = parse_object(buffer[8 : 8 + length], f"header of {path}")
    header.pop("__metadata__", None)
    start = 8 + length
    entries = {name: _entry(name, value, start, path) for name, value in header.items()}
    end = start
    for name, entry in sorted(entries.items(), key=lambda item: (item[1].offset, item[1].nbytes)):
        if entry.offset != end:
            raise ModelFormatError(f"{path}: a hole or an overlap before {quote(name)}; get the file again")
        end += entry.nbytes
    if end != len(buffer):
        raise ModelFormatError(f"{path}: tensors end at byte {end} of {len(buffer)}; get the file again")
    return entries


def _entry(name: str, value: Any, start: int, path: Path) -> TensorEntry:
    match value:
        case {"dtype": str(dtype), "shape": list(shape), "data_offsets": [first, last], **rest} if not rest:
            pass
        case _:
            raise ModelFormatError(
                f"{path}: the header's entry {quote(name)} is malformed; get the file again"
            )
    numbers = [*shape, first, last]
    if len(shape) > MAX_DIMENSIONS or not all(type(n) is int and 0 <= n < 1 << 63 for n in numbers):
        raise ModelFormatError(
            f"{path}: the shape or range of {quote(name)} is malformed; get the file again"
        )
    if dtype not in DTYPES:
        raise UnsupportedModelError(
            f"{path}: {quote(name)} is of type {quote(dtype)}, which is not supported; convert it"
        )
    entry = TensorEntry(dtype, tuple(shape), start + first)
    if last - first != entry.nbytes:
        raise ModelFormatError(
            f"{path}: {quote(name)} needs {entry.nbytes} bytes and has {last - first}; get it again"
        )
    return entry
