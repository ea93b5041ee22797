"""What a hybrid of full and linear attention adds to a configuration in normal form: Qwen3.5's ``qwen35``.

Every ``full_attention_interval``-th layer has full attention, the others linear attention, the gated delta rule of
``linear_num_value_heads`` heads. Of full attention RoPE turns the first ``partial_rotary_factor`` of each head; it
knows three coordinates of an image (``mrope_section``), which are one and the same number for text.

What llama.cpp has no key for is refused: value heads of another size than key heads, layers in another pattern.
Draft layers behind the last one (``nextn_predict_layers``) are refused too.
"""

from collections.abc import Mapping
from reprlib import repr as short
from typing import Any

from bankai.architectures.fields import positive, size
from bankai.architectures.names import FULL_ATTENTION, LINEAR_ATTENTION
from bankai.errors import ModelFormatError, UnsupportedModelError

__all__ = ["ROPE_KEYS", "hybrid_from_gguf", "hybrid_from_hf", "hybrid_shapes", "hybrid_to_gguf"]

ROPE_KEYS = ("partial_rotary_factor", "mrope_section", "mrope_interleaved")
"""Settings of RoPE that only hybrids have."""

# Hugging Face key -> GGUF key behind "<architecture>."
_SIZES = {
    "linear_conv_kernel_dim": "ssm.conv_kernel",
    "linear_key_head_dim": "ssm.state_size",
    "linear_num_key_heads": "ssm.group_count",
    "linear_num_value_heads": "ssm.time_step_rank",
}
_INTERVAL = 4  # where a configuration does not say
_ROTARY_FACTOR = 0.25
_SECTION = [11, 11, 10]


def hybrid_from_gguf(
    metadata: Mapping[str, Any], arch: str, head_dim: object
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Hugging Face keys, and those of RoPE, of GGUF metadata; not checked yet. Raises UnsupportedModelError."""
    if metadata.get(f"{arch}.nextn_predict_layers", 0) != 0:
        raise UnsupportedModelError(
            f"{arch} with draft layers (MTP) is not supported yet; use a file without them"
        )
    raw = {key: metadata.get(f"{arch}.{name}") for key, name in _SIZES.items()}
    raw["linear_value_head_dim"] = _value_width(metadata.get(f"{arch}.ssm.inner_size"), raw)
    recurrent = metadata.get(f"{arch}.attention.recurrent_layers")
    if recurrent is not None:
        kinds = recurrent if isinstance(recurrent, list) else [recurrent]
        raw["layer_types"] = [_kind(linear) for linear in kinds]
    else:
        raw["full_attention_interval"] = metadata.get(f"{arch}.full_attention_interval", _INTERVAL)
    turned = metadata.get(f"{arch}.rope.dimension_count")
    section = metadata.get(f"{arch}.rope.dimension_sections")
    rope: dict[str, Any] = {"mrope_section": section}
    if isinstance(section, list) and len(section) == 4 and section[3] == 0:
        rope["mrope_section"] = section[:3]
    fits = type(turned) is int and type(head_dim) is int and head_dim > 0
    rope["partial_rotary_factor"] = 1.0 if turned is None else turned / head_dim if fits else turned
    return raw, rope


def _kind(linear: object) -> object:
    """Of a layer; what is neither true nor false itself, so that the check names it."""
    return LINEAR_ATTENTION if linear == 1 else FULL_ATTENTION if linear == 0 else linear


def _value_width(inner: object, raw: Mapping[str, Any]) -> Any:
    """Of one value head; the total itself where it is not that of the heads, so that the check names it."""
    heads, width = raw["linear_num_value_heads"], raw["linear_key_head_dim"]
    fits = type(inner) is int and type(heads) is int and heads > 0 and inner % heads == 0
    return inner // heads if fits and inner // heads == width else inner


def hybrid_from_hf(
    raw: Mapping[str, Any], layers: int, head_dim: int, rope: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Checked keys and settings of RoPE. Raises UnsupportedModelError and ModelFormatError."""
    if raw.get("attn_output_gate", True) is not True:
        raise UnsupportedModelError("attention without an output gate is not supported yet; only with one")
    config = {key: size(raw, key) for key in (*_SIZES, "linear_value_head_dim")}
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
    config["full_attention_interval"] = _interval(raw, layers)
    return config, _rotary(rope, head_dim)


def _interval(raw: Mapping[str, Any], layers: int) -> int:
    """From layer to layer with full attention, out of a number or the list of all kinds."""
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
    """Of each head a whole number of pairs is turned, and every pair has one of the three coordinates."""
    if rope.get("mrope_interleaved", True) is not True:
        raise UnsupportedModelError("mrope_interleaved = false is not supported yet; only true is")
    factor = positive({"partial_rotary_factor": _ROTARY_FACTOR, **rope}, "partial_rotary_factor")
    pairs, section = factor * head_dim / 2, rope.get("mrope_section", _SECTION)
    if factor > 1 or pairs != int(pairs) or not pairs:
        raise ModelFormatError(f"RoPE cannot turn {factor} of heads of {head_dim}; get the model again")
    sizes: list[Any] = section if isinstance(section, list) and len(section) == 3 else [None]
    if not all(type(count) is int and 0 <= count <= head_dim for count in sizes):
        raise ModelFormatError(f"mrope_section is {short(section)}, not three counts; get the model again")
    spread = [(int(pairs) + 2 - coordinate) // 3 for coordinate in range(3)]  # in turn, from pair to pair
    if sizes != spread:
        raise UnsupportedModelError(
            f"mrope_section {sizes} does not spread over {int(pairs)} pairs; only {spread} does"
        )
    return {"partial_rotary_factor": factor, "mrope_section": sizes, "mrope_interleaved": True}


def hybrid_to_gguf(config: Mapping[str, Any], arch: str) -> dict[str, Any]:
    """GGUF metadata of the keys that only hybrids have."""
    rope = config["rope_parameters"]
    metadata = {f"{arch}.{name}": config[key] for key, name in _SIZES.items()}
    return metadata | {
        f"{arch}.ssm.inner_size": config["linear_num_value_heads"] * config["linear_value_head_dim"],
        f"{arch}.full_attention_interval": config["full_attention_interval"],
        f"{arch}.rope.dimension_count": int(rope["partial_rotary_factor"] * config["head_dim"]),
        f"{arch}.rope.dimension_sections": [*rope["mrope_section"], 0],
    }


def hybrid_shapes(config: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Shapes by path inside a layer, of what is not as in other models: attention has a gate beside every query."""
    hidden = config["hidden_size"]
    queries = config["num_attention_heads"] * config["head_dim"]
    keys = config["linear_num_key_heads"] * config["linear_key_head_dim"]
    heads = config["linear_num_value_heads"]
    values = heads * config["linear_value_head_dim"]
    return {
        "self_attn.q_proj": (2 * queries, hidden),
        "linear_attn.in_proj_qkv": (2 * keys + values, hidden),
        "linear_attn.in_proj_z": (values, hidden),
        "linear_attn.in_proj_b": (heads, hidden),
        "linear_attn.in_proj_a": (heads, hidden),
        "linear_attn.out_proj": (hidden, values),
        "linear_attn.conv1d": (2 * keys + values, 1, config["linear_conv_kernel_dim"]),
        "linear_attn.A_log": (heads,),
        "linear_attn.dt_bias": (heads,),
        "linear_attn.norm": (config["linear_value_head_dim"],),
    }
