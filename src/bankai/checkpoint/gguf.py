"""GGUF files: a strict, lazy, memory-mapped reader, and a writer through the `gguf` package.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md, versions 2 and 3, little-endian. A hostile file costs
at most time and memory in proportion to its size. ``general.file_type`` is ignored: tensor types are the truth.
"""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from bankai.checkpoint.gguf_metadata import (
    BOOL,
    FLOAT32,
    HEADER,
    INT32,
    INT64,
    SCALARS,
    STRING,
    UINT32,
    UINT64,
    Cursor,
    Metadata,
)
from bankai.errors import UnsupportedModelError
from bankai.io import check_space, map_file, release, writing
from bankai.quantization import Blocks, PackedTensor, Quantization, ggml_quantization, quantization

if TYPE_CHECKING:
    from gguf import GGUFWriter

__all__ = ["GGUFFile", "Layout", "Tensor", "TensorInfo", "gguf_size", "stream_gguf", "write_gguf"]

Tensor = PackedTensor | NDArray[np.floating[Any]]
"""A tensor of a model file: a weight matrix, or a vector of floats."""
Layout = Mapping[str, tuple[Quantization, tuple[int, ...]]]
"""Type and shape, outermost first, of each tensor by GGUF name, in file order."""

DEFAULT_ALIGNMENT = 32
MAX_NAME_BYTES = 64
MAX_DIMENSIONS = 4


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """Where one tensor lies: ``shape`` outermost first, ``offset`` in bytes from the start of the file."""

    name: str
    shape: tuple[int, ...]
    quantization: Quantization
    offset: int
    nbytes: int


