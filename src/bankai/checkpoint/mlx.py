"""MLX directories of 1-bit models: ``config.json``, safetensors, tokenizer files; mapped to be read, and written.

MLX's affine 1-bit weight is ``scale * bit + bias``. With ``scale = 2d`` and ``bias = -d`` that is ``+d``
for a 1 and ``-d`` for a 0, and the bytes of its little-endian uint32 words ``[out, in / 32]`` are those of
GGUF's signs. Any other pair of scale and bias is not a true 1-bit weight and is refused.

Only files inside the directory are read, or those of the download cache of the Hugging Face Hub, a directory of links
into its own ``blobs``.
"""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from reprlib import repr as short
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bankai.checkpoint.safetensors import SafetensorsFile, TensorEntry, write_safetensors
from bankai.checkpoint.tokenizer_json import MAX_TEMPLATES
from bankai.checkpoint.tokenizer_spec import TokenizerSpec
from bankai.errors import ModelFormatError, UnsupportedModelError
from bankai.io import (
    RefusedFileError,
    decode_text,
    parse_object,
    quote,
    read_bounded,
    visible_files,
    writing_directory,
)
from bankai.quantization import Blocks, PackedTensor
from bankai.quantization.one_bit import Q1_0, one_bit_blocks, scales_of, signs_of

__all__ = ["MLXDirectory", "write_mlx"]

_ONE_BIT = {"group_size": Q1_0.weights, "bits": 1}
ONE_BIT_ONLY = "of MLX directories only 1-bit ones in groups of 128 are supported yet, use a GGUF file"

_WEIGHTS, _INDEX = "model.safetensors", "model.safetensors.index.json"
_LIMITS = {  # bytes of a file; several times the largest in use
    "config.json": 1 << 20,
    _INDEX: 16 << 20,
    "tokenizer.json": 64 << 20,
    "tokenizer_config.json": 16 << 20,
    "generation_config.json": 1 << 20,
}
_LONGEST_TEMPLATE = 1 << 20
_TEMPLATE, _TEMPLATES = "chat_template.jinja", "additional_chat_templates"
_SHARD = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*\.safetensors")
_NUMBERED = re.compile(r"model-\d{5}-of-(\d{5})\.safetensors")
_MAX_SHARDS = 1000


