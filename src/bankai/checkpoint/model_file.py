"""A 1-bit model file of either format: configuration, binary tensors, norms, tokenizer by canonical name.

Opening checks that the file is a true 1-bit model of a known architecture with every tensor of the right
shape; what is handed out later are views of the mapped file.

This module does not compute with a model.
"""

import os
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from bankai.architectures.config import config_from_gguf, config_from_hf, expected_shapes
from bankai.architectures.names import EMBEDDING, HEAD, architecture, check_mlx
from bankai.architectures.order import Order, ReorderedTensor, canonical_dense, order_of, stored_shape
from bankai.checkpoint.gguf import Q1_0, Q1_0_BLOCK, SIGNS, GGUFFile, TensorInfo
from bankai.checkpoint.mlx import MLXDirectory
from bankai.checkpoint.safetensors import TensorEntry
from bankai.checkpoint.tokenizer_spec import TokenizerSpec
from bankai.errors import ModelFormatError, StoreError, UnknownTensorError, UnsupportedModelError
from bankai.io import quote
from bankai.journal import recover
from bankai.quantization.binary import GROUP, GROUP_BYTES, ONE_BIT_ONLY, BinaryTensor

__all__ = ["Checkpoint", "GGUFCheckpoint", "MLXCheckpoint", "SignBytes", "builtin_models", "open_checkpoint"]


@dataclass(frozen=True, slots=True)
class SignBytes:
    """Where the sign bits of a binary tensor lie: 16 bytes for each group of each row.

    Those of the file's row ``r`` and group ``g`` begin at byte ``offset + r * row + g * group`` of ``file``; ``order``
    tells which those are.
    """

    file: Path
    offset: int
    row: int
    group: int
    order: Order = field(default_factory=Order)


