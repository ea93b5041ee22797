"""Random true 1-bit models in the exact shapes of published ones: for memory, timings and tests, never for text.

Shapes of Bonsai 1.7B, 4B and 8B: those of Qwen3, with these findings (November 2026).
- 8B, metadata and tensors: ollama.com/digitsflow/bonsai-8b, blob ead25897bc03. `token_embd` has 151,669 rows, not the
  151,936 of the model card and of Qwen3: only so the file is 1,158,654,496 bytes with Qwen's 5.9 MB of tokenizer.
- 4B: model card (36 layers, 32/8 heads, context 32,768), sizes of Qwen/Qwen3-4B's config.json (2560, 9728, tied).
  4,021,784,576 parameters (huggingface.co/welcoma/Bonsai-4B-bonsai_q1_f32-MLC) are those of 151,669 tied rows.
- 1.7B: model card (28 layers, 16/8 heads, context 32,768), sizes of Qwen/Qwen3-1.7B (2048, 6144, tied); the card's
  0.24 GB of weights are those of tied rows, 0.29 GB would be untied.
- That the smaller two stretch 8,192 to 32,768 as the 8B stretches 16,384 to 65,536 is a guess.

Shape of Bonsai 27B (Bonsai-27B-Q1_0.gguf of huggingface.co/prism-ml/Bonsai-27B-gguf, July 2026; a hybrid, `qwen35`), as
two public projects report having read it (read in November 2026): 851 tensors, 498 in Q1_0 and 353 in F32, metadata as
in `SHAPES`, 3,803,452,480 bytes of which 10,992,704 come before the tensors. Ours are as many and as large, to the
byte, so its head is untied, and the small projections of linear attention are in 1 bit as well. How its decays, time
steps and convolutions are distributed is a guess: as new models of the kind begin.

The vocabulary has the size and the special tokens of Qwen3's, for the 27B the size of Qwen3.5's; the words between are
made up, four letters at most, and the special tokens come last.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from string import ascii_uppercase
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bankai.architectures import architecture, config_from_hf
from bankai.checkpoint.gguf import Layout, Tensor, gguf_size, stream_gguf
from bankai.checkpoint.tokenizer_spec import CONTROL, NORMAL, USER_DEFINED, TokenizerSpec
from bankai.io import check_absent
from bankai.journal import check_unclaimed
from bankai.quantization import PackedTensor
from bankai.quantization.floats import F32
from bankai.quantization.one_bit import Q1_0, one_bit_blocks
from bankai.tensor_names import parse_tensor_name

__all__ = [
    "CHATML",
    "SHAPES",
    "Linear",
    "Shape",
    "byte_alphabet",
    "random_one_bit",
    "synth_config",
    "synth_size",
    "synth_tokenizer",
    "synthesize",
]

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

_YARN_FACTOR = 4
_PUBLISHED_FILE_TYPE = 41

# Qwen3's, in its order: the end of text is id 151,643, the end of a turn 151,645.
_SPECIAL = (
    *"<|endoftext|> <|im_start|> <|im_end|> <|object_ref_start|> <|object_ref_end|> <|box_start|>".split(),
    *"<|box_end|> <|quad_start|> <|quad_end|> <|vision_start|> <|vision_end|> <|vision_pad|>".split(),
    *"<|image_pad|> <|video_pad|>".split(),
)
_MARKS = (
    *"<tool_call> </tool_call> <|fim_prefix|> <|fim_middle|> <|fim_suffix|> <|fim_pad|> <|repo_name|>".split(),
    *"<|file_sep|> <tool_response> </tool_response> <think> </think>".split(),
)
_SPACE = "Ġ"
_LETTERS = "etaoinsrhldcumfpgwybvkxjqz" + ascii_uppercase  # small ones by how often English has them


@dataclass(frozen=True, slots=True)
class Linear:
    """Linear attention, in all but every fourth layer: heads of 128, a convolution over 4 tokens."""

    key_heads: int
    value_heads: int


@dataclass(frozen=True, slots=True)
class Shape:
    """What tells the models apart. ``context`` is 4 times the length that RoPE was trained on, except in hybrids."""

    layers: int
    hidden: int
    inner: int
    heads: int
    key_value_heads: int
    context: int
    tied: bool
    vocabulary: int = 151_669
    head: int = 128
    linear: Linear | None = None


SHAPES = {
    "bonsai-8b": Shape(36, 4096, 12288, 32, 8, 65536, tied=False),
    "bonsai-4b": Shape(36, 2560, 9728, 32, 8, 32768, tied=True),
    "bonsai-1.7b": Shape(28, 2048, 6144, 16, 8, 32768, tied=True),
    "bonsai-27b": Shape(
        64, 5120, 17408, 24, 4, 262144, tied=False, vocabulary=248_320, head=256, linear=Linear(16, 48)
    ),
    "tiny": Shape(2, 256, 512, 2, 1, 1024, tied=False, vocabulary=1024),
    "tiny-hybrid": Shape(4, 256, 512, 2, 1, 1024, tied=False, vocabulary=1024, linear=Linear(2, 6)),
}


def synthesize(
    target: str | Path,
    shape: str,
    *,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Write a random model of a shape in ``SHAPES`` to a GGUF file; return its path.

    Holds one tensor at a time. ``progress`` is told the tensors written and all there are. The same seed gives
    the same bytes. Raises StoreError when ``target`` exists or its disk is too small.
    """
    path = Path(target)
    check_absent(path)
    check_unclaimed(path)
    metadata, layout = _plan(shape, seed)
    stream_gguf(path, metadata, layout, _random_tensors(layout, seed, progress))
    return path


