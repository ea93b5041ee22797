"""The settings of a model, in one normal form of Hugging Face keys, and their GGUF counterparts.

GGUF metadata and a ``config.json`` of one model give the same dictionary, whether that has newer (``rope_parameters``)
or older (``rope_theta``, ``rope_scaling``) keys. Numbers are checked; settings of attention and RoPE that are not known
are refused, since they would change the result.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from reprlib import repr as short
from typing import Any

from bankai.architectures.fields import positive, size, token_id, truth, widen
from bankai.errors import ModelFormatError, UnsupportedModelError
from bankai.io import quote

__all__ = [
    "Config",
    "RopeRules",
    "check_fixed",
    "check_layer_types",
    "check_rope_keys",
    "rope_from_gguf",
    "rope_from_hf",
    "settings_from_gguf",
    "settings_from_hf",
    "settings_to_gguf",
]

Config = dict[str, Any]
"""A configuration in normal form."""

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


@dataclass(frozen=True, slots=True)
class RopeRules:
    """What an architecture knows of rotary positions.

    ``types``     in Hugging Face's words
    ``settings``  Hugging Face keys beyond those that all architectures know
    ``keys``      GGUF keys behind ``<architecture>.rope.``, likewise
    """

    types: tuple[str, ...] = ("default", "linear", "yarn")
    settings: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()


def settings_from_gguf(metadata: Mapping[str, Any], arch: str) -> Config:
    """Sizes, epsilon and special tokens of GGUF metadata, not checked yet. Raises UnsupportedModelError."""
    raw: Config = {
        key: metadata[f"{arch}.{name}"] for key, name in _SIZES.items() if f"{arch}.{name}" in metadata
    }
    raw["rms_norm_eps"] = widen(metadata.get(f"{arch}.{_EPSILON}"))
    value_length = metadata.get(f"{arch}.attention.value_length", raw.get("head_dim"))
    if value_length != raw.get("head_dim", value_length):
        raise UnsupportedModelError(
            f"attention keys of {raw.get('head_dim')} and values of {value_length} differ; use a plain {arch} model"
        )
    return raw | {key: metadata[name] for key, name in _SPECIAL.items() if name in metadata}


def settings_from_hf(raw: Mapping[str, Any]) -> Config:
    """Sizes, epsilon and special tokens in normal form. Raises ModelFormatError."""
    heads = size(raw, "num_attention_heads")
    fallbacks = {"num_key_value_heads": heads, "head_dim": size(raw, "hidden_size") // heads}
    config: Config = {key: size({**fallbacks, **raw}, key) for key in ("vocab_size", *_SIZES)}
    if heads % config["num_key_value_heads"]:
        raise ModelFormatError(
            f"{heads} heads do not divide into {config['num_key_value_heads']} key-value heads; get the model again"
        )
    if config["head_dim"] % 2:
        raise ModelFormatError(
            f"head_dim {config['head_dim']} is odd, but RoPE rotates pairs; get the model again"
        )
    config["rms_norm_eps"] = positive(raw, "rms_norm_eps")
    config["tie_word_embeddings"] = truth(raw, "tie_word_embeddings")
    given = (key for key in _SPECIAL if raw.get(key) is not None)
    return config | {key: token_id(raw[key], key, config["vocab_size"]) for key in given}


def settings_to_gguf(config: Config, arch: str) -> dict[str, Any]:
    """GGUF metadata of a configuration in normal form."""
    rope = config["rope_parameters"]
    metadata: dict[str, Any] = {
        "general.architecture": arch,
        "general.type": "model",
        "general.file_type": 40,  # mostly Q1_0; readers go by the tensors
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
    return metadata


def check_fixed(raw: Mapping[str, Any], fixed: Mapping[str, Any]) -> None:
    """Refuse other values of settings of which one value is supported. Raises UnsupportedModelError."""
    for key, value in fixed.items():
        if raw.get(key, value) != value:
            raise UnsupportedModelError(f"{key} = {short(raw[key])} is not supported yet; only {value!r} is")


def check_layer_types(raw: Mapping[str, Any], known: Sequence[str]) -> None:
    """Refuse kinds of layers that the architecture does not have. Raises UnsupportedModelError."""
    kinds = raw.get("layer_types") or []
    if not isinstance(kinds, list) or any(kind not in list(known) for kind in kinds):
        raise UnsupportedModelError(
            f"layer_types {short(kinds)} are not supported yet; only {' and '.join(known)}"
        )


def rope_from_gguf(metadata: Mapping[str, Any], arch: str) -> dict[str, Any]:
    """``rope_parameters`` of GGUF metadata, not checked yet. Raises UnsupportedModelError."""
    rope: dict[str, Any] = {"rope_theta": widen(metadata.get(f"{arch}.rope.freq_base", 10000.0))}
    scaling = f"{arch}.rope.scaling."
    kind = metadata.get(f"{scaling}type", "none")
    if kind in ("none", "default"):
        return rope | {"rope_type": "default"}
    if metadata.get(f"{scaling}attn_factor", 1.0) != 1.0:
        raise UnsupportedModelError(
            "rope.scaling.attn_factor other than 1 is not supported; use the original file"
        )
    return rope | {
        "rope_type": kind,
        "factor": widen(metadata.get(f"{scaling}factor")),
        "original_max_position_embeddings": metadata.get(f"{scaling}original_context_length"),
        **{key: widen(metadata[scaling + name]) for key, name in _YARN.items() if scaling + name in metadata},
    }


def rope_from_hf(raw: Mapping[str, Any], positions: int, arch: str, rules: RopeRules) -> dict[str, Any]:
    """``rope_parameters`` in normal form, from newer or older keys; the architecture's own settings as they are given.

    Raises UnsupportedModelError and ModelFormatError.
    """
    given = _given_rope(raw)
    kind = given.get("rope_type", given.get("type", "default"))
    rope: dict[str, Any] = {"rope_type": kind, "rope_theta": positive(given, "rope_theta")}
    if rope["rope_theta"] <= 1:  # YaRN divides by its logarithm, and angles would grow from pair to pair
        raise ModelFormatError(f"rope_theta {rope['rope_theta']} is not above 1; get the model again")
    if kind not in list(rules.types):
        raise UnsupportedModelError(
            f"RoPE of type {short(kind)} is not supported yet for {arch}; it must be {' or '.join(rules.types)}"
        )
    known = {"rope_type", "type", "rope_theta", *rules.settings}
    if kind != "default":
        rope["factor"] = positive(given, "factor")
        if rope["factor"] < 1:
            raise ModelFormatError(f"RoPE factor {rope['factor']} is below 1; get the model again")
        known |= {"factor", "original_max_position_embeddings"}
    if kind == "yarn":
        rope |= _yarn(given, positions, rope["factor"])
        known |= set(_YARN)
    unknown = {key for key in given if key not in known and given[key] is not None}
    if unknown:
        raise UnsupportedModelError(
            f"RoPE setting {quote(min(unknown))} is not supported yet for type {kind!r}"
        )
    return rope | {key: given[key] for key in rules.settings if given.get(key) is not None}


def _given_rope(raw: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of RoPE under the newer key, or else under the older ones. Raises ModelFormatError."""
    given = raw.get("rope_parameters")
    if given is None:
        given = raw.get("rope_scaling") or {}
        given = given | {"rope_theta": raw.get("rope_theta")} if isinstance(given, dict) else given
    if not isinstance(given, dict):
        raise ModelFormatError("config.json: the RoPE settings are not an object; get the model again")
    return given


def _yarn(given: Mapping[str, Any], positions: int, factor: float) -> dict[str, Any]:
    """The settings that YaRN alone has. Raises ModelFormatError."""
    original = given.get("original_max_position_embeddings")
    fallback = {"original_max_position_embeddings": int(positions // factor)}
    found: dict[str, Any] = {key: size(given if original is not None else fallback, key) for key in fallback}
    return found | {key: positive(given, key) for key in _YARN if given.get(key) is not None}


def check_rope_keys(metadata: Mapping[str, Any], arch: str, rules: RopeRules) -> None:
    """Refuse GGUF keys of RoPE that are not known. Raises UnsupportedModelError."""
    prefix = f"{arch}.rope."
    known = {"freq_base", "dimension_count", "scaling.finetuned", "scaling.attn_factor", *rules.keys}
    known |= {"scaling.type", "scaling.factor", "scaling.original_context_length"}
    known |= {f"scaling.{name}" for name in _YARN.values()}
    for key in metadata:
        if key.startswith(prefix) and key.removeprefix(prefix) not in known:
            raise UnsupportedModelError(f"{key:.100} is not supported yet; use a plain {arch} model")
