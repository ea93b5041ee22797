"""The configuration of a model, in one normal form of Hugging Face keys, and its GGUF counterpart.

Both formats of one model give the same dictionary: ``config_from_gguf`` reads GGUF metadata,
``config_from_hf`` a ``config.json`` with newer (``rope_parameters``) or older (``rope_theta``,
``rope_scaling``) keys. Numbers are checked; settings of attention and RoPE that are not known are refused,
since they would change the result. What only hybrids with linear attention have is in ``hybrid.py``.

This module knows shapes and settings, not names of tensors in files.
"""

from collections.abc import Mapping
from reprlib import repr as short
from typing import Any

from bankai.architectures.fields import positive, size, token_id, truth, widen
from bankai.architectures.hybrid import (
    ROPE_KEYS,
    hybrid_from_gguf,
    hybrid_from_hf,
    hybrid_shapes,
    hybrid_to_gguf,
)
from bankai.architectures.names import (
    EMBEDDING,
    FULL_ATTENTION,
    HEAD,
    LINEAR_ATTENTION,
    NORM,
    Architecture,
    architecture,
    in_layer,
)
from bankai.errors import ModelFormatError, UnsupportedModelError
from bankai.io import quote

__all__ = [
    "check_llama_cpp",
    "config_from_gguf",
    "config_from_hf",
    "config_to_gguf",
    "expected_shapes",
    "layer_kinds",
]

# Hugging Face key -> GGUF key behind "<architecture>."
_SIZES = {
    "hidden_size": "embedding_length",
    "intermediate_size": "feed_forward_length",
    "num_hidden_layers": "block_count",
    "num_attention_heads": "attention.head_count",
    "num_key_value_heads": "attention.head_count_kv",
    "head_dim": "attention.key_length",
    "max_position_embeddings": "context_length",
}
_EPSILON = "attention.layer_norm_rms_epsilon"
# YaRN, Hugging Face key -> GGUF key behind "<architecture>.rope.scaling."
_YARN = {"beta_fast": "yarn_beta_fast", "beta_slow": "yarn_beta_slow"}
_SPECIAL = {
    "bos_token_id": "tokenizer.ggml.bos_token_id",
    "eos_token_id": "tokenizer.ggml.eos_token_id",
    "pad_token_id": "tokenizer.ggml.padding_token_id",
}
# Settings that have no GGUF key: only these values compute the same thing.
_FIXED = {
    "qwen3": {"hidden_act": "silu", "attention_bias": False, "use_sliding_window": False},
    "qwen35": {"hidden_act": "silu", "attention_bias": False},
}


def config_from_gguf(metadata: Mapping[str, Any], vocab_size: int, tied: bool) -> dict[str, Any]:
    """Normal form of the GGUF ``metadata``; the embedding's rows and a missing output tensor tell the rest.

    Raises UnsupportedModelError and ModelFormatError.
    """
    known = architecture(metadata.get("general.architecture"))
    arch = known.name
    raw: dict[str, Any] = {"model_type": arch, "vocab_size": vocab_size, "tie_word_embeddings": tied}
    for key, gguf_key in _SIZES.items():
        if f"{arch}.{gguf_key}" in metadata:
            raw[key] = metadata[f"{arch}.{gguf_key}"]
    raw["rms_norm_eps"] = widen(metadata.get(f"{arch}.{_EPSILON}"))
    value_length = metadata.get(f"{arch}.attention.value_length", raw.get("head_dim"))
    if value_length != raw.get("head_dim", value_length):
        raise UnsupportedModelError(
            f"keys of {raw.get('head_dim')} and values of {value_length} differ; not {arch}"
        )
    rope: dict[str, Any] = {"rope_theta": widen(metadata.get(f"{arch}.rope.freq_base", 10000.0))}
    _check_rope_keys(metadata, known, raw.get("head_dim"))
    if known.hybrid:
        added, rotary = hybrid_from_gguf(metadata, arch, raw.get("head_dim"))
        raw, rope = raw | added, rope | rotary
    scaling = f"{arch}.rope.scaling."
    rope["rope_type"] = metadata.get(f"{scaling}type", "none")
    if rope["rope_type"] in ("none", "default"):
        rope["rope_type"] = "default"
    else:
        rope["factor"] = widen(metadata.get(f"{scaling}factor"))
        rope["original_max_position_embeddings"] = metadata.get(f"{scaling}original_context_length")
        rope |= {
            key: widen(metadata[scaling + name]) for key, name in _YARN.items() if scaling + name in metadata
        }
        if metadata.get(f"{scaling}attn_factor", 1.0) != 1.0:
            raise UnsupportedModelError(
                "rope.scaling.attn_factor other than 1 is not supported; use the original file"
            )
    raw["rope_parameters"] = rope
    raw |= {key: metadata[name] for key, name in _SPECIAL.items() if name in metadata}
    return config_from_hf(raw)


