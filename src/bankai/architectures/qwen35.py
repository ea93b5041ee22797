"""Qwen3.5, a hybrid, and with it Bonsai 27B: every n-th layer has full attention, the others linear attention.

Linear attention is the gated delta rule of ``linear_num_value_heads`` heads. In full attention RoPE rotates the first
``partial_rotary_factor`` of each head, and a gate stands beside every query; RoPE knows three coordinates of an image
(``mrope_section``), which are one and the same number for text.

What llama.cpp has no key for is refused: value heads of another size than key heads, layers in another pattern. Draft
layers behind the last one (``nextn_predict_layers``) are refused too.

A GGUF file keeps three things otherwise than Hugging Face's modules (llama.cpp's conversion/qwen.py, read in November
2026), which llama.cpp relies on:

- Value heads. In linear attention several value heads share a key head. The modules keep them together: those of key
  head 0, then those of key head 1. llama.cpp repeats the key heads as a whole, so a file has the first value head of
  every key head, then the second of every one. This moves the rows of ``in_proj_z``, ``in_proj_b``, ``in_proj_a`` and
  of the last part of ``in_proj_qkv``, the channels of ``conv1d``, ``A_log`` and ``dt_bias``, and the *columns* of
  ``out_proj``. Columns move with their head: where a head is a whole number of groups, groups move and stay whole.
  Where it is not, there is no group to flip, and the model is refused.
- Values. Norms are kept as 1 + weight, but for the one inside linear attention; ``A_log`` as -exp(A_log).
- Shapes. ``conv1d`` is kept without its middle axis of 1.
"""

from collections.abc import Mapping
from math import ceil
from reprlib import repr as short
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bankai.architectures.base import (
    ATTENTION,
    FULL_ATTENTION,
    Architecture,
    Change,
    Changes,
    LayerKind,
    Positions,
    Shapes,
    Vector,
)
from bankai.architectures.fields import positive, size
from bankai.architectures.order import Order, Permutation
from bankai.architectures.settings import Config, RopeRules
from bankai.errors import ModelFormatError, UnsupportedModelError
from bankai.tensor_names import NORM

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["LINEAR_ATTENTION", "Qwen35"]

LINEAR_ATTENTION = "linear_attention"

_LINEAR = {
    "linear_attn.in_proj_qkv": "attn_qkv.weight",
    "linear_attn.in_proj_z": "attn_gate.weight",
    "linear_attn.in_proj_b": "ssm_beta.weight",
    "linear_attn.in_proj_a": "ssm_alpha.weight",
    "linear_attn.out_proj": "ssm_out.weight",
}
_CONVOLUTION, _DECAY = "linear_attn.conv1d", "linear_attn.A_log"
_NORMS = {"input_layernorm": "attn_norm.weight", "post_attention_layernorm": "post_attention_norm.weight"}
_CENTERED = (*_NORMS, "self_attn.q_norm", "self_attn.k_norm", NORM)

# Hugging Face key -> GGUF key behind "qwen35."
_SIZES = {
    "linear_conv_kernel_dim": "ssm.conv_kernel",
    "linear_key_head_dim": "ssm.state_size",
    "linear_num_key_heads": "ssm.group_count",
    "linear_num_value_heads": "ssm.time_step_rank",
}
# Where a configuration does not say.
_INTERVAL = 4
_ROTARY_FACTOR = 0.25
_SECTION = [11, 11, 10]


