"""A model file of either format: configuration, weight matrices, norms, tokenizer by canonical name.

Opening checks that the file is a model of a known architecture with every tensor of the right shape. Arrays that are
handed out later are read-only, most of them views of the mapped file. Nothing here writes to a model, except
that `open_checkpoint` has a change undone that was cut short.
"""

import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from bankai.architectures import Architecture, Config, architecture, config_from_gguf, config_from_hf
from bankai.architectures.order import Order
from bankai.checkpoint.gguf import GGUFFile, TensorInfo
from bankai.checkpoint.mlx import ONE_BIT_ONLY, MLXDirectory
from bankai.checkpoint.parts import check_model, check_uncut
from bankai.checkpoint.safetensors import TensorEntry
from bankai.checkpoint.tokenizer_spec import TokenizerSpec
from bankai.errors import ModelFormatError, UnknownTensorError, UnsupportedModelError
from bankai.io import quote, visible_files
from bankai.journal import recover
from bankai.quantization import Blocks, MatrixInfo, PackedTensor
from bankai.quantization.one_bit import Q1_0
from bankai.tensor_names import EMBEDDING, HEAD, parse_tensor_name

__all__ = [
    "Checkpoint",
    "GGUFCheckpoint",
    "Location",
    "MLXCheckpoint",
    "Span",
    "builtin_models",
    "open_checkpoint",
]


@dataclass(frozen=True, slots=True)
class Span:
    """Where a matrix keeps the bytes from ``start`` to ``stop`` of every group.

    Those of group g of row r, both in the file's order, are at byte ``offset + r * row + g * group`` of ``file``.
    """

    file: Path
    offset: int
    row: int
    group: int
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Location:
    """Where a matrix lies: spans that together hold all bits that flips change, and the order of rows and groups."""

    spans: tuple[Span, ...]
    order: Order = field(default_factory=Order)


