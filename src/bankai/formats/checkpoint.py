"""A 1-bit model file, whatever its format: configuration, binary tensors, norms and tokenizer by canonical name.

Opening checks that the file is a true 1-bit model of a known architecture with every tensor of the right shape;
what is handed out later are views of the mapped file.

This module does not compute with a model and does not know patches.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from bankai.binary import BinaryTensor
from bankai.errors import ModelFormatError, StoreError, UnknownTensorError, UnsupportedModelError
from bankai.formats.config import config_from_gguf, expected_shapes
from bankai.formats.gguf import Q1_0, GGUFFile, TensorInfo
from bankai.formats.names import EMBEDDING, HEAD, architecture
from bankai.formats.tokenizer_spec import TokenizerSpec

__all__ = ["Checkpoint", "GGUFCheckpoint", "builtin_models", "open_checkpoint"]


class Checkpoint(ABC):
    """An open 1-bit model file; a context manager. Arrays that it hands out are views of the file's map.

    ``path``, ``format`` (``gguf`` or ``mlx``), ``architecture`` (``qwen3``), ``config`` (Hugging Face keys, equal for
    both formats of one model), ``metadata`` (the file's own keys).
    """

    path: Path
    format: str
    architecture: str
    config: dict[str, Any]
    metadata: Mapping[str, Any]
    _binary_shapes: dict[str, tuple[int, int]]
    _dense_shapes: dict[str, tuple[int]]

    def binary_names(self) -> tuple[str, ...]:
        """Canonical names of the binary tensors: embedding, layers in order, an untied head."""
        return tuple(self._binary_shapes)

    def dense_names(self) -> tuple[str, ...]:
        """Canonical names of the norms in layer order."""
        return tuple(self._dense_shapes)

    def binary(self, name: str) -> BinaryTensor:
        """Views of the binary tensor ``name``, writable if the checkpoint is. Raises UnknownTensorError."""
        self._check_name(name, self._binary_shapes)
        return self._binary(name)

    def dense(self, name: str) -> NDArray[np.float32]:
        """The norm ``name`` as float32 ``[size]``, exact. Raises UnknownTensorError."""
        self._check_name(name, self._dense_shapes)
        return self._dense(name)

    @abstractmethod
    def tokenizer(self) -> TokenizerSpec:
        """The tokenizer, read now. Raises ModelFormatError and UnsupportedModelError."""

    @abstractmethod
    def flush(self) -> None:
        """Write flips made through a writable checkpoint to the disk."""

    @abstractmethod
    def close(self) -> None:
        """Let go of the file; arrays handed out keep its map alive until they are gone too."""

    @abstractmethod
    def _binary(self, name: str) -> BinaryTensor: ...

    @abstractmethod
    def _dense(self, name: str) -> NDArray[np.float32]: ...

    def _check_name(self, name: str, known: Mapping[str, object]) -> None:
        if name not in known:
            raise UnknownTensorError(
                f"{self.path.name} has no {name!r}; `bankai model {self.path}` lists its tensors"
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
            self._binary_shapes, self._dense_shapes = expected_shapes(self.config)
            self._check_tensors()
        except BaseException:
            self.close()
            raise

    def tokenizer(self) -> TokenizerSpec:
        return TokenizerSpec.from_gguf(self.metadata)

    def flush(self) -> None:
        self._file.flush()

    def close(self) -> None:
        self._file.close()

    def _binary(self, name: str) -> BinaryTensor:
        return self._file.binary(self._names.to_gguf(name), name)

    def _dense(self, name: str) -> NDArray[np.float32]:
        return self._file.dense(self._names.to_gguf(name))

    def _read_config(self) -> dict[str, Any]:
        tensors = self._file.tensors
        embedding = tensors.get(self._names.to_gguf(EMBEDDING))
        if embedding is None or len(embedding.shape) != 2:
            raise ModelFormatError(
                f"{self.path}: no token embedding matrix; the file is incomplete, get it again"
            )
        tied = self._names.to_gguf(HEAD) not in tensors
        config = config_from_gguf(self.metadata, embedding.shape[0], tied)
        if config["num_hidden_layers"] > len(tensors):  # before names are made for each layer
            raise ModelFormatError(
                f"{self.path}: {config['num_hidden_layers']} layers in {len(tensors)} tensors"
            )
        return config

    def _check_tensors(self) -> None:
        """Every expected tensor is there, 1-bit or a float norm, in its shape; and no other tensor is."""
        rest = dict(self._file.tensors)
        for name, shape in (self._binary_shapes | self._dense_shapes).items():
            gguf_name = self._names.to_gguf(name)
            info = rest.pop(gguf_name, None)
            if info is None:
                raise ModelFormatError(
                    f"{self.path}: {gguf_name} is missing; the file is incomplete, get it again"
                )
            if info.shape != shape:
                raise ModelFormatError(
                    f"{self.path}: {gguf_name} has shape {list(info.shape)}, its configuration wants {list(shape)}"
                )
            self._check_type(info, binary=name in self._binary_shapes)
        if rest:
            raise UnsupportedModelError(
                f"{self.path}: {self.architecture} with {min(rest)!r} is not supported yet"
            )

    def _check_type(self, info: TensorInfo, binary: bool) -> None:
        if binary and info.type_id != Q1_0:
            raise UnsupportedModelError(
                f"{self.path} is not a true 1-bit model: {info.name} is {info.type_name}. Single-bit flips need "
                "1-bit codes (Q1_0); row and group flips by scale sign are planned. Use a Q1_0 file"
            )
        if not binary and info.type_name not in ("F32", "F16", "BF16"):
            raise UnsupportedModelError(
                f"{self.path}: norm {info.name} is {info.type_name}; use a file with F32 norms"
            )


def builtin_models() -> dict[str, Path]:
    """Models shipped with the package, by name."""
    data = files("bankai") / "data"
    found = [Path(str(entry)) for entry in data.iterdir()] if data.is_dir() else []
    return {path.stem: path for path in sorted(found) if path.suffix == ".gguf"}


def open_checkpoint(source: str | Path, writable: bool = False) -> Checkpoint:
    """Open a ``.gguf`` file or the name of a built-in model such as ``nano``.

    A bare name that is built in wins over a file of that name (write ``./nano`` for the file). With ``writable``
    flips go to the file; built-in models are never opened so. Raises ModelFormatError, UnsupportedModelError and
    StoreError.
    """
    builtin = builtin_models()
    if isinstance(source, str) and source in builtin:
        if writable:
            raise StoreError(f"{source} is built in and stays as it is; write a copy with -o instead")
        return GGUFCheckpoint(builtin[source])
    path = Path(source)
    if not path.exists():
        names = ", ".join(builtin) or "none"
        raise ModelFormatError(
            f"{path} does not exist; give a .gguf file, an MLX directory or a built-in model ({names})"
        )
    return GGUFCheckpoint(path, writable)
