"""From a model file to a Hugging Face model that computes with the packed bits, and its tokenizer.

Does not know: patches, probes. Formats are the business of ``bankai.formats``.
"""

from pathlib import Path

import torch
from torch import nn
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from bankai.formats.checkpoint import Checkpoint, open_checkpoint
from bankai.formats.names import EMBEDDING
from bankai.model.binary_linear import BinaryEmbedding, BinaryLinear, PackedWeight
from bankai.model.tokenizer import make_tokenizer

__all__ = ["load", "load_model"]


def load(
    source: str | Path,
    *,
    dense: bool = False,
    dtype: torch.dtype = torch.float32,
    device: str | torch.device = "cpu",
) -> tuple[Qwen3ForCausalLM, PreTrainedTokenizerFast]:
    """A 1-bit model and its tokenizer from a .gguf file, an MLX directory or a built-in name such as "nano".

    Weights stay packed; ``dense=True`` also keeps them expanded, for speed at 32 times the memory. ``dtype``
    is what activations and norms compute in. Raises ModelFormatError and UnsupportedModelError.
    """
    with open_checkpoint(source) as checkpoint:
        tokenizer = make_tokenizer(checkpoint.tokenizer())
        return load_model(checkpoint, dense=dense, dtype=dtype, device=device), tokenizer


def load_model(
    checkpoint: Checkpoint,
    *,
    dense: bool = False,
    dtype: torch.dtype = torch.float32,
    device: str | torch.device = "cpu",
) -> Qwen3ForCausalLM:
    """The model of an open checkpoint, in evaluation mode; the file may be closed afterwards."""
    config = Qwen3Config(**checkpoint.config, dtype=dtype)
    with torch.device("meta"):
        model = Qwen3ForCausalLM(config)
    for name in checkpoint.binary_names():
        packed = PackedWeight.from_tensor(checkpoint.binary(name), dtype)
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
