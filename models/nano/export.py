"""Write the trained model as a GGUF file: Q1_0 matrices, F32 norms, tokenizer and chat template inside."""

import json
from pathlib import Path

from corpus import CHAT_TEMPLATE, SPECIAL_TOKENS
from tokenizers import Tokenizer
from transformers import Qwen3ForCausalLM

from bankai.architectures import architecture
from bankai.checkpoint.gguf import write_gguf
from bankai.checkpoint.tokenizer_spec import CONTROL, NORMAL, TokenizerSpec
from bankai.quantization.one_bit import pack_one_bit

__all__ = ["write_model"]

MOSTLY_Q1_0 = 40  # llama.cpp's file type


def tokenizer_spec(tokenizer: Tokenizer) -> TokenizerSpec:
    """The trained BPE as GGUF holds it; `<|im_end|>` ends a turn, `<|endoftext|>` pads."""
    vocabulary = sorted(tokenizer.get_vocab().items(), key=lambda pair: pair[1])
    tokens = [token for token, _ in vocabulary]
    merges = json.loads(tokenizer.to_str())["model"]["merges"]
    return TokenizerSpec(
        tokens=tokens,
        merges=[" ".join(pair) for pair in merges],
        token_types=[CONTROL if token in SPECIAL_TOKENS else NORMAL for token in tokens],
        pre="qwen2",
        bos_id=tokens.index("<|endoftext|>"),
        eos_id=tokens.index("<|im_end|>"),
        pad_id=tokens.index("<|endoftext|>"),
        chat_template=CHAT_TEMPLATE,
    )


def write_model(model: Qwen3ForCausalLM, tokenizer: Tokenizer, path: Path, training: dict[str, int]) -> None:
    """`model` holds its binarized weights (±d per group, exactly). `training` goes into the metadata."""
    config = model.config.to_dict() | {"rope_parameters": dict(model.config.rope_parameters)}
    arch = architecture("qwen3")
    state = model.state_dict()
    tensors = {}
    for key, value in state.items():
        name = key.removesuffix(".weight")
        weight = value.detach().float().numpy()
        tensors[arch.gguf_name(name)] = pack_one_bit(name, weight) if weight.ndim == 2 else weight
    metadata = arch.config_to_gguf(config) | {
        "general.name": "nano",
        "general.description": "A small true 1-bit Qwen3 trained by the Bankai project on synthetic text",
        "general.license": "apache-2.0",
        "general.file_type": MOSTLY_Q1_0,
        "general.quantization_version": 2,
    }
    write_gguf(path, metadata | training | tokenizer_spec(tokenizer).to_gguf(), tensors)