class Checkpoint(ABC):
    """An open model file; a context manager. Implements `bankai.quantization.Matrices`.

    ``path``, ``format`` (``gguf`` or ``mlx``), ``architecture`` (such as ``qwen3``), ``config`` (Hugging Face keys,
    equal for both formats of one model), ``metadata`` (the file's own keys).
    """

    path: Path
    format: str
    architecture: str
    config: Config
    metadata: Mapping[str, Any]
    _arch: Architecture
    _matrices: dict[str, MatrixInfo]
    _vectors: dict[str, tuple[int, ...]]

    @property
    def matrices(self) -> Mapping[str, MatrixInfo]:
        """The weight matrices by canonical name: embedding, layers in order, an untied head."""
        return self._matrices

    @property
    def vectors(self) -> Mapping[str, tuple[int, ...]]:
        """Shapes of all other tensors by canonical name, most of them norms, in layer order."""
        return self._vectors

    def packed(self, name: str, rows: Sequence[int] | NDArray[np.intp] | None = None) -> PackedTensor:
        """The matrix of that name, or these rows of it; a view of the file where it can be one.

        Raises UnknownTensorError.
        """
        self._check_name(name, self._matrices)
        blocks = self._blocks(name, None if rows is None else np.asarray(rows, np.intp))
        blocks.flags.writeable = False
        return PackedTensor(name, self._matrices[name].quantization, blocks)

    def location(self, name: str) -> Location:
        """Where the matrix of that name lies. Raises UnknownTensorError."""
        self._check_name(name, self._matrices)
        return self._location(name)

    def vector(self, name: str) -> NDArray[np.float32]:
        """The tensor ``name``, such as a norm, as float32. Raises UnknownTensorError."""
        self._check_name(name, self._vectors)
        return self._vector(name)

    @abstractmethod
    def tokenizer(self) -> TokenizerSpec:
        """The tokenizer, read now, with a token for every row of the embedding.

        Raises ModelFormatError and UnsupportedModelError.
        """

    @abstractmethod
    def release(self) -> None:
        """Let the system take back the memory of what was read; arrays handed out stay sound."""

    @abstractmethod
    def close(self) -> None:
        """Let go of the file; arrays handed out keep its map alive until they are gone too."""

    @abstractmethod
    def _blocks(self, name: str, rows: NDArray[np.intp] | None) -> Blocks: ...

    @abstractmethod
    def _location(self, name: str) -> Location: ...

    @abstractmethod
    def _vector(self, name: str) -> NDArray[np.float32]: ...

    def _names(self) -> Iterator[str]:
        """Of all tensors that a model of this configuration must have."""
        yield from self._arch.matrix_shapes(self.config)
        yield from self._arch.vector_shapes(self.config)

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
        """Bound the number of layers by that of the tensors, before names are made for each."""
        if self.config["num_hidden_layers"] > tensors:
            layers = self.config["num_hidden_layers"]
            raise ModelFormatError(f"{self.path}: {layers} layers in {tensors} tensors; get the model again")

    def _check_rest(self, rest: Mapping[str, object]) -> None:
        """Refuse tensors that are left over: what is not known would not be computed.

        A model that has others in place of those it lacks, such as one of experts, is not incomplete either.
        """
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
    """A model in a GGUF file. The file says the type of every tensor."""

    format = "gguf"

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        try:
            self._file = GGUFFile(self.path)
        except ModelFormatError:
            check_uncut(self.path)
            raise
        try:
            self.metadata = self._file.metadata
            check_model(self.path, self.metadata)
            self._arch = architecture(self.metadata.get("general.architecture"))
            self.architecture = self._arch.name
            self.config = self._read_config()
            self._check_layers(len(self._file.tensors))
            self._take_tensors()
        except BaseException:
            self.close()
            raise

    def tokenizer(self) -> TokenizerSpec:
        return TokenizerSpec.from_gguf(self.metadata).padded(self.config["vocab_size"])

    def release(self) -> None:
        self._file.release()

    def close(self) -> None:
        self._file.close()

    def _blocks(self, name: str, rows: NDArray[np.intp] | None) -> Blocks:
        return self._orders[name].canonical(self._file.blocks(self._arch.gguf_name(name)), rows)

    def _location(self, name: str) -> Location:
        info, matrix = self._info(name), self._matrices[name]
        group = matrix.quantization.nbytes
        span = Span(self.path, info.offset, matrix.groups * group, group, 0, group)
        return Location((span,), self._orders[name])

    def _vector(self, name: str) -> NDArray[np.float32]:
        stored = self._file.vector(self._arch.gguf_name(name))
        return self._arch.canonical_vector(parse_tensor_name(name).path, stored, self.config)

    def _info(self, name: str) -> TensorInfo:
        return self._file.tensors[self._arch.gguf_name(name)]

    def _read_config(self) -> Config:
        tensors = self._file.tensors
        embedding = tensors.get(self._arch.gguf_name(EMBEDDING))
        if embedding is None or len(embedding.shape) != 2:
            raise ModelFormatError(
                f"{self.path}: no token embedding matrix; the file is incomplete, get it again"
            )
        tied = self._arch.gguf_name(HEAD) not in tensors
        return config_from_gguf(self.metadata, embedding.shape[0], tied)

    def _take_tensors(self) -> None:
        """Check that the file has every expected tensor in its shape, vectors as floats, and no other."""
        rest, shapes = dict(self._file.tensors), self._arch.shapes(self.config)
        self._vectors = self._arch.vector_shapes(self.config)
        self._vectors |= {
            name: shapes[name] for name, stored in self._arch.optional.items() if stored in rest
        }
        for name, shape in self._vectors.items():
            path = parse_tensor_name(name).path
            info = self._take(rest, name, self._arch.stored_shape(path, shape))
            if not info.quantization.plain:
                raise UnsupportedModelError(
                    f"{self.path}: {info.name} is {info.quantization}; use a model that keeps it in floats"
                )
        self._matrices, self._orders = {}, {}
        for name, shape in self._arch.matrix_shapes(self.config).items():
            kind = self._take(rest, name, shape).quantization
            if shape[1] % kind.weights:
                raise UnsupportedModelError(
                    f"{self.path}: {name} has {shape[1]} columns, not a multiple of the {kind.weights} of a group; "
                    "such a model is not supported yet"
                )
            self._matrices[name] = MatrixInfo(kind, shape)
            self._orders[name] = self._arch.order(parse_tensor_name(name).path, self.config, kind.weights)
        self._check_rest(rest)

    def _take(self, rest: dict[str, TensorInfo], name: str, shape: tuple[int, ...]) -> TensorInfo:
        stored = self._arch.gguf_name(name)
        info = rest.pop(stored, None)
        if info is None:
            known = {*map(self._arch.gguf_name, self._names()), *self._arch.optional.values()}
            self._check_rest({other: 0 for other in rest if other not in known})
        self._check_shape(stored, info.shape if info else None, shape)
        assert info is not None  # the check has raised
        return info


