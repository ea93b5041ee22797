"""From a model file to a Hugging Face model that computes with the packed bits, and its tokenizer.

Does not know: patches, probes. Formats are the business of ``bankai.formats``.
"""

from pathlib import Path

import torch
from torch import nn
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from bankai.errors import DeviceError
from bankai.formats.checkpoint import Checkpoint, open_checkpoint
from bankai.formats.names import EMBEDDING
from bankai.model.binary_linear import BinaryEmbedding, BinaryLinear, PackedWeight
from bankai.model.tokenizer import make_tokenizer

__all__ = ["check_device", "load", "load_model"]


def load(
    source: str | Path,
    *,
    dense: bool = False,
    dtype: str | torch.dtype = "float32",
    device: str | torch.device = "cpu",
) -> tuple[Qwen3ForCausalLM, PreTrainedTokenizerFast]:
    """A 1-bit model and its tokenizer from a .gguf file, an MLX directory or a built-in name such as "nano".

    Weights stay packed; ``dense=True`` also keeps them expanded, for speed at 32 times the memory. ``dtype``
    is what activations and norms compute in, such as "bfloat16". Raises ModelFormatError,
    UnsupportedModelError and, before the file is read, DeviceError.
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


def load_model(
    checkpoint: Checkpoint,
    *,
    dense: bool = False,
    dtype: str | torch.dtype = "float32",
    device: str | torch.device = "cpu",
) -> Qwen3ForCausalLM:
    """The model of an open checkpoint, in evaluation mode; the file may be closed afterwards.

    Raises DeviceError.
    """
    check_device(device)
    dtype = getattr(torch, dtype) if isinstance(dtype, str) else dtype
    config = Qwen3Config(**checkpoint.config, dtype=dtype)
    with torch.device("meta"):
        model = Qwen3ForCausalLM(config)
    for name in checkpoint.binary_names():
        packed = PackedWeight.from_tensor(checkpoint.binary(name), dtype)
        checkpoint.release()  # else the file would be in memory beside its copy
        model.set_submodule(name, BinaryEmbedding(packed) if name == EMBEDDING else BinaryLinear(packed))
    if config.tie_word_embeddings:
        model.lm_head = BinaryLinear(model.model.embed_tokens.packed)
    for name in checkpoint.dense_names():
        weight = torch.tensor(checkpoint.dense(name), dtype=dtype)
        model.get_submodule(name).weight = nn.Parameter(weight, requires_grad=False)
    # Its frequencies are computed, not stored, so there is nothing on the meta device to fill.
    model.model.rotary_emb = type(model.model.rotary_emb)(config)
    model = model.to(device).eval()
    if dense:
        for module in model.modules():
            if isinstance(module, PackedWeight):
                module.densify()
    return model