class Checkpoint(ABC):
    """An open 1-bit model file; a context manager. Arrays that it hands out are views of the file's map, unless the
    file keeps a tensor in another order.

    ``path``, ``format`` (``gguf`` or ``mlx``), ``architecture`` (such as ``qwen3``), ``config`` (Hugging Face keys,
    equal for both formats of one model), ``metadata`` (the file's own keys).
    """

    path: Path
    format: str
    architecture: str
    config: dict[str, Any]
    metadata: Mapping[str, Any]
    _binary_shapes: dict[str, tuple[int, int]]
    _dense_shapes: dict[str, tuple[int, ...]]

    def binary_names(self) -> tuple[str, ...]:
        """Canonical names of the binary tensors: embedding, layers in order, an untied head."""
        return tuple(self._binary_shapes)

    def dense_names(self) -> tuple[str, ...]:
        """Canonical names of all other tensors, most of them norms, in layer order."""
        return tuple(self._dense_shapes)

    def binary(self, name: str) -> BinaryTensor:
        """The binary tensor ``name``, to be flipped if the checkpoint is writable. Raises UnknownTensorError."""
        self._check_name(name, self._binary_shapes)
        return self._binary(name)

    def sign_bytes(self, name: str) -> SignBytes:
        """Where the bits of the binary tensor ``name`` lie. Raises UnknownTensorError."""
        self._check_name(name, self._binary_shapes)
        return self._sign_bytes(name)

    def dense(self, name: str) -> NDArray[np.float32]:
        """The tensor ``name``, such as a norm, as float32. Raises UnknownTensorError."""
        self._check_name(name, self._dense_shapes)
        return self._dense(name)

    @abstractmethod
    def tokenizer(self) -> TokenizerSpec:
        """The tokenizer, read now, with a token for every row of the embedding.

        Raises ModelFormatError and UnsupportedModelError.
        """

    @abstractmethod
    def flush(self) -> None:
        """Write flips made through a writable checkpoint to the disk."""

    @abstractmethod
    def release(self) -> None:
        """Let the system take back the memory of what was read; arrays handed out stay sound."""

    @abstractmethod
    def close(self) -> None:
        """Let go of the file; arrays handed out keep its map alive until they are gone too."""

    @abstractmethod
    def _binary(self, name: str) -> BinaryTensor: ...

    @abstractmethod
    def _sign_bytes(self, name: str) -> SignBytes: ...

    @abstractmethod
    def _dense(self, name: str) -> NDArray[np.float32]: ...

    def _check_name(self, name: str, known: Mapping[str, object]) -> None:
        if name not in known:
            raise UnknownTensorError(
                f"{self.path.name} has no tensor {name!r}; `bankai model` lists its tensors"
            )

    def _check_shape(self, name: str, found: tuple[int, ...] | None, wanted: tuple[int, ...]) -> None:
        if found is None:
            raise ModelFormatError(f"{self.path}: {name} is missing; the model is incomplete, get it again")
        if found != wanted:
            raise ModelFormatError(
                f"{self.path}: {name} is {list(found)}, its configuration wants {list(wanted)}; get it again"
            )

    def _check_layers(self, tensors: int) -> None:
        """Bound the number of layers before names are made for each."""
        if self.config["num_hidden_layers"] > tensors:
            layers = self.config["num_hidden_layers"]
            raise ModelFormatError(f"{self.path}: {layers} layers in {tensors} tensors; get the model again")

    def _check_rest(self, rest: Mapping[str, object]) -> None:
        """No tensor may be left over: what we do not know, we would not compute."""
        if rest:
            raise UnsupportedModelError(
                f"{self.path}: {self.architecture} with a tensor {quote(min(rest))} is not supported yet"
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class GGUFCheckpoint(Checkpoint):
    """A 1-bit model in a GGUF file."""

    format = "gguf"

    def __init__(self, path: str | Path, writable: bool = False) -> None:
        self.path = Path(path)
        self._file = GGUFFile(self.path, writable)
        try:
            self.metadata = self._file.metadata
            self._names = architecture(self.metadata.get("general.architecture"))
            self.architecture = self._names.name
            self.config = self._read_config()
            self._check_layers(len(self._file.tensors))
            self._binary_shapes, self._dense_shapes = expected_shapes(self.config)
            self._check_tensors()
        except BaseException:
            self.close()
            raise

    def tokenizer(self) -> TokenizerSpec:
        return TokenizerSpec.from_gguf(self.metadata).padded(self.config["vocab_size"])

    def flush(self) -> None:
        self._file.flush()

    def release(self) -> None:
        self._file.release()

    def close(self) -> None:
        self._file.close()

    def _binary(self, name: str) -> BinaryTensor:
        stored, order = self._file.binary(self._names.to_gguf(name), name), order_of(name, self.config)
        return ReorderedTensor(stored, order) if order else stored

    def _sign_bytes(self, name: str) -> SignBytes:
        info, block = self._file.tensors[self._names.to_gguf(name)], Q1_0_BLOCK.itemsize
        row, order = info.shape[1] // GROUP * block, order_of(name, self.config)
        return SignBytes(self.path, info.offset + SIGNS, row, block, order)

    def _dense(self, name: str) -> NDArray[np.float32]:
        return canonical_dense(name, self._file.dense(self._names.to_gguf(name)), self.config)

    def _read_config(self) -> dict[str, Any]:
        tensors = self._file.tensors
        embedding = tensors.get(self._names.to_gguf(EMBEDDING))
        if embedding is None or len(embedding.shape) != 2:
            raise ModelFormatError(
                f"{self.path}: no token embedding matrix; the file is incomplete, get it again"
            )
        tied = self._names.to_gguf(HEAD) not in tensors
        return config_from_gguf(self.metadata, embedding.shape[0], tied)

    def _check_tensors(self) -> None:
        """Every expected tensor is there, 1-bit or float, in its shape; and no other tensor is."""
        rest = dict(self._file.tensors)
        for name, shape in (self._binary_shapes | self._dense_shapes).items():
            info = rest.pop(self._names.to_gguf(name), None)
            self._check_shape(
                self._names.to_gguf(name), info.shape if info else None, stored_shape(name, shape)
            )
            if info:
                self._check_type(info, binary=name in self._binary_shapes)
        self._check_rest(rest)
        for name in self._binary_shapes:
            order_of(name, self.config)  # refuses what it cannot map

    def _check_type(self, info: TensorInfo, binary: bool) -> None:
        if binary and info.type_id != Q1_0:
            raise UnsupportedModelError(
                f"{self.path} is not a true 1-bit model: "
                f"{info.name} is {info.type_name}, not Q1_0; {ONE_BIT_ONLY}"
            )
        if not binary and info.type_name not in ("F32", "F16", "BF16"):
            raise UnsupportedModelError(f"{self.path}: {info.name} is {info.type_name}; it must be F32")


class MLXCheckpoint(Checkpoint):
    """A 1-bit model in an MLX directory."""

    format = "mlx"

    def __init__(self, path: str | Path, writable: bool = False) -> None:
        self.path = Path(path)
        self._directory = MLXDirectory(self.path, writable)
        try:
            self.metadata = self._directory.config
            self.config = config_from_hf(self.metadata)
            self._names = architecture(self.config["model_type"])
            self.architecture = self._names.name
            check_mlx(self._names)
            self._check_layers(len(self._directory.tensors))
            self._binary_shapes, self._dense_shapes = expected_shapes(self.config)
            self._check_tensors()
        except BaseException:
            self.close()
            raise

    def tokenizer(self) -> TokenizerSpec:
        return self._directory.tokenizer(self.config["vocab_size"])

    def flush(self) -> None:
        self._directory.flush()

    def release(self) -> None:
        self._directory.release()

    def close(self) -> None:
        self._directory.close()

    def _binary(self, name: str) -> BinaryTensor:
        return self._directory.binary(name)

    def _sign_bytes(self, name: str) -> SignBytes:
        file, entry = self._directory.entry(f"{name}.weight")
        return SignBytes(file, entry.offset, entry.shape[1] * 4, GROUP_BYTES)

    def _dense(self, name: str) -> NDArray[np.float32]:
        return self._directory.dense(self._names.to_mlx(name))

    def _check_tensors(self) -> None:
        """Words, scales and biases of every binary tensor and every norm are there, and nothing else is."""
        rest = dict(self._directory.tensors)
        floats = ("F32", "F16", "BF16")
        for name, (out, columns) in self._binary_shapes.items():
            scale_shape = (out, columns // GROUP)
            if columns % GROUP:
                raise UnsupportedModelError(
                    f"{self.path}: {name} has {columns} columns, not a multiple of {GROUP}"
                )
            self._check_entry(rest, f"{name}.weight", (out, columns // 32), ("U32",))
            self._check_entry(rest, f"{name}.scales", scale_shape, floats)
            self._check_entry(rest, f"{name}.biases", scale_shape, floats)
        for name, shape in self._dense_shapes.items():
            self._check_entry(rest, self._names.to_mlx(name), shape, floats)
        self._check_rest(rest)

    def _check_entry(
        self, rest: dict[str, TensorEntry], name: str, shape: tuple[int, ...], dtypes: tuple[str, ...]
    ) -> None:
        entry = rest.pop(name, None)
        self._check_shape(name, entry.shape if entry else None, shape)
        if entry and entry.dtype not in dtypes:
            raise UnsupportedModelError(
                f"{self.path}: {name} is {entry.dtype}, not {' or '.join(dtypes)}; convert it"
            )


def builtin_models() -> dict[str, Path]:
    """Models shipped with the package, by name."""
    data = files("bankai") / "data"
    found = [Path(str(entry)) for entry in data.iterdir()] if data.is_dir() else []
    return {path.stem: path for path in sorted(found) if path.suffix == ".gguf"}


def open_checkpoint(source: str | Path, writable: bool = False) -> Checkpoint:
    """Open a ``.gguf`` file, an MLX directory, or the name of a built-in model such as ``nano``.

    A bare name that is built in wins over a file of that name (write ``./nano`` for the file). With
    ``writable`` flips go to the file; built-in models are never opened so. Raises ModelFormatError,
    UnsupportedModelError and StoreError.
    """
    builtin = builtin_models()
    if isinstance(source, str) and source in builtin:
        if writable:
            raise StoreError(f"{source} is built in and stays as it is; write a copy with -o instead")
        return GGUFCheckpoint(builtin[source])
    path = Path(source)
    if not os.path.exists(path):  # unlike Path.exists, false for a name that no file can have
        names = ", ".join(builtin) or "none"
        raise ModelFormatError(
            f"{path} does not exist; give a .gguf file, an MLX directory or a built-in model ({names})"
        )
    recover(path)
    return MLXCheckpoint(path, writable) if path.is_dir() else GGUFCheckpoint(path, writable)