class GGUFFile:
    """A mapped GGUF file: ``metadata`` and ``tensors`` by name, in file order. A context manager.

    Raises ModelFormatError when the file breaks a rule of the format, UnsupportedModelError for a sound header of a
    version, byte order or tensor type that is not known. The arrays that it hands out cannot be written to.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._map = map_file(self.path, minimum=HEADER.size)
        try:
            cursor = Cursor(self._map, str(self.path))
            tensor_count, key_count = cursor.header()
            self.metadata = Metadata(cursor, key_count)
            self.alignment = _alignment(self.metadata, cursor)
            self.tensors = _tensor_table(cursor, tensor_count, self.alignment)
        except BaseException:
            self.close()
            raise

    def blocks(self, name: str) -> Blocks:
        """The matrix of that GGUF name as a view of the map: uint8 ``[out, groups, bytes of a group]``.

        Raises UnsupportedModelError for a tensor that is no matrix of whole groups, KeyError for an unknown name.
        """
        info = self.tensors[name]
        if len(info.shape) != 2 or info.shape[1] % info.quantization.weights:
            shape = f"{info.quantization} {list(info.shape)}"
            raise UnsupportedModelError(
                f"{name} is {shape}, not a matrix of whole groups, and cannot be read; use another model"
            )
        return self._bytes(info).reshape(info.shape[0], -1, info.quantization.nbytes)

    def vector(self, name: str) -> NDArray[np.float32]:
        """The float tensor of that GGUF name, of any shape, as float32; a view of the map where it is F32.

        Raises UnsupportedModelError for one that is not of floats, KeyError for an unknown name.
        """
        info = self.tensors[name]
        if not info.quantization.plain:
            raise UnsupportedModelError(f"{name} is {info.quantization}; use a model that keeps it in floats")
        return info.quantization.decode(self._bytes(info).reshape(1, 1, -1)).reshape(info.shape)

    def release(self) -> None:
        """Let the system take back the memory of what was read."""
        release(self._map)

    def close(self) -> None:
        """Let go of the map; arrays handed out keep it alive until they are gone too."""
        with suppress(BufferError):
            self._map.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _bytes(self, info: TensorInfo) -> NDArray[np.uint8]:
        return np.frombuffer(self._map, np.uint8, info.nbytes, info.offset)


def _alignment(metadata: Metadata, cursor: Cursor) -> int:
    """What the offsets of tensors are multiples of. Raises ModelFormatError."""
    if "general.alignment" not in metadata:
        return DEFAULT_ALIGNMENT
    if metadata.kind("general.alignment") != UINT32:
        raise cursor.error("general.alignment is not an unsigned 32-bit number")
    alignment: int = metadata["general.alignment"]
    if alignment.bit_count() != 1:
        raise cursor.error(f"general.alignment is {alignment}, not a power of two")
    return alignment


def _tensor_table(cursor: Cursor, count: int, alignment: int) -> dict[str, TensorInfo]:
    """Read ``count`` tensor infos; check that the data behind them is in range, aligned and disjoint."""
    relative: dict[str, TensorInfo] = {}
    for _ in range(count):
        info = _tensor_info(cursor)
        if info.name in relative:
            raise cursor.error(f"tensor {info.name!r} occurs twice")
        if info.offset % alignment:
            raise cursor.error(
                f"tensor {info.name!r} starts at {info.offset}, which {alignment} does not divide"
            )
        relative[info.name] = info
    start = -(-cursor.position // alignment) * alignment
    tensors = {name: replace(info, offset=start + info.offset) for name, info in relative.items()}
    end, before = start, ""
    for info in sorted(tensors.values(), key=lambda info: info.offset):
        if info.offset < end:
            raise cursor.error(f"tensors {before!r} and {info.name!r} overlap")
        end, before = info.offset + info.nbytes, info.name
        if end > cursor.size:
            raise cursor.error(f"tensor {info.name!r} ends at byte {end} of {cursor.size}")
    return tensors


def _tensor_info(cursor: Cursor) -> TensorInfo:
    """The next tensor info, its offset still relative to the data section."""
    name = cursor.text(MAX_NAME_BYTES, "tensor name")
    dimensions = cursor.u32()
    if dimensions > MAX_DIMENSIONS:
        raise cursor.error(
            f"tensor {name!r} has {dimensions} dimensions, at most {MAX_DIMENSIONS} are allowed"
        )
    shape = tuple(cursor.u64() for _ in range(dimensions))[::-1]  # the file has the innermost first
    type_id = cursor.u32()
    offset = cursor.u64()
    if 0 in shape:
        raise cursor.error(f"tensor {name!r} is empty: {list(shape)}")
    try:
        kind = ggml_quantization(type_id)
    except UnsupportedModelError as error:
        raise UnsupportedModelError(f"{cursor.label}: tensor {name!r}: {error}") from None
    try:
        nbytes = _nbytes(kind, shape)
    except ValueError as error:
        raise cursor.error(f"tensor {name!r} has {error}") from None
    return TensorInfo(name, shape, kind, offset, nbytes)


def write_gguf(
    path: str | Path,
    metadata: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
) -> None:
    """Write a GGUF version 3 file that appears whole or not at all; an existing ``path`` is replaced.

    ``metadata`` must hold ``general.architecture``. Values: bool, str, float (written as 32 bits), int (unsigned 32
    bits where it fits, else signed 32, else 64), or a list of strings, floats or ints (32 bits). ``tensors`` by GGUF
    name: a packed one is written as it is, an array in the type of its numbers. They are encoded one at a time.
    Raises ValueError, TypeError or UnsupportedModelError for what GGUF cannot hold or is not known, StoreError when the
    file cannot be written.
    """
    layout = {name: (_type_of(tensor), tensor.shape) for name, tensor in tensors.items()}
    stream_gguf(path, metadata, layout, tensors.values())


def stream_gguf(
    path: str | Path,
    metadata: Mapping[str, Any],
    layout: Layout,
    tensors: Iterable[Tensor],
) -> None:
    """:func:`write_gguf` for tensors that are made one at a time, in the order of ``layout``."""
    from gguf import GGMLQuantizationType, GGUFWriter

    path = Path(path)
    with writing(path) as temporary:
        check_space(path, gguf_size(metadata, layout))
        writer = GGUFWriter(temporary, metadata["general.architecture"])
        try:
            for key, value in metadata.items():
                if key != "general.architecture":  # the writer has put it first
                    _add_value(writer, key, value)
            for name, (kind, shape) in layout.items():
                raw = GGMLQuantizationType(kind.ggml_id)
                writer.add_tensor_info(name, shape, np.dtype(np.float32), _nbytes(kind, shape), raw_dtype=raw)
            writer.write_header_to_file()
            writer.write_kv_data_to_file()
            writer.write_ti_data_to_file()
            for tensor in tensors:
                data = tensor.blocks if isinstance(tensor, PackedTensor) else tensor
                writer.write_tensor_data(np.ascontiguousarray(data))
        finally:
            writer.close()


def gguf_size(metadata: Mapping[str, Any], layout: Layout) -> int:
    """Bytes of the file that :func:`stream_gguf` writes."""
    header = HEADER.size
    header += sum(8 + len(key.encode()) + 4 + _value_size(key, value) for key, value in metadata.items())
    header += sum(8 + len(name.encode()) + 4 + 8 * len(shape) + 12 for name, (_, shape) in layout.items())
    return _aligned(header) + sum(_aligned(_nbytes(kind, shape)) for kind, shape in layout.values())


def _type_of(tensor: Tensor) -> Quantization:
    """The type that a tensor is written in. Raises UnsupportedModelError for numbers of no known type."""
    if isinstance(tensor, PackedTensor):
        return tensor.quantization
    return quantization(f"{tensor.dtype.kind.upper()}{8 * tensor.dtype.itemsize}")  # such as F32


def _nbytes(kind: Quantization, shape: tuple[int, ...]) -> int:
    """Bytes of a tensor. Raises ValueError where its rows do not end with a block."""
    *outer, row = shape or (1,)
    return prod(outer) * kind.row_bytes(row)


def _aligned(size: int) -> int:
    """The next position that a tensor may start at."""
    return -(-size // DEFAULT_ALIGNMENT) * DEFAULT_ALIGNMENT


def _add_value(writer: "GGUFWriter", key: str, value: Any) -> None:
    from gguf import GGUFValueType

    if isinstance(value, list):
        writer.add_key_value(key, value, GGUFValueType.ARRAY, GGUFValueType(_item_kind(key, value)))
    else:
        writer.add_key_value(key, value, GGUFValueType(_kind(key, value)))


def _value_size(key: str, value: Any) -> int:
    """Bytes of a metadata value."""
    if isinstance(value, list):
        kind = _item_kind(key, value)
        return 12 + sum(_scalar_size(kind, item) for item in value)
    return _scalar_size(_kind(key, value), value)


def _scalar_size(kind: int, value: Any) -> int:
    return 8 + len(value.encode()) if kind == STRING else SCALARS[kind].itemsize


def _kind(key: str, value: Any) -> int:
    """GGUF value type of a scalar."""
    match value:
        case bool():
            return BOOL
        case str():
            return STRING
        case float():
            return FLOAT32
        case int():
            limits = ((0, 32, UINT32), (-(1 << 31), 31, INT32), (0, 64, UINT64))
            return next((kind for low, bits, kind in limits if low <= value < 1 << bits), INT64)
    raise TypeError(f"{key}: GGUF metadata cannot hold {type(value).__name__}")


def _item_kind(key: str, values: list[Any]) -> int:
    """GGUF value type of the items of an array."""
    kinds = {_kind(key, value) for value in values}
    if kinds and kinds <= {UINT32, INT32} and max(values) < 1 << 31:
        return INT32
    if len(kinds) != 1:
        raise TypeError(f"{key}: a GGUF array must have items, all of one type")
    return kinds.pop()