class MLXCheckpoint(Checkpoint):
    """A 1-bit model in an MLX directory."""

    format = "mlx"

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._directory = MLXDirectory(self.path)
        try:
            self.metadata = self._directory.config
            self.config = config_from_hf(self.metadata)
            self._arch = architecture(self.config["model_type"])
            self.architecture = self._arch.name
            self._arch.check_mlx()
            self._check_layers(len(self._directory.tensors))
            self._take_tensors()
        except BaseException:
            self.close()
            raise

    def tokenizer(self) -> TokenizerSpec:
        return self._directory.tokenizer(self.config["vocab_size"])

    def release(self) -> None:
        self._directory.release()

    def close(self) -> None:
        self._directory.close()

    def _blocks(self, name: str, rows: NDArray[np.intp] | None) -> Blocks:
        return self._directory.blocks(name, rows)

    def _location(self, name: str) -> Location:
        """The words of a matrix are the signs of its blocks; its scales lie elsewhere, and no flip changes them."""
        file, entry = self._directory.entry(f"{name}.weight")
        kind = self._matrices[name].quantization
        start = kind.sign_bits[0] // 8
        span = Span(file, entry.offset, entry.shape[1] * 4, kind.nbytes - start, start, kind.nbytes)
        return Location((span,))

    def _vector(self, name: str) -> NDArray[np.float32]:
        return self._directory.vector(f"{name}.weight")

    def _take_tensors(self) -> None:
        """Check that words, scales and biases of every matrix and every norm are there, and nothing else."""
        rest = dict(self._directory.tensors)
        floats, group = ("F32", "F16", "BF16"), Q1_0.weights
        shapes = self._arch.matrix_shapes(self.config)
        for name, (out, columns) in shapes.items():
            if columns % group:
                raise UnsupportedModelError(
                    f"{self.path}: {name} has {columns} columns, not a multiple of {group}; {ONE_BIT_ONLY}"
                )
            self._take(rest, f"{name}.weight", (out, columns // 32), ("U32",))
            self._take(rest, f"{name}.scales", (out, columns // group), floats)
            self._take(rest, f"{name}.biases", (out, columns // group), floats)
        self._matrices = {name: MatrixInfo(Q1_0, shape) for name, shape in shapes.items()}
        self._vectors = self._arch.vector_shapes(self.config)
        for name, shape in self._vectors.items():
            self._take(rest, f"{name}.weight", shape, floats)
        self._check_rest(rest)

    def _take(
        self, rest: dict[str, TensorEntry], name: str, shape: tuple[int, ...], dtypes: tuple[str, ...]
    ) -> None:
        entry = rest.pop(name, None)
        if entry is None:
            parts = ("weight", "scales", "biases")
            known = {f"{one}.{part}" for one in self._names() for part in parts}
            self._check_rest({other: 0 for other in rest if other not in known})
        self._check_shape(name, entry.shape if entry else None, shape)
        if entry and entry.dtype not in dtypes:
            raise UnsupportedModelError(
                f"{self.path}: {name} is {entry.dtype}, not {' or '.join(dtypes)}; convert it"
            )


def builtin_models() -> dict[str, Path]:
    """The files of models that come with the package, by name."""
    data = files("bankai") / "data"
    return {path.stem: path for path in visible_files(Path(str(data)), ".gguf")} if data.is_dir() else {}


def open_checkpoint(source: str | Path) -> Checkpoint:
    """Open a ``.gguf`` file, an MLX directory, or the name of a built-in model such as ``nano``.

    A bare name that is built in wins over a file of that name (write ``./nano`` for the file). A change of the model
    that was cut short is undone first. Raises ModelFormatError, UnsupportedModelError, and StoreError where that cannot
    be done.
    """
    builtin = builtin_models()
    if isinstance(source, str) and source in builtin:
        return GGUFCheckpoint(builtin[source])
    path = Path(source)
    if not os.path.exists(path):  # unlike Path.exists, false for a name that no file can have
        names = ", ".join(builtin) or "none"
        raise ModelFormatError(
            f"{path} does not exist; give a .gguf file, an MLX directory or a built-in model ({names})"
        )
    recover(path)
    return MLXCheckpoint(path) if path.is_dir() else GGUFCheckpoint(path)
