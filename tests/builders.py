"""Builders of small true 1-bit models for tests; every byte follows from the arguments."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from quantized import random_tensor

from bankai.architectures import architecture, config_from_hf
from bankai.checkpoint.convert import stored_tensors
from bankai.checkpoint.gguf import Tensor, write_gguf
from bankai.checkpoint.model_file import open_checkpoint
from bankai.checkpoint.synth import CHATML, byte_alphabet, random_one_bit
from bankai.checkpoint.tokenizer_spec import CONTROL, NORMAL, TokenizerSpec
from bankai.patch import Flip
from bankai.patching.edits import edits
from bankai.quantization import quantization


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


LLAMA: dict[str, Any] = {"model_type": "llama", "eos_token_id": 299, "pad_token_id": 297}
"""Changes to :func:`tiny_config` for a Llama of the same sizes."""


def tiny_tensors(config: dict[str, Any], seed: int = 0, kind: str = "Q1_0") -> dict[str, Tensor]:
    """Random tensors of ``config`` by canonical name, matrices in one quantization; norms near 1."""
    rng, arch = np.random.default_rng(seed), architecture(config["model_type"])
    matrices, vectors = arch.matrix_shapes(config), arch.vector_shapes(config)
    matrix = random_one_bit if kind == "Q1_0" else partial(random_tensor, kind=quantization(kind))
    tensors: dict[str, Tensor] = {
        name: matrix(name, shape=shape, rng=rng) for name, shape in matrices.items()
    }
    return tensors | {
        name: _vector(name, shape, rng, arch.recurrent).astype(np.float32) for name, shape in vectors.items()
    }


def _vector(name: str, shape: tuple[int, ...], rng: np.random.Generator, hybrid: bool) -> np.ndarray:
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


@contextmanager
def written(path: Path, name: str) -> Iterator[np.ndarray]:
    """The blocks of a matrix of a GGUF file, to be written to; nothing of the package writes so."""
    with open_checkpoint(path) as checkpoint:
        (span,), info = checkpoint.location(name).spans, checkpoint.matrices[name]
    size = (info.rows, info.groups, info.quantization.nbytes)
    blocks = np.memmap(path, np.uint8, "r+", span.offset, size)
    yield blocks
    blocks.flush()


def flip_bytes(model: Path, *flips: Flip) -> None:
    """XOR flips into a model, GGUF or MLX, without a journal or a record: as another tool might change it."""
    with open_checkpoint(model) as checkpoint:
        found = edits(checkpoint, flips)
    for edit in found:
        with edit.file.open("r+b") as file:
            file.seek(edit.offset)
            old = file.read(len(edit.mask))
            file.seek(edit.offset)
            file.write(bytes(one ^ other for one, other in zip(old, edit.mask, strict=True)))


def build_tiny_gguf(
    path: Path,
    seed: int = 0,
    tokenizer: TokenizerSpec | None = None,
    metadata: dict[str, Any] | None = None,
    kind: str = "Q1_0",
    **changes: Any,
) -> Path:
    """Write a random model to ``path``; ``changes`` go to :func:`tiny_config`. Returns ``path``.

    ``metadata``: GGUF keys that the file has as well. ``kind``: the quantization of its matrices.
    """
    config = tiny_config(**changes)
    tensors = stored_tensors(tiny_tensors(config, seed, kind), config)
    tokens = (tokenizer or tiny_tokenizer()).to_gguf()
    settings = architecture(config["model_type"]).config_to_gguf(config)
    write_gguf(path, settings | tokens | (metadata or {}), tensors)
    return path