class Qwen35(Architecture):
    name = "qwen35"
    model_type = "qwen3_5_text"
    model_class = "Qwen3_5ForCausalLM"
    fixed = {"hidden_act": "silu", "attention_bias": False}
    rope = RopeRules(
        ("default",), ("partial_rotary_factor", "mrope_section", "mrope_interleaved"), ("dimension_sections",)
    )
    layers = {
        FULL_ATTENTION: LayerKind(
            "attention",
            ATTENTION,
            {
                "input_layernorm": _NORMS["input_layernorm"],
                "self_attn.q_norm": "attn_q_norm.weight",
                "self_attn.k_norm": "attn_k_norm.weight",
                "post_attention_layernorm": _NORMS["post_attention_layernorm"],
            },
        ),
        LINEAR_ATTENTION: LayerKind(
            "linear-attention",
            _LINEAR,
            {
                "input_layernorm": _NORMS["input_layernorm"],
                _CONVOLUTION: "ssm_conv1d.weight",
                _DECAY: "ssm_a",
                "linear_attn.dt_bias": "ssm_dt.bias",
                "linear_attn.norm": "ssm_norm.weight",
                "post_attention_layernorm": _NORMS["post_attention_layernorm"],
            },
        ),
    }
    recurrent = True

    # Settings

    def raw_from_gguf(self, metadata: Mapping[str, Any]) -> Config:
        if metadata.get("qwen35.nextn_predict_layers", 0) != 0:
            raise UnsupportedModelError(
                "qwen35 with draft layers (MTP) is not supported yet; use a file without them"
            )
        raw = super().raw_from_gguf(metadata)
        raw |= {key: metadata.get(f"qwen35.{name}") for key, name in _SIZES.items()}
        raw["linear_value_head_dim"] = _value_width(metadata.get("qwen35.ssm.inner_size"), raw)
        recurrent = metadata.get("qwen35.attention.recurrent_layers")
        if recurrent is not None:
            kinds = recurrent if isinstance(recurrent, list) else [recurrent]
            raw["layer_types"] = [_kind(linear) for linear in kinds]
        else:
            raw["full_attention_interval"] = metadata.get("qwen35.full_attention_interval", _INTERVAL)
        raw["rope_parameters"] |= _rotated_part(metadata, raw.get("head_dim"))
        return raw

    def check_rotation(self, metadata: Mapping[str, Any], head_dim: object) -> None:
        """Nothing to refuse: a part of each head may be rotated."""

    def config_from_hf(self, raw: Mapping[str, Any]) -> Config:
        config = super().config_from_hf(raw)
        if raw.get("attn_output_gate", True) is not True:
            raise UnsupportedModelError(
                "attention without an output gate is not supported yet; only with one"
            )
        config |= {key: size(raw, key) for key in (*_SIZES, "linear_value_head_dim")}
        keys, values = config["linear_num_key_heads"], config["linear_num_value_heads"]
        if values % keys:
            raise ModelFormatError(
                f"{values} value heads do not divide into {keys} key heads; get the model again"
            )
        width, key_width = config["linear_value_head_dim"], config["linear_key_head_dim"]
        if width != key_width:
            raise UnsupportedModelError(
                f"linear attention with value heads of {width} and key heads of {key_width} is not supported yet; "
                "only with heads of one size"
            )
        config["full_attention_interval"] = _interval(raw, config["num_hidden_layers"])
        config["rope_parameters"] |= _rotary(config["rope_parameters"], config["head_dim"])
        return config

    def config_to_gguf(self, config: Config) -> dict[str, Any]:
        rope = config["rope_parameters"]
        return super().config_to_gguf(config) | {
            **{f"qwen35.{name}": config[key] for key, name in _SIZES.items()},
            "qwen35.ssm.inner_size": config["linear_num_value_heads"] * config["linear_value_head_dim"],
            "qwen35.full_attention_interval": config["full_attention_interval"],
            "qwen35.rope.dimension_count": int(rope["partial_rotary_factor"] * config["head_dim"]),
            "qwen35.rope.dimension_sections": [*rope["mrope_section"], 0],
        }

    def torch_config(self, config: Config) -> dict[str, Any]:
        return config | {"layer_types": list(self.layer_kinds(config))}

    def layer_kinds(self, config: Config) -> tuple[str, ...]:
        interval, layers = config["full_attention_interval"], range(1, config["num_hidden_layers"] + 1)
        return tuple(LINEAR_ATTENTION if layer % interval else FULL_ATTENTION for layer in layers)

    def one_layer(self, config: Config, layer: int) -> Config:
        """One layer alone has full attention if every layer has, linear attention if every second has full."""
        full = self.layer_kinds(config)[layer] == FULL_ATTENTION
        return super().one_layer(config, layer) | {"full_attention_interval": 1 if full else 2}

    def check_llama_cpp(self, config: Config) -> None:
        """llama.cpp gives a hybrid two memories, and ends the process where no layer uses one of them."""
        if len(set(self.layer_kinds(config))) == 1:
            raise UnsupportedModelError(
                "llama.cpp does not compute a hybrid with layers of one kind; torch does, in `bankai generate` and in "
                "`bankai eval --engine torch`"
            )

    # Tensors

    def shapes(self, config: Config) -> Shapes:
        hidden, head = config["hidden_size"], config["head_dim"]
        keys, values = _widths(config)
        heads = config["linear_num_value_heads"]
        return super().shapes(config) | {
            "self_attn.q_proj": (2 * config["num_attention_heads"] * head, hidden),
            "self_attn.q_norm": (head,),
            "self_attn.k_norm": (head,),
            "linear_attn.in_proj_qkv": (2 * keys + values, hidden),
            "linear_attn.in_proj_z": (values, hidden),
            "linear_attn.in_proj_b": (heads, hidden),
            "linear_attn.in_proj_a": (heads, hidden),
            "linear_attn.out_proj": (hidden, values),
            _CONVOLUTION: (2 * keys + values, 1, config["linear_conv_kernel_dim"]),
            _DECAY: (heads,),
            "linear_attn.dt_bias": (heads,),
            "linear_attn.norm": (config["linear_value_head_dim"],),
        }

    def order(self, path: str, config: Config, group: int) -> Order:
        heads, width = _value_heads(config), config["linear_value_head_dim"]
        if heads is None:
            return Order()
        match path.removeprefix("linear_attn."):
            case "in_proj_qkv" | "conv1d":
                keys = 2 * _widths(config)[0]
                return Order(np.concatenate([np.arange(keys), keys + _spread(heads, width)]))
            case "in_proj_z":
                return Order(_spread(heads, width))
            case "in_proj_b" | "in_proj_a" | "A_log" | "dt_bias":
                return Order(heads)
            case "out_proj":
                if width % group:
                    raise UnsupportedModelError(
                        f"{path}: GGUF reorders its columns by heads of {width}, which tears groups of {group} apart; "
                        "only models with value heads of whole groups are supported"
                    )
                return Order(groups=_spread(heads, width // group))
        return Order()

    def stored_shape(self, path: str, shape: tuple[int, ...]) -> tuple[int, ...]:
        return (shape[0], shape[2]) if path == _CONVOLUTION else shape

    def canonical_vector(self, path: str, stored: Vector, config: Config) -> Vector:
        array = self.order(path, config, 1).canonical(stored)
        if path == _CONVOLUTION:
            return array[:, None]
        if path == _DECAY:
            if not (array < 0).all():
                raise ModelFormatError(f"{path}: a decay is not below 0; the model is damaged, get it again")
            return np.log(-array.astype(np.float64)).astype(np.float32)
        return array - np.float32(1) if path in _CENTERED else array

    def stored_vector(self, path: str, vector: NDArray[Any], config: Config) -> NDArray[Any]:
        array = self.order(path, config, 1).stored_rows(vector)
        if path == _CONVOLUTION:
            return array[:, 0]
        if path == _DECAY:
            return -np.exp(array.astype(np.float64)).astype(array.dtype)
        return array + array.dtype.type(1) if path in _CENTERED else array

    # Computing

    def kind_of(self, block: "nn.Module") -> LayerKind:
        return self.layers[FULL_ATTENTION if hasattr(block, "self_attn") else LINEAR_ATTENTION]

    def mix(
        self, block: "nn.Module", hidden: "Tensor", positions: Positions, changes: Changes | None = None
    ) -> "Tensor":
        if hasattr(block, "self_attn"):
            return super().mix(block, hidden, positions, changes)
        return hidden + _linear_attention(block.linear_attn, block.input_layernorm(hidden), changes)

    # Memory

    def layer_bytes(self, config: Config, sequences: int, length: int, item: int) -> int:
        full = super().layer_bytes(config, sequences, length, item)
        if LINEAR_ATTENTION not in self.layer_kinds(config):
            return full
        return max(full, _rule_bytes(config, sequences, length, item, _RULE_COPIES))

    def step_bytes(self, config: Config, sequences: int, length: int, item: int) -> int:
        if LINEAR_ATTENTION not in self.layer_kinds(config):
            return super().step_bytes(config, sequences, length, item)
        tokens: int = sequences * length
        queries: int = config["num_attention_heads"] * config["head_dim"]
        keys, values = _widths(config)
        mlp, convolved = self._mlp_step(config), 2 * keys + values
        gated = tokens * item * (mlp + 12 * queries)
        padded = _padded(sequences, length)
        kept = tokens * item * (mlp + convolved + 23 * values) + _FLOAT * _RULE_COPIES * padded * values
        return max(gated, kept, _rule_bytes(config, sequences, length, item, _RULE_GRADIENT_COPIES))


def _kind(linear: object) -> object:
    """The kind of a layer by its flag. What is no flag is returned as it is, for the check of the kinds to name."""
    return LINEAR_ATTENTION if linear == 1 else FULL_ATTENTION if linear == 0 else linear


def _value_width(inner: object, raw: Mapping[str, Any]) -> Any:
    """The width of a value head, from that of all together.

    A total that does not fit the heads is returned as it is, for the check of the widths to name.
    """
    heads, width = raw["linear_num_value_heads"], raw["linear_key_head_dim"]
    fits = type(inner) is int and type(heads) is int and heads > 0 and inner % heads == 0
    return inner // heads if fits and inner // heads == width else inner


def _rotated_part(metadata: Mapping[str, Any], head_dim: object) -> dict[str, Any]:
    """Settings of RoPE, not checked yet: how much of a head is rotated, and by which coordinates."""
    rotated = metadata.get("qwen35.rope.dimension_count")
    section = metadata.get("qwen35.rope.dimension_sections")
    if isinstance(section, list) and len(section) == 4 and section[3] == 0:
        section = section[:3]
    fits = type(rotated) is int and type(head_dim) is int and head_dim > 0
    factor = 1.0 if rotated is None else rotated / head_dim if fits else rotated
    return {"mrope_section": section, "partial_rotary_factor": factor}


def _interval(raw: Mapping[str, Any], layers: int) -> int:
    """Every how many layers there is full attention, from that number or from the list of all kinds.

    Raises ModelFormatError and UnsupportedModelError.
    """
    kinds = raw.get("layer_types")
    if kinds is None:
        return size({"full_attention_interval": _INTERVAL, **raw}, "full_attention_interval")
    if not isinstance(kinds, list) or len(kinds) != layers:
        raise ModelFormatError(
            f"layer_types {short(kinds)} are not those of {layers} layers; get the model again"
        )
    interval = kinds.index(FULL_ATTENTION) + 1 if FULL_ATTENTION in kinds else layers + 1
    pattern = [LINEAR_ATTENTION if (layer + 1) % interval else FULL_ATTENTION for layer in range(layers)]
    if kinds != pattern:
        raise UnsupportedModelError(
            f"layer_types {short(kinds)} are not supported yet; only full_attention in every n-th layer is"
        )
    return interval


def _rotary(rope: Mapping[str, Any], head_dim: int) -> dict[str, Any]:
    """The settings of RoPE in normal form: of each head a whole number of pairs is rotated, each by one coordinate.

    Raises ModelFormatError and UnsupportedModelError.
    """
    if rope.get("mrope_interleaved", True) is not True:
        raise UnsupportedModelError("mrope_interleaved = false is not supported yet; only true is")
    factor = positive({"partial_rotary_factor": _ROTARY_FACTOR, **rope}, "partial_rotary_factor")
    pairs, section = factor * head_dim / 2, rope.get("mrope_section", _SECTION)
    if factor > 1 or pairs != int(pairs) or not pairs:
        raise ModelFormatError(f"RoPE cannot rotate {factor} of heads of {head_dim}; get the model again")
    sizes: list[Any] = section if isinstance(section, list) and len(section) == 3 else [None]
    if not all(type(count) is int and 0 <= count <= head_dim for count in sizes):
        raise ModelFormatError(f"mrope_section is {short(section)}, not three counts; get the model again")
    spread = [(int(pairs) + 2 - coordinate) // 3 for coordinate in range(3)]  # in turn, from pair to pair
    if sizes != spread:
        raise UnsupportedModelError(
            f"mrope_section {sizes} does not spread over {int(pairs)} pairs; only {spread} does"
        )
    return {"partial_rotary_factor": factor, "mrope_section": sizes, "mrope_interleaved": True}


def _widths(config: Config) -> tuple[int, int]:
    """How many rows the keys and the values of linear attention have, all heads together."""
    keys = config["linear_num_key_heads"] * config["linear_key_head_dim"]
    return keys, config["linear_num_value_heads"] * config["linear_value_head_dim"]


def _value_heads(config: Config) -> Permutation | None:
    """Where GGUF keeps each value head; None where it moves none."""
    keys, values = config["linear_num_key_heads"], config["linear_num_value_heads"]
    heads = np.arange(values, dtype=np.intp).reshape(values // keys, keys).T.reshape(-1)
    return None if (np.diff(heads) == 1).all() else heads


def _spread(heads: Permutation, width: int) -> Permutation:
    """The permutation of rows that moves heads of that width."""
    return (heads[:, None] * width + np.arange(width)).reshape(-1)


def _linear_attention(module: "nn.Module", x: "Tensor", changes: Changes | None) -> "Tensor":
    """The gated delta rule. A state takes the place of positions, so nothing is rotated.

    [sequences, length, hidden] to the same. A short convolution and SiLU make query, key and value, of which the state
    of a head keeps what `beta` and `decay` let it. Between the modules the operations are those of transformers' own
    forward.
    """
    from torch.nn import functional
    from transformers.models.qwen3_5.modeling_qwen3_5 import torch_chunk_gated_delta_rule

    sequences, length, _ = x.shape
    heads = (sequences, length, -1)
    # each [sequences, length, its rows]
    qkv, z, b, a = (getattr(module, f"in_proj_{name}")(x) for name in ("qkv", "z", "b", "a"))
    convolved = module.conv1d(qkv.transpose(1, 2))[..., :length].transpose(1, 2)
    active = functional.silu(convolved)
    query, key, value = active.split((module.key_dim, module.key_dim, module.value_dim), dim=-1)
    query, key = (_repeated(module, part.reshape(*heads, module.head_k_dim)) for part in (query, key))
    beta, decay = b.sigmoid(), _decay(module, a)  # [sequences, length, value heads]
    read, _ = torch_chunk_gated_delta_rule(
        query,
        key,
        value.reshape(*heads, module.head_v_dim),
        g=decay,
        beta=beta,
        use_qk_l2norm_in_kernel=True,
    )
    read, gates = read.reshape(-1, module.head_v_dim), z.reshape(-1, module.head_v_dim)
    gated = module.norm(read, gates).reshape(heads)
    if changes is not None:
        # silu(-c) = silu(c) - c, of the convolution and of the gate; sigmoid(-b) = 1 - sigmoid(b)
        scaled = functional.rms_norm(
            read.float(), (module.head_v_dim,), module.norm.weight.float(), module.norm.variance_epsilon
        )
        changes |= {
            "linear_attn.in_proj_qkv": Change(active, -convolved.detach()),
            "linear_attn.in_proj_z": Change(gated, -(scaled * gates).reshape(heads).detach()),
            "linear_attn.in_proj_b": Change(beta, (1 - 2 * beta).detach()),
            "linear_attn.in_proj_a": Change(decay, (_decay(module, -a) - decay).detach()),
        }
    return module.out_proj(gated)


def _repeated(module: "nn.Module", heads: "Tensor") -> "Tensor":
    """Key heads [sequences, length, heads, width], each repeated for its value heads: not every version of transformers
    does so inside the rule.

    With one value head for each key head nothing is copied: a copy has another layout, and sums would differ in their
    last digits.
    """
    times = module.num_v_heads // module.num_k_heads
    return heads if times == 1 else heads.repeat_interleave(times, dim=2)


def _decay(module: "nn.Module", a: "Tensor") -> "Tensor":
    """The logarithm of the part of itself that a head's state keeps."""
    from torch.nn import functional

    return -module.A_log.float().exp() * functional.softplus(a.float() + module.dt_bias)


# The gated delta rule takes `_RULE` tokens at once, fills sequences up to whole chunks of them, keeps a state for each
# head of each sequence, and computes in float32: a short sequence takes as much memory in it as a whole chunk.
_FLOAT = 4
_RULE = 64
_RULE_COPIES, _RULE_GRADIENT_COPIES = 9, 12  # of the values of all chunks: without and with a gradient
_RULE_SQUARES = 3  # of every head and chunk, tokens by tokens
_RULE_STATES, _RULE_READS = 4, 2  # of every sequence: states, and values of one chunk


def _padded(sequences: int, length: int) -> int:
    """Tokens of all sequences, each filled up to whole chunks."""
    return sequences * ceil(length / _RULE) * _RULE


def _rule_bytes(config: Config, sequences: int, length: int, item: int, copies: int) -> int:
    """Bytes of linear attention inside the delta rule, with so many copies of the values; numbers have `item` bytes."""
    keys, values = _widths(config)
    squares = _RULE_SQUARES * _RULE * config["linear_num_value_heads"]
    states = values * (_RULE_STATES * config["linear_value_head_dim"] + _RULE_READS * _RULE)
    rule = _padded(sequences, length) * (copies * values + squares) + sequences * states
    # What is convolved before, after and activated; the gate; queries and keys, one for every head of values.
    around = sequences * length * (4 * config["hidden_size"] + 3 * (2 * keys + values) + 3 * values)
    elements: int = item * around + _FLOAT * rule
    return elements