def config_from_hf(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Normal form of a Hugging Face ``config.json``. Raises UnsupportedModelError and ModelFormatError."""
    arch = architecture(raw.get("model_type"))
    fixed = _FIXED[arch.name]
    for key, value in fixed.items():
        if raw.get(key, value) != value:
            raise UnsupportedModelError(f"{key} = {short(raw[key])} is not supported yet; only {value!r} is")
    kinds = raw.get("layer_types") or []
    if not isinstance(kinds, list) or any(kind not in list(arch.layers) for kind in kinds):
        known = " and ".join(arch.layers)
        raise UnsupportedModelError(f"layer_types {short(kinds)} are not supported yet; only {known}")
    config: dict[str, Any] = {"model_type": arch.model_type, "architectures": [arch.model_class], **fixed}
    heads = size(raw, "num_attention_heads")
    fallbacks = {"num_key_value_heads": heads, "head_dim": size(raw, "hidden_size") // heads}
    for key in ("vocab_size", *_SIZES):
        config[key] = size({**fallbacks, **raw}, key)
    if heads % config["num_key_value_heads"]:
        raise ModelFormatError(
            f"{heads} heads do not divide into {config['num_key_value_heads']} key-value heads"
        )
    if config["head_dim"] % 2:
        raise ModelFormatError(
            f"head_dim {config['head_dim']} is odd, but RoPE turns pairs; get the model again"
        )
    config["rms_norm_eps"] = positive(raw, "rms_norm_eps")
    config["tie_word_embeddings"] = truth(raw, "tie_word_embeddings")
    config["rope_parameters"], rotary = _rope(raw, config["max_position_embeddings"], arch)
    if arch.hybrid:
        layers, head_dim = config["num_hidden_layers"], config["head_dim"]
        added, rotary = hybrid_from_hf(raw, layers, head_dim, rotary)
        config |= added
        config["rope_parameters"] |= rotary
    for key in _SPECIAL:
        if raw.get(key) is not None:
            config[key] = token_id(raw[key], key, config["vocab_size"])
    return config


def config_to_gguf(config: Mapping[str, Any]) -> dict[str, Any]:
    """GGUF metadata of a configuration in normal form, without the tokenizer's keys."""
    known = architecture(config["model_type"])
    arch, rope = known.name, config["rope_parameters"]
    metadata: dict[str, Any] = {
        "general.architecture": arch,
        "general.type": "model",
        "general.file_type": 40,  # mostly Q1_0
        "general.quantization_version": 2,
    }
    metadata |= {f"{arch}.{name}": config[key] for key, name in _SIZES.items()}
    metadata[f"{arch}.attention.value_length"] = config["head_dim"]
    metadata[f"{arch}.{_EPSILON}"] = float(config["rms_norm_eps"])
    metadata[f"{arch}.rope.freq_base"] = float(rope["rope_theta"])
    if rope["rope_type"] != "default":
        scaling = f"{arch}.rope.scaling."
        metadata[f"{scaling}type"] = rope["rope_type"]
        metadata[f"{scaling}factor"] = float(rope["factor"])
        if "original_max_position_embeddings" in rope:
            metadata[f"{scaling}original_context_length"] = rope["original_max_position_embeddings"]
        metadata |= {scaling + name: float(rope[key]) for key, name in _YARN.items() if key in rope}
    return metadata | hybrid_to_gguf(config, arch) if known.hybrid else metadata


def layer_kinds(config: Mapping[str, Any]) -> tuple[str, ...]:
    """The kind of every layer of a configuration in normal form, in Hugging Face's words."""
    interval = config.get("full_attention_interval", 1)
    layers = range(1, config["num_hidden_layers"] + 1)
    return tuple(LINEAR_ATTENTION if layer % interval else FULL_ATTENTION for layer in layers)


def check_llama_cpp(config: Mapping[str, Any]) -> None:
    """Raises UnsupportedModelError for what would make llama.cpp end our process.

    It gives a hybrid two memories, and one that no layer uses has no buffer.
    """
    if architecture(config["model_type"]).hybrid and len(set(layer_kinds(config))) == 1:
        raise UnsupportedModelError(
            "llama.cpp does not compute a hybrid with layers of one kind; torch does, in `bankai generate` and in "
            "`bankai eval --engine torch`"
        )


def expected_shapes(
    config: Mapping[str, Any],
) -> tuple[dict[str, tuple[int, int]], dict[str, tuple[int, ...]]]:
    """Shapes of binary tensors, ``(out, in)``, and of all others, by canonical name in layer order."""
    arch, kinds = architecture(config["model_type"]), layer_kinds(config)
    shapes = _shapes(config) | (hybrid_shapes(config) if arch.hybrid else {})
    binary = arch.binary_names(kinds, config["tie_word_embeddings"])
    found: dict[str, Any] = {
        name: shapes[in_layer(name) or name] for name in (*binary, *arch.dense_names(kinds))
    }
    return {name: found.pop(name) for name in binary}, found


def _shapes(config: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """By path inside a layer, or by the name of a tensor of none."""
    hidden, inner, head = config["hidden_size"], config["intermediate_size"], config["head_dim"]
    queries, keys = config["num_attention_heads"] * head, config["num_key_value_heads"] * head
    return {
        EMBEDDING: (config["vocab_size"], hidden),
        HEAD: (config["vocab_size"], hidden),
        NORM: (hidden,),
        "input_layernorm": (hidden,),
        "post_attention_layernorm": (hidden,),
        "self_attn.q_proj": (queries, hidden),
        "self_attn.k_proj": (keys, hidden),
        "self_attn.v_proj": (keys, hidden),
        "self_attn.o_proj": (hidden, queries),
        "self_attn.q_norm": (head,),
        "self_attn.k_norm": (head,),
        "mlp.gate_proj": (inner, hidden),
        "mlp.up_proj": (inner, hidden),
        "mlp.down_proj": (hidden, inner),
    }


def _rope(
    raw: Mapping[str, Any], positions: int, arch: Architecture
) -> tuple[dict[str, Any], dict[str, Any]]:
    """``rope_parameters`` in normal form, from newer or older keys; and those that only hybrids have, as given."""
    given = raw.get("rope_parameters")
    if given is None:
        given = raw.get("rope_scaling") or {}
        given = given | {"rope_theta": raw.get("rope_theta")} if isinstance(given, dict) else given
    if not isinstance(given, dict):
        raise ModelFormatError("config.json: the RoPE settings are not an object; get the model again")
    kind = given.get("rope_type", given.get("type", "default"))
    rope: dict[str, Any] = {"rope_type": kind, "rope_theta": positive(given, "rope_theta")}
    if rope["rope_theta"] <= 1:  # YaRN divides by its logarithm, and angles would grow from pair to pair
        raise ModelFormatError(f"rope_theta {rope['rope_theta']} is not above 1; get the model again")
    known = {"rope_type", "type", "rope_theta", *(ROPE_KEYS if arch.hybrid else ())}
    kinds = ("default",) if arch.hybrid else ("default", "linear", "yarn")
    if kind == "default":
        pass
    elif kind in kinds:
        rope["factor"] = positive(given, "factor")
        if rope["factor"] < 1:
            raise ModelFormatError(f"RoPE factor {rope['factor']} is below 1; get the model again")
        known |= {"factor", "original_max_position_embeddings"}
        if kind == "yarn":
            original = given.get("original_max_position_embeddings")
            fallback = {"original_max_position_embeddings": int(positions // rope["factor"])}
            rope |= {key: size(given if original is not None else fallback, key) for key in fallback}
            rope |= {key: positive(given, key) for key in _YARN if given.get(key) is not None}
            known |= set(_YARN)
    else:
        raise UnsupportedModelError(
            f"RoPE of type {short(kind)} is not supported yet for {arch.name}; it must be {' or '.join(kinds)}"
        )
    unknown = {key for key in given if key not in known and given[key] is not None}
    if unknown:
        raise UnsupportedModelError(
            f"RoPE setting {quote(min(unknown))} is not supported yet for type {kind!r}"
        )
    return rope, {key: given[key] for key in ROPE_KEYS if given.get(key) is not None}


def _check_rope_keys(metadata: Mapping[str, Any], arch: Architecture, head_dim: object) -> None:
    """Refuse RoPE settings that are not known and, but for hybrids, rotation of only a part of each head."""
    prefix = f"{arch.name}.rope."
    known = {"freq_base", "dimension_count", "scaling.finetuned", "scaling.attn_factor"}
    known |= {"scaling.type", "scaling.factor", "scaling.original_context_length"}
    known |= {f"scaling.{name}" for name in _YARN.values()}
    known |= {"dimension_sections"} if arch.hybrid else set()
    for key in metadata:
        if key.startswith(prefix) and key.removeprefix(prefix) not in known:
            raise UnsupportedModelError(f"{key:.100} is not supported yet; use a plain {arch.name} model")
    if arch.hybrid:
        return
    if head_dim is not None and metadata.get(f"{prefix}dimension_count", head_dim) != head_dim:
        raise UnsupportedModelError(f"{prefix}dimension_count differs from the head size; not supported yet")