class MLXDirectory:
    """An open 1-bit MLX directory: ``config`` as stored, ``tensors`` by MLX name.

    Raises ModelFormatError when a file is missing, damaged or leads out of the directory, and UnsupportedModelError for
    another quantization.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = self._object("config.json")
        _check_quantization(self.config, path)
        self._files: list[SafetensorsFile] = []
        self._owner: dict[str, SafetensorsFile] = {}
        self._shard_of: dict[str, str] = {}
        self._proven: set[str] = set()  # modules whose scales and biases fit together
        try:
            self._open_shards()
        except BaseException:
            self.close()
            raise

    @property
    def tensors(self) -> dict[str, TensorEntry]:
        """All stored tensors, scales and biases included, by name."""
        return {name: file.tensors[name] for name, file in self._owner.items()}

    def entry(self, name: str) -> tuple[Path, TensorEntry]:
        """The file that holds a stored tensor, and where in it."""
        return self.path / self._shard_of[name], self._owner[name].tensors[name]

    def blocks(self, module: str, rows: NDArray[np.intp] | None = None) -> Blocks:
        """The quantized ``module`` in blocks of Q1_0, all of it or some rows: a copy, ``[rows, groups, 18]``.

        Raises UnsupportedModelError where scales and biases are not those of true 1-bit weights.
        """
        words, scales = self._array(f"{module}.weight"), self._scales(module)
        if rows is not None:
            words, scales = words[rows], scales[rows]
        signs = np.ascontiguousarray(words).view(np.uint8).reshape(*scales.shape, -1)
        return one_bit_blocks(scales, signs)

    def _scales(self, module: str) -> NDArray[np.float16]:
        """The ``d`` of every group, ``[out, groups]``."""
        scales, biases = self._half(f"{module}.scales"), self._half(f"{module}.biases")
        d = -biases
        if module in self._proven:
            return d
        # in float32, where doubling an fp16 cannot overflow; NaN equals nothing and is refused with the rest
        if (
            not np.array_equal(scales.astype(np.float32), 2 * d.astype(np.float32))
            or not np.isfinite(scales).all()
        ):
            raise UnsupportedModelError(
                f"{self.path}: scales and biases of {module} are not 2d and -d; {ONE_BIT_ONLY}"
            )
        self._proven.add(module)
        return d

    def vector(self, name: str) -> NDArray[np.float32]:
        """The float tensor ``name`` as float32, exact; a view where it is stored so.

        Raises UnsupportedModelError for a tensor that is not of floats.
        """
        array, dtype = self._array(name), self._owner[name].tensors[name].dtype
        match dtype:
            case "F32":
                return array
            case "F16":
                return array.astype(np.float32)
            case "BF16":
                return (array.astype(np.uint32) << 16).view(np.float32)
        raise UnsupportedModelError(f"{self.path}: {name} is {dtype}; use a model that keeps it in floats")

    def tokenizer(self, vocab_size: int) -> TokenizerSpec:
        """The tokenizer in the directory's files; ids below ``vocab_size`` that they do not name are unused.

        Raises ModelFormatError and UnsupportedModelError.
        """
        config, generation = (
            self._object(name) if self._has(name) else {}
            for name in ("tokenizer_config.json", "generation_config.json")
        )
        if templates := self._templates():
            config["chat_template"] = templates
        ends = (self.config.get("eos_token_id"), generation.get("eos_token_id"))
        return TokenizerSpec.from_json(self._object("tokenizer.json"), config, vocab_size, ends)

    def _templates(self) -> list[dict[str, str]]:
        """Chat templates that are files of their own; if there are any, those of tokenizer_config.json do not count."""
        files = {"default": _TEMPLATE} if self._has(_TEMPLATE) else {}
        if (self.path / _TEMPLATES).is_dir():
            names = [path.name for path in visible_files(self._inside(_TEMPLATES), ".jinja")]
            files |= {name.removesuffix(".jinja"): f"{_TEMPLATES}/{name}" for name in names}
        if len(files) > MAX_TEMPLATES:
            raise ModelFormatError(f"{self.path} has {len(files)} chat templates; get the model again")
        try:
            return [{"name": name, "template": decode_text(self._read(file))} for name, file in files.items()]
        except UnicodeDecodeError as error:
            raise ModelFormatError(f"{self.path}: a chat template is not UTF-8; get it again") from error

    def release(self) -> None:
        """Let the system take back the memory of what was read."""
        for file in self._files:
            file.release()

    def close(self) -> None:
        """Let go of the maps; arrays handed out keep them alive until they are gone too."""
        for file in self._files:
            file.close()

    def _open_shards(self) -> None:
        index: dict[str, Any] | None = None
        if self._has(_INDEX):
            index = self._object(_INDEX).get("weight_map")
            if not isinstance(index, dict) or not all(isinstance(name, str) for name in index.values()):
                raise ModelFormatError(f"{self.path}: the index has no weight_map; get the model again")
        shards = set(index.values()) if index is not None else self._unlisted_shards()
        if len(shards) > _MAX_SHARDS:
            raise ModelFormatError(f"{self.path} claims {len(shards)} shards; get the model again")
        for shard in sorted(shards):
            if not _SHARD.fullmatch(shard):
                raise ModelFormatError(
                    f"{self.path}: {quote(shard)} is no name of a shard; get the model again"
                )
            if not self._has(shard):
                raise self._lacks(shard)
            file = SafetensorsFile(self._inside(shard))
            self._files.append(file)
            for name in file.tensors:
                if name in self._owner or (index is not None and index.get(name) != shard):
                    raise ModelFormatError(
                        f"{self.path}: {quote(name)} in {shard} contradicts the index; get it again"
                    )
                self._owner[name], self._shard_of[name] = file, shard
        missing = set(index or ()) - set(self._owner)
        if missing:
            raise ModelFormatError(
                f"{self.path}: {quote(min(missing))} is in the index only; get the model again"
            )

    def _unlisted_shards(self) -> set[str]:
        """The files of the weights where no index lists them: one, or those whose names say how many they are."""
        for path in [] if self._has(_WEIGHTS) else visible_files(self.path, ".safetensors"):
            if found := _NUMBERED.fullmatch(path.name):
                numbers = range(1, min(int(found[1]), _MAX_SHARDS) + 1)
                return {f"model-{number:05d}-of-{found[1]}.safetensors" for number in numbers}
        return {_WEIGHTS}

    def _lacks(self, name: str) -> ModelFormatError:
        """What to say of a folder without a file of that name."""
        models = visible_files(self.path, ".gguf") if name == "config.json" else []
        if models:
            return ModelFormatError(f"{self.path} is a folder of GGUF files; give one, such as {models[0]}")
        if name == "config.json" and self._has("adapter_config.json"):
            return ModelFormatError(
                f"{self.path} is an adapter (LoRA), not a model; give the model that it is for"
            )
        return ModelFormatError(f"{self.path} has no {name}; get the model again, with all its files")

    def _array(self, name: str) -> NDArray[Any]:
        return self._owner[name].array(name)

    def _half(self, name: str) -> NDArray[np.float16]:
        """A tensor as float16, if that is exact."""
        if self._owner[name].tensors[name].dtype == "F16":
            return self._array(name)
        wide = self.vector(name)
        with np.errstate(over="ignore"):
            half = wide.astype(np.float16)
        if not np.array_equal(half.astype(np.float32), wide):
            raise UnsupportedModelError(
                f"{self.path}: {name} has values that fp16 cannot hold; use an fp16 model"
            )
        return half

    def _has(self, name: str) -> bool:
        return (self.path / name).is_file()

    def _object(self, name: str) -> dict[str, Any]:
        return parse_object(self._read(name), str(self.path / name))

    def _read(self, name: str) -> bytes:
        path, most = self._inside(name), _LIMITS.get(name, _LONGEST_TEMPLATE)
        try:
            return read_bounded(path, most)
        except FileNotFoundError:
            raise self._lacks(name) from None
        except RefusedFileError as error:
            raise ModelFormatError(f"{path} is {error.strerror}; get the model again") from None
        except OSError as error:
            raise ModelFormatError(
                f"{self.path}: {name} cannot be read: {error}; get the model again"
            ) from error

    def _inside(self, name: str) -> Path:
        """The real path of the file ``name``, which must not lead out of the directory."""
        try:
            path, root = (self.path / name).resolve(), self.path.resolve()
        except (OSError, RuntimeError) as error:  # RuntimeError: links in a circle, before Python 3.13
            raise ModelFormatError(
                f"{self.path}: {name} cannot be read: {error}; get the model again"
            ) from error
        if path.is_relative_to(root):
            return path
        if root.parent.name == "snapshots" and path.is_relative_to(root.parent.parent / "blobs"):
            return path
        raise ModelFormatError(
            f"{self.path}: {name} links out of the directory; copy the model (`cp -rL`) first"
        )


def write_mlx(
    path: str | Path,
    config: Mapping[str, Any],
    tensors: Mapping[str, PackedTensor | NDArray[np.floating[Any]]],
    tokenizer: TokenizerSpec,
) -> None:
    """Write a directory that appears whole or not at all; ``path`` must not exist.

    ``tensors`` by MLX weight name: a matrix in Q1_0 becomes words, scales and biases, an array float32. They are
    encoded one at a time. Raises UnsupportedModelError, nothing written, for another quantization and for a scale
    whose double fp16 cannot hold.
    """
    kinds = {tensor.quantization.name for tensor in tensors.values() if isinstance(tensor, PackedTensor)}
    if others := sorted(kinds - {Q1_0.name}):
        raise UnsupportedModelError(f"weights in {', '.join(others)} cannot be written to MLX yet; keep GGUF")
    files = {
        "config.json": {**config, "quantization": _ONE_BIT},
        "tokenizer.json": tokenizer.to_json(),
        "tokenizer_config.json": tokenizer.to_json_config(),
        "generation_config.json": tokenizer.to_generation_config(),
    }
    with writing_directory(Path(path)) as directory:
        for name, content in files.items():
            text = json.dumps(content, ensure_ascii=False, indent=2) + "\n"
            (directory / name).write_text(text, encoding="utf-8")
        write_safetensors(directory / _WEIGHTS, _layout(tensors), _arrays(tensors), {"format": "mlx"})


def _layout(tensors: Mapping[str, Any]) -> dict[str, tuple[str, tuple[int, ...]]]:
    layout: dict[str, tuple[str, tuple[int, ...]]] = {}
    for name, tensor in tensors.items():
        if isinstance(tensor, PackedTensor):
            out, columns = tensor.shape
            module = name.removesuffix(".weight")
            layout[name] = ("U32", (out, columns // 32))
            layout[f"{module}.scales"] = layout[f"{module}.biases"] = ("F16", tensor.blocks.shape[:2])
        else:
            layout[name] = ("F32", tensor.shape)
    return layout


def _arrays(tensors: Mapping[str, Any]) -> Iterator[NDArray[Any]]:
    for name, tensor in tensors.items():
        if not isinstance(tensor, PackedTensor):
            yield tensor.astype("<f4", copy=False)
            continue
        scales = scales_of(tensor.blocks)
        with np.errstate(over="ignore"):
            doubled = scales * np.float16(2)
        if not np.isfinite(doubled).all():
            raise UnsupportedModelError(
                f"{name} has scales above 32752, whose double fp16 cannot hold; keep GGUF"
            )
        yield signs_of(tensor.blocks)
        yield doubled.astype("<f2", copy=False)
        yield (-scales).astype("<f2", copy=False)


def _check_quantization(config: Mapping[str, Any], path: Path) -> None:
    """Every weight must be 1-bit in groups of 128; per-layer settings that say so too are fine."""
    quantization = config.get("quantization", config.get("quantization_config"))
    if not isinstance(quantization, dict):
        raise UnsupportedModelError(f"{path} is not quantized to 1 bit; {ONE_BIT_ONLY}")
    settings = {key: value for key, value in quantization.items() if key != "mode"}
    if quantization.get("mode", "affine") != "affine":
        raise UnsupportedModelError(
            f"{path}: quantization mode {short(quantization['mode'])} is not affine; {ONE_BIT_ONLY}"
        )
    overrides = [settings.pop(key) for key in list(settings) if key not in _ONE_BIT]
    for setting in (settings, *overrides):
        if not isinstance(setting, dict) or {key: setting.get(key) for key in _ONE_BIT} != _ONE_BIT:
            raise UnsupportedModelError(
                f"{path} is quantized as {short(setting)}, not {_ONE_BIT}; {ONE_BIT_ONLY}"
            )
