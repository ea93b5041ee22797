"""From a model file to a Hugging Face model that computes with the stored weights, and its tokenizer."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
import transformers
from numpy.typing import NDArray
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from bankai.architectures import Config, architecture
from bankai.checkpoint.model_file import open_checkpoint
from bankai.errors import DeviceError
from bankai.model.layers import Embedding, Linear
from bankai.model.matrices import make_matrix
from bankai.model.tokenizer import make_tokenizer
from bankai.quantization import MatrixInfo, PackedTensor
from bankai.tensor_names import EMBEDDING

__all__ = ["Loadable", "check_device", "empty_model", "load", "load_model"]


def load(
    source: str | Path,
    *,
    dense: bool = False,
    dtype: str | torch.dtype = "float32",
    device: str | torch.device = "cpu",
) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    """A model and its tokenizer from a .gguf file, an MLX directory or a built-in name such as "nano".

    1-bit weights stay packed; ``dense=True`` expands them like all others, for speed at up to 32 times the memory.
    ``dtype`` is what is computed in, such as "bfloat16". Raises ModelFormatError, UnsupportedModelError and, before
    the file is read, DeviceError.
    """
    check_device(device)
    with open_checkpoint(source) as checkpoint:
        tokenizer = make_tokenizer(checkpoint.tokenizer())
        return load_model(checkpoint, dense=dense, dtype=dtype, device=device), tokenizer


def check_device(device: str | torch.device) -> None:
    """Raises DeviceError for a CUDA or MPS device that this machine or this build of torch has not."""
    wanted = torch.device(device)
    counts = {"cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}
    if not 0 <= (wanted.index or 0) < counts.get(wanted.type, 1 << 31):
        raise DeviceError(f"no device {device} that torch can use here; compute on the cpu")


class Loadable(Protocol):
    """What is read of a :class:`~bankai.checkpoint.model_file.Checkpoint`."""

    config: Config

    @property
    def matrices(self) -> Mapping[str, MatrixInfo]: ...

    @property
    def vectors(self) -> Mapping[str, tuple[int, ...]]: ...

    def packed(self, name: str, rows: Sequence[int] | NDArray[np.intp] | None = None) -> PackedTensor: ...

    def vector(self, name: str) -> NDArray[np.float32]: ...

    def release(self) -> None: ...


def load_model(
    checkpoint: Loadable,
    *,
    dense: bool = False,
    dtype: str | torch.dtype = "float32",
    device: str | torch.device = "cpu",
) -> PreTrainedModel:
    """The model of an open checkpoint, in evaluation mode; the file may be closed afterwards.

    Raises DeviceError.
    """
    check_device(device)
    dtype = getattr(torch, dtype) if isinstance(dtype, str) else dtype
    if torch.device(device).type == "cpu":
        logging.getLogger("transformers.integrations.hub_kernels").addFilter(_is_for_cpus)
    arch, model = architecture(checkpoint.config["model_type"]), empty_model(checkpoint.config, dtype)
    for name in checkpoint.matrices:
        matrix = make_matrix(checkpoint.packed(name), dtype, dense=dense)
        checkpoint.release()  # else the file would be in memory beside its copy
        model.set_submodule(name, Embedding(matrix) if name == EMBEDDING else Linear(matrix))
    if model.config.tie_word_embeddings:
        model.lm_head = Linear(model.model.embed_tokens.matrix)
    # Its frequencies are computed, not stored, so there is nothing on the meta device to fill.
    model.model.rotary_emb = type(model.model.rotary_emb)(model.config)
    optional = {name: checkpoint.vector(name) for name in checkpoint.vectors if name in arch.optional}
    for name in checkpoint.vectors.keys() - optional.keys():
        _set_vector(model, name, torch.tensor(checkpoint.vector(name), dtype=dtype))
    arch.prepare(model, optional)
    return model.to(device).eval()


def empty_model(config: Config, dtype: torch.dtype = torch.float32) -> PreTrainedModel:
    """transformers' own modules for a configuration in normal form, on the meta device: without weights."""
    arch = architecture(config["model_type"])
    model_class = getattr(transformers, arch.model_class)
    with torch.device("meta"):
        return model_class(model_class.config_class(**arch.torch_config(config), dtype=dtype))


def _is_for_cpus(record: logging.LogRecord) -> bool:
    """Leaves out that transformers' own code computes linear attention: the packages it advises are for GPUs."""
    return "falling back to its reference" not in record.getMessage()


def _set_vector(model: PreTrainedModel, name: str, weight: torch.Tensor) -> None:
    """The weight of the module of that name, or the parameter of that name itself."""
    path, _, last = name.rpartition(".")
    owner = model.get_submodule(path) if path else model
    owner, last = (found, "weight") if isinstance(found := getattr(owner, last), nn.Module) else (owner, last)
    setattr(owner, last, nn.Parameter(weight, requires_grad=False))
