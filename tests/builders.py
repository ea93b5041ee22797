"""Builders of small true 1-bit models for tests; every byte follows from the arguments."""

from pathlib import Path
from typing import Any

import numpy as np

from bankai.architectures.config import config_from_hf, config_to_gguf, expected_shapes
from bankai.architectures.names import architecture
from bankai.architectures.order import stored_tensors
from bankai.checkpoint.gguf import write_gguf
from bankai.checkpoint.synth import CHATML, byte_alphabet, random_binary
from bankai.checkpoint.tokenizer_spec import CONTROL, NORMAL, TokenizerSpec
from bankai.quantization.binary import BinaryTensor


def tiny_tokenizer(pre: str = "qwen2", **changes: Any) -> TokenizerSpec:
    """300 tokens: 256 bytes, 41 merges, <|endoftext|>, <|im_start|>, <|im_end|>."""
    words = "Ġthe the ing Ġof answer Ġis Ġto question Ġwhat 00 number Ġequals ok".split()
    vocabulary = byte_alphabet()
    merges: list[str] = []
    for word in words:
        left = word[0]
        for right in word[1:]:
            if left + right not in vocabulary and len(merges) < 41:
                merges.append(f"{left} {right}")
                vocabulary.append(left + right)
            left += right
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    fields: dict[str, Any] = {
        "tokens": vocabulary + special,
        "merges": merges,
        "token_types": [NORMAL] * len(vocabulary) + [CONTROL] * len(special),
        "pre": pre,
        "eos_id": len(vocabulary) + 2,
        "pad_id": len(vocabulary),
        "chat_template": CHATML,
    }
    return TokenizerSpec(**(fields | changes))


def tiny_config(**changes: Any) -> dict[str, Any]:
    """Configuration in normal form: 2 layers, hidden 128, MLP 256, 2 heads of 64 over 1 key-value head."""
    raw: dict[str, Any] = {
        "model_type": "qwen3",
        "vocab_size": 300,
        "hidden_size": 128,
        "intermediate_size": 256,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 64,
        "max_position_embeddings": 256,
        "rms_norm_eps": 1e-6,
        "tie_word_embeddings": False,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
        "eos_token_id": 299,
        "pad_token_id": 297,
    }
    return config_from_hf(raw | changes)


def tiny_tensors(config: dict[str, Any], seed: int = 0) -> dict[str, BinaryTensor | np.ndarray]:
    """Random tensors of ``config`` by canonical name; norms near 1."""
    rng = np.random.default_rng(seed)
    binary, dense = expected_shapes(config)
    tensors: dict[str, BinaryTensor | np.ndarray] = {n: random_binary(n, s, rng) for n, s in binary.items()}
    hybrid = architecture(config["model_type"]).hybrid
    return tensors | {n: _dense(n, s, rng, hybrid).astype(np.float32) for n, s in dense.items()}


def _dense(name: str, shape: tuple[int, ...], rng: np.random.Generator, hybrid: bool) -> np.ndarray:
    """In linear attention what is forgotten slowly, as trained models have it."""
    match name.rpartition(".")[2]:
        case "A_log":
            return np.log(rng.uniform(1, 16, shape))
        case "dt_bias":
            return np.log(np.expm1(np.exp(rng.uniform(np.log(1e-3), np.log(1e-1), shape))))
        case "conv1d":
            return rng.normal(0, 0.5, shape)
    centered = hybrid and not name.endswith("linear_attn.norm")
    return rng.uniform(-0.2, 0.2, shape) if centered else rng.uniform(0.8, 1.2, shape)


def build_tiny_gguf(
    path: Path,
    seed: int = 0,
    tokenizer: TokenizerSpec | None = None,
    metadata: dict[str, Any] | None = None,
    **changes: Any,
) -> Path:
    """Write a random model to ``path``; ``changes`` go to :func:`tiny_config`. Returns ``path``.

    ``metadata``: GGUF keys that the file has as well.
    """
    config = tiny_config(**changes)
    tensors = stored_tensors(tiny_tensors(config, seed), config)
    tokens = (tokenizer or tiny_tokenizer()).to_gguf()
    write_gguf(path, config_to_gguf(config) | tokens | (metadata or {}), tensors)
    return path