def synth_size(shape: str) -> int:
    """Bytes of the file that `synthesize` writes of a shape in ``SHAPES``."""
    return gguf_size(*_plan(shape, seed=0))


def synth_config(shape: Shape) -> dict[str, Any]:
    """The configuration of a shape in normal form."""
    sizes = {
        "vocab_size": shape.vocabulary,
        "hidden_size": shape.hidden,
        "intermediate_size": shape.inner,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.key_value_heads,
        "head_dim": shape.head,
        "max_position_embeddings": shape.context,
        "rms_norm_eps": 1e-6,
        "tie_word_embeddings": shape.tied,
    }
    return config_from_hf(sizes | (_dense(shape) if shape.linear is None else _hybrid(shape, shape.linear)))


def _dense(shape: Shape) -> dict[str, Any]:
    rope = {
        "rope_type": "yarn",
        "rope_theta": 1e6,
        "factor": float(_YARN_FACTOR),
        "original_max_position_embeddings": shape.context // _YARN_FACTOR,
    }
    return {"model_type": "qwen3", "rope_parameters": rope}


def _hybrid(shape: Shape, linear: Linear) -> dict[str, Any]:
    pairs = shape.head // 8  # RoPE turns a quarter of each head
    rope = {
        "rope_type": "default",
        "rope_theta": 1e7,
        "partial_rotary_factor": 0.25,
        "mrope_section": [(pairs + 2 - coordinate) // 3 for coordinate in range(3)],
    }
    return {
        "model_type": "qwen35",
        "rope_parameters": rope,
        "full_attention_interval": 4,
        "linear_conv_kernel_dim": 4,
        "linear_key_head_dim": 128,
        "linear_value_head_dim": 128,
        "linear_num_key_heads": linear.key_heads,
        "linear_num_value_heads": linear.value_heads,
    }


def synth_tokenizer(vocabulary: int, pre: str = "qwen2") -> TokenizerSpec:
    """Bytes, made-up words and Qwen3's special tokens: ``vocabulary`` tokens in all. ``pre`` splits the text."""
    special = [*_SPECIAL, *_MARKS]
    merges = _merges(vocabulary - 256 - len(special))
    words = [*byte_alphabet(), *(merge.replace(" ", "") for merge in merges)]
    return TokenizerSpec(
        tokens=[*words, *special],
        merges=merges,
        token_types=[NORMAL] * len(words) + [CONTROL] * len(_SPECIAL) + [USER_DEFINED] * len(_MARKS),
        pre=pre,
        eos_id=len(words) + _SPECIAL.index("<|im_end|>"),
        pad_id=len(words) + _SPECIAL.index("<|endoftext|>"),
        chat_template=CHATML,
    )


def byte_alphabet() -> list[str]:
    """GPT-2's printable spelling of the 256 bytes, in byte order."""
    printable = {*range(33, 127), *range(161, 173), *range(174, 256)}
    spare = iter(range(256, 512))
    return [chr(byte if byte in printable else next(spare)) for byte in range(256)]


def random_one_bit(name: str, shape: tuple[int, int], rng: np.random.Generator) -> PackedTensor:
    """A matrix of ``shape`` (out, in) with random signs and with scales around 1 / sqrt(in), as trained models have."""
    out, inner = shape
    groups = inner // Q1_0.weights
    signs = rng.integers(0, 256, (out, groups, Q1_0.weights // 8), dtype=np.uint8)
    scales = (rng.uniform(0.5, 1.5, (out, groups)) / np.sqrt(inner)).astype(np.float16)
    return PackedTensor(name, Q1_0, one_bit_blocks(scales, signs))


def _plan(shape: str, seed: int) -> tuple[dict[str, Any], Layout]:
    """Metadata, and types and shapes of the tensors in file order."""
    config = synth_config(SHAPES[shape])
    arch = architecture(config["model_type"])
    tokenizer = synth_tokenizer(config["vocab_size"], "qwen35" if arch.recurrent else "qwen2")
    metadata = arch.config_to_gguf(config) | {
        "general.name": f"synth {shape}",
        "general.description": f"Random weights of seed {seed}: for memory, timings and tests, not for text",
        "general.file_type": _PUBLISHED_FILE_TYPE,
    }
    layout: Layout = {
        **{arch.gguf_name(name): (Q1_0, size) for name, size in arch.matrix_shapes(config).items()},
        **{
            arch.gguf_name(name): (F32, arch.stored_shape(parse_tensor_name(name).path, size))
            for name, size in arch.vector_shapes(config).items()
        },
    }
    return metadata | tokenizer.to_gguf(), layout


def _random_tensors(
    layout: Layout, seed: int, progress: Callable[[int, int], None] | None
) -> Iterator[Tensor]:
    """Random matrices and decays; norms of 1, which change nothing."""
    rng = np.random.default_rng(seed)
    for done, (name, (kind, shape)) in enumerate(layout.items()):
        if progress is not None:
            progress(done, len(layout))
        if kind is Q1_0:
            out, inner = shape
            yield random_one_bit(name, (out, inner), rng)
        else:
            yield _dense_values(name, shape, rng)


def _dense_values(name: str, shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.float32]:
    """Values of a vector by its GGUF name. From token to token a state keeps exp(ssm_a * dt) of itself, where dt is a
    softplus about its bias.
    """
    match name.split(".", 2)[-1]:
        case "ssm_a":
            values = -rng.uniform(1, 16, shape)
        case "ssm_dt.bias":
            steps = np.exp(rng.uniform(np.log(1e-3), np.log(1e-1), shape))
            values = np.log(np.expm1(steps))
        case "ssm_conv1d.weight":
            values = rng.uniform(-0.5, 0.5, shape)
        case _:
            values = np.ones(shape)
    return values.astype(np.float32)


def _merges(wanted: int) -> list[str]:
    """Letters and the words so far joined in pairs, those of frequent letters first; a space only in front."""
    parts = [_SPACE, *_LETTERS]
    known, merges = set(parts), list[str]()
    for last in count():
        older = parts[: last + 1]
        pairs = [(part, parts[last]) for part in older] + [(parts[last], part) for part in older[:-1]]
        for left, right in pairs:
            if left + right in known or right.startswith(_SPACE):
                continue
            if len(merges) == wanted:
                return merges
            known.add(left + right)
            parts.append(left + right)
            merges.append(f"{left} {right}")
    raise AssertionError("there is always another pair")
