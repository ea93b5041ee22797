"""GGUF files: a strict, lazy, memory-mapped reader, the ``Q1_0`` block, and a writer through ``gguf``.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md, versions 2 and 3, little-endian. A
hostile file costs at most time and memory in proportion to its size. ``general.file_type`` is ignored:
tensor types are the truth.

``Q1_0`` (ggml type 41) stores 128 weights in 18 bytes: little-endian fp16 ``d``, then 16 bytes of signs,
least significant bit first, 1 = ``+d``.
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
from bankai.quantization.binary import GROUP, GROUP_BYTES, ONE_BIT_ONLY, BinaryTensor

if TYPE_CHECKING:
    from gguf import GGUFWriter

__all__ = [
    "F16",
    "F32",
    "Q1_0",
    "Q1_0_BLOCK",
    "SIGNS",
    "GGUFFile",
    "Layout",
    "TensorInfo",
    "encode_q1_0",
    "gguf_size",
    "stream_gguf",
    "write_gguf",
]

F32, F16, Q1_0 = 0, 1, 41
Q1_0_BLOCK = np.dtype([("d", "<f2"), ("qs", "u1", (GROUP_BYTES,))])
SIGNS = 2  # bytes of a block before its signs

Layout = Mapping[str, tuple[int, tuple[int, ...]]]
"""ggml type and shape, outermost first, of each tensor by GGUF name, in file order."""

DEFAULT_ALIGNMENT = 32
MAX_NAME_BYTES = 64
MAX_DIMENSIONS = 4

# ggml type -> (name, weights per block, bytes per block), from ggml.h; removed types are left out.
TENSOR_TYPES = {
    0: ("F32", 1, 4),
    1: ("F16", 1, 2),
    2: ("Q4_0", 32, 18),
    3: ("Q4_1", 32, 20),
    6: ("Q5_0", 32, 22),
    7: ("Q5_1", 32, 24),
    8: ("Q8_0", 32, 34),
    9: ("Q8_1", 32, 40),
    10: ("Q2_K", 256, 84),
    11: ("Q3_K", 256, 110),
    12: ("Q4_K", 256, 144),
    13: ("Q5_K", 256, 176),
    14: ("Q6_K", 256, 210),
    15: ("Q8_K", 256, 292),
    16: ("IQ2_XXS", 256, 66),
    17: ("IQ2_XS", 256, 74),
    18: ("IQ3_XXS", 256, 98),
    19: ("IQ1_S", 256, 50),
    20: ("IQ4_NL", 32, 18),
    21: ("IQ3_S", 256, 110),
    22: ("IQ2_S", 256, 82),
    23: ("IQ4_XS", 256, 136),
    24: ("I8", 1, 1),
    25: ("I16", 1, 2),
    26: ("I32", 1, 4),
    27: ("I64", 1, 8),
    28: ("F64", 1, 8),
    29: ("IQ1_M", 256, 56),
    30: ("BF16", 1, 2),
    34: ("TQ1_0", 256, 54),
    35: ("TQ2_0", 256, 66),
    39: ("MXFP4", 32, 17),
    40: ("NVFP4", 64, 36),
    41: ("Q1_0", GROUP, Q1_0_BLOCK.itemsize),
}


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """Where one tensor lies: ``shape`` outermost first, ``offset`` in bytes from the start of the file."""

    name: str
    shape: tuple[int, ...]
    type_id: int
    offset: int
    nbytes: int

    @property
    def type_name(self) -> str:
        """Name of the ggml type, such as ``Q1_0``."""
        return TENSOR_TYPES[self.type_id][0]


class GGUFFile:
    """A mapped GGUF file: ``metadata`` and ``tensors`` by name, in file order. A context manager.

    Raises ModelFormatError when the file breaks a rule of the format, UnsupportedModelError for a sound
    header of a version, byte order or tensor type that is not known. With ``writable`` the arrays that it
    hands out write to the file.
    """

    def __init__(self, path: str | Path, writable: bool = False) -> None:
        self.path = Path(path)
        self.writable = writable
        self._map = map_file(self.path, writable, minimum=HEADER.size)
        try:
            cursor = Cursor(self._map, str(self.path))
            tensor_count, key_count = cursor.header()
            self.metadata = Metadata(cursor, key_count)
            self.alignment = _alignment(self.metadata, cursor)
            self.tensors = _tensor_table(cursor, tensor_count, self.alignment)
        except BaseException:
            self.close()
            raise

    def binary(self, gguf_name: str, name: str) -> BinaryTensor:
        """The Q1_0 tensor ``gguf_name`` as views of the map, under the canonical ``name``."""
        info = self.tensors[gguf_name]
        if info.type_id != Q1_0 or len(info.shape) != 2:
            raise UnsupportedModelError(
                f"{gguf_name} is {info.type_name} {list(info.shape)}, not a Q1_0 matrix"
            )
        blocks = self._array(info, Q1_0_BLOCK).reshape(info.shape[0], info.shape[1] // GROUP)
        return BinaryTensor(name, blocks["qs"], blocks["d"])

    def dense(self, gguf_name: str) -> NDArray[np.float32]:
        """The F32, F16 or BF16 tensor ``gguf_name`` as float32; a view of the map where it is F32."""
        info = self.tensors[gguf_name]
        match info.type_name:
            case "F32":
                return self._array(info, np.dtype("<f4")).reshape(info.shape)
            case "F16":
                return self._array(info, np.dtype("<f2")).astype(np.float32).reshape(info.shape)
            case "BF16":
                words = self._array(info, np.dtype("<u2")).astype(np.uint32) << 16
                return words.view(np.float32).reshape(info.shape)
        raise UnsupportedModelError(
            f"{gguf_name} is {info.type_name}; only F32, F16 and BF16 can be read as dense"
        )

    def flush(self) -> None:
        """Write what was changed through the map to the disk."""
        self._map.flush()

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

    def _array(self, info: TensorInfo, dtype: np.dtype[Any]) -> NDArray[Any]:
        return np.frombuffer(self._map, dtype, info.nbytes // dtype.itemsize, info.offset)


def _alignment(metadata: Metadata, cursor: Cursor) -> int:
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
    if type_id not in TENSOR_TYPES:
        raise UnsupportedModelError(
            f"{cursor.label}: tensor {name!r} has unknown ggml type {type_id}; {ONE_BIT_ONLY}"
        )
    _, block, block_bytes = TENSOR_TYPES[type_id]
    row = shape[-1] if shape else 1
    if row % block:
        raise cursor.error(f"tensor {name!r} has rows of {row} weights, not a multiple of {block}")
    return TensorInfo(name, shape, type_id, offset, prod(shape) // block * block_bytes)


def encode_q1_0(tensor: BinaryTensor) -> NDArray[np.uint8]:
    """Q1_0 bytes of ``tensor``: uint8 ``[out, groups * 18]``."""
    blocks = np.empty(tensor.scales.shape, Q1_0_BLOCK)
    blocks["d"] = tensor.scales
    blocks["qs"] = tensor.signs
    return blocks.view(np.uint8)


def write_gguf(
    path: str | Path,
    metadata: Mapping[str, Any],
    tensors: Mapping[str, BinaryTensor | NDArray[np.floating[Any]]],
) -> None:
    """Write a GGUF version 3 file that appears whole or not at all; an existing ``path`` is replaced.

    ``metadata`` must hold ``general.architecture``. Values: bool, str, float (written as 32 bits), int
    (unsigned 32 bits where it fits, else signed 32, else 64), or a list of strings, floats or ints (32
    bits). ``tensors`` by GGUF name: BinaryTensor becomes Q1_0, an array of floats or ints the type of its
    numbers. They are encoded one at a time. Raises ValueError or TypeError for values that GGUF cannot hold, StoreError
    when there is no place for the file.
    """
    layout = {name: (_type_of(tensor), tensor.shape) for name, tensor in tensors.items()}
    stream_gguf(path, metadata, layout, tensors.values())


def stream_gguf(
    path: str | Path,
    metadata: Mapping[str, Any],
    layout: Layout,
    tensors: Iterable[BinaryTensor | NDArray[np.floating[Any]]],
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
            for name, (type_id, shape) in layout.items():
                kind, nbytes = GGMLQuantizationType(type_id), _nbytes(type_id, shape)
                writer.add_tensor_info(name, shape, np.dtype(np.float32), nbytes, raw_dtype=kind)
            writer.write_header_to_file()
            writer.write_kv_data_to_file()
            writer.write_ti_data_to_file()
            for tensor in tensors:
                data = (
                    encode_q1_0(tensor) if isinstance(tensor, BinaryTensor) else np.ascontiguousarray(tensor)
                )
                writer.write_tensor_data(data)
        finally:
            writer.close()


def gguf_size(metadata: Mapping[str, Any], layout: Layout) -> int:
    """Bytes of the file that :func:`stream_gguf` writes."""
    header = HEADER.size
    header += sum(8 + len(key.encode()) + 4 + _value_size(key, value) for key, value in metadata.items())
    header += sum(8 + len(name.encode()) + 4 + 8 * len(shape) + 12 for name, (_, shape) in layout.items())
    return _aligned(header) + sum(_aligned(_nbytes(type_id, shape)) for type_id, shape in layout.values())


def _type_of(tensor: BinaryTensor | NDArray[np.floating[Any]]) -> int:
    if isinstance(tensor, BinaryTensor):
        return Q1_0
    name = f"{tensor.dtype.kind.upper()}{8 * tensor.dtype.itemsize}"  # such as F32 or I8
    found = [type_id for type_id, (known, _, _) in TENSOR_TYPES.items() if known == name]
    if not found:
        raise ValueError(f"GGUF has no type for an array of {tensor.dtype}")
    return found[0]


def _nbytes(type_id: int, shape: tuple[int, ...]) -> int:
    _, block, block_bytes = TENSOR_TYPES[type_id]
    return prod(shape) // block * block_bytes


def _aligned(size: int) -> int:
    return -(-size // DEFAULT_ALIGNMENT) * DEFAULT_ALIGNMENT


def _add_value(writer: "GGUFWriter", key: str, value: Any) -> None:
    from gguf import GGUFValueType

    if isinstance(value, list):
        writer.add_key_value(key, value, GGUFValueType.ARRAY, GGUFValueType(_item_kind(key, value)))
    else:
        writer.add_key_value(key, value, GGUFValueType(_kind(key, value)))


def _value_size(key: str, value: Any) -> int:
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
