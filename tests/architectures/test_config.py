"""Configuration: one normal form from GGUF metadata and from old and new config.json, and back."""

import time
from typing import Any

import numpy as np
import pytest
from builders import tiny_config
from hybrid import HYBRID
from transformers import Qwen3_5TextConfig, Qwen3Config

from bankai.architectures import architecture, config_from_gguf, config_from_hf
from bankai.errors import BankaiError, ModelFormatError, UnsupportedModelError

YARN = {
    "rope_type": "yarn",
    "rope_theta": 1e6,
    "factor": 4.0,
    "original_max_position_embeddings": 64,
    "beta_fast": 32.0,
}
SPECIAL = {"eos_token_id": 299, "pad_token_id": 297}


def to_gguf(config: dict[str, Any]) -> dict[str, Any]:
    return architecture(config["model_type"]).config_to_gguf(config)


def layer_kinds(config: dict[str, Any]) -> tuple[str, ...]:
    return architecture(config["model_type"]).layer_kinds(config)


def shapes(config: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Of the matrices, and of all other tensors."""
    arch = architecture(config["model_type"])
    return arch.matrix_shapes(config), arch.vector_shapes(config)


def through_gguf(config: dict[str, Any]) -> dict[str, Any]:
    """To GGUF metadata and back, each float rounded to 32 bits as the file does."""
    metadata = {
        key: float(np.float32(value)) if isinstance(value, float) else value
        for key, value in to_gguf(config).items()
    }
    metadata |= {"tokenizer.ggml.eos_token_id": 299, "tokenizer.ggml.padding_token_id": 297}
    return config_from_gguf(metadata, config["vocab_size"], config["tie_word_embeddings"])


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"tie_word_embeddings": True},
        {"rms_norm_eps": 1e-5, "rope_parameters": {"rope_type": "default", "rope_theta": 5e6}},
        {"rope_parameters": YARN},
        {"rope_parameters": {"rope_type": "linear", "rope_theta": 1e4, "factor": 2.0}},
        HYBRID,
        HYBRID | {"full_attention_interval": 4, "tie_word_embeddings": True},
        HYBRID | {"full_attention_interval": 1},
    ],
)
def test_gguf_round_trip(changes: dict[str, Any]) -> None:
    config = tiny_config(**changes)
    assert through_gguf(config) == config
    assert config_from_hf(config) == config


def test_old_and_new_rope_keys_agree() -> None:
    new = tiny_config(rope_parameters=YARN)
    old = {key: value for key, value in new.items() if key != "rope_parameters"}
    scaling = {key: value for key, value in YARN.items() if key not in ("rope_theta", "rope_type")}
    assert config_from_hf(old | {"rope_theta": 1e6, "rope_scaling": scaling | {"type": "yarn"}}) == new
    assert config_from_hf(old | {"rope_theta": 1e6, "rope_scaling": scaling | {"rope_type": "yarn"}}) == new
    plain = config_from_hf(old | {"rope_theta": 1000000, "rope_scaling": None})
    assert plain["rope_parameters"] == {"rope_type": "default", "rope_theta": 1e6}


def test_yarn_without_an_original_length_divides_the_context() -> None:
    rope = {key: value for key, value in YARN.items() if key != "original_max_position_embeddings"}
    assert (
        tiny_config(rope_parameters=rope)["rope_parameters"]["original_max_position_embeddings"] == 256 // 4
    )


def test_transformers_understands_it() -> None:
    """Every key of the normal form arrives unchanged in transformers' own configuration."""
    config = tiny_config(rope_parameters=YARN)
    theirs = Qwen3Config(**config)
    for key, value in config.items():
        assert getattr(theirs, key) == value, key
    assert config_from_hf(theirs.to_dict()) == config


def test_gguf_defaults() -> None:
    """head_dim, key-value heads and the RoPE base have the defaults of llama.cpp."""
    metadata = to_gguf(tiny_config())
    for key in (
        "attention.key_length",
        "attention.value_length",
        "attention.head_count_kv",
        "rope.freq_base",
    ):
        del metadata[f"qwen3.{key}"]
    config = config_from_gguf(metadata, 300, tied=False)
    assert (config["head_dim"], config["num_key_value_heads"]) == (64, 2)
    assert config["rope_parameters"]["rope_theta"] == 10000.0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden_size": 0}, "hidden_size is 0"),
        ({"hidden_size": None}, "hidden_size is None"),
        ({"hidden_size": 128.0}, "hidden_size is 128.0"),
        ({"num_hidden_layers": True}, "num_hidden_layers is True"),
        ({"num_hidden_layers": 1 << 40}, "num_hidden_layers is"),
        ({"num_attention_heads": [2, 2]}, "num_attention_heads is"),
        ({"num_key_value_heads": 3}, "do not divide"),
        ({"rms_norm_eps": 0}, "rms_norm_eps is 0"),
        ({"rms_norm_eps": float("nan")}, "rms_norm_eps is nan"),
        ({"rms_norm_eps": 10**400}, "rms_norm_eps is 1000"),
        ({"rms_norm_eps": "1e-6"}, "rms_norm_eps is '1e-6'"),
        ({"tie_word_embeddings": 1}, "tie_word_embeddings is 1"),
        ({"eos_token_id": 300}, "eos_token_id is 300"),
        ({"eos_token_id": "x"}, "eos_token_id is 'x'"),
        ({"head_dim": 63}, "head_dim 63 is odd"),
        ({"rope_parameters": YARN | {"rope_theta": 1.0}}, "not above 1"),
        ({"rope_parameters": {"rope_type": "default", "rope_theta": 0.5}}, "not above 1"),
        ({"rope_parameters": [1]}, "not an object"),
        ({"rope_parameters": {"rope_type": "default"}}, "rope_theta is None"),
        ({"rope_parameters": YARN | {"factor": -1.0}}, "factor is -1.0"),
        ({"rope_parameters": YARN | {"factor": 5e-324, "original_max_position_embeddings": None}}, "below 1"),
        (
            {"rope_parameters": YARN | {"original_max_position_embeddings": -1}},
            "original_max_position_embeddings",
        ),
        ({"rope_parameters": YARN | {"factor": 1e299, "original_max_position_embeddings": None}}, "is 0"),
        ({"rope_parameters": None, "rope_scaling": "yarn"}, "not an object"),
    ],
)
def test_damaged(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelFormatError, match=message):
        config_from_hf(tiny_config() | changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "gemma3_text"}, "gemma3_text"),
        ({"hidden_act": "gelu"}, "hidden_act"),
        ({"attention_bias": True}, "attention_bias"),
        ({"use_sliding_window": True}, "use_sliding_window"),
        ({"layer_types": ["full_attention", "linear_attention"]}, "layer_types"),
        ({"rope_parameters": {"rope_type": "longrope", "rope_theta": 1e4}}, "longrope"),
        ({"rope_parameters": {"rope_type": ["yarn"], "rope_theta": 1e4}}, "yarn"),
        ({"rope_parameters": YARN | {"attention_factor": 1.2}}, "attention_factor"),
    ],
)
def test_unsupported(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UnsupportedModelError, match=message):
        config_from_hf(tiny_config() | changes)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("general.architecture", "mamba", "mamba"),
        ("qwen3.attention.value_length", 32, "differ"),
        ("qwen3.rope.scaling.type", "longrope", "longrope"),
        ("qwen3.rope.scaling.attn_factor", 2.0, "attn_factor"),
        ("qwen3.rope.scaling.yarn_log_multiplier", 0.1, "yarn_log_multiplier"),
        ("qwen3.rope.dimension_count", 32, "dimension_count"),
        ("qwen3.block_count", "two", "num_hidden_layers is 'two'"),
        ("qwen3.rope.freq_base", [1.0], "rope_theta"),
        ("qwen3.attention.layer_norm_rms_epsilon", 1e39, "rms_norm_eps"),
    ],
)
def test_gguf_metadata_refused(key: str, value: object, message: str) -> None:
    metadata = to_gguf(tiny_config(rope_parameters=YARN))
    config_from_gguf(metadata, 300, tied=False)
    with pytest.raises(BankaiError, match=message):
        config_from_gguf(metadata | {key: value}, 300, tied=False)


def test_shapes_are_those_of_transformers() -> None:
    """The module that transformers builds from the configuration has these weights and no other."""
    import torch
    from transformers import Qwen3ForCausalLM

    config = tiny_config(num_key_value_heads=1, head_dim=128)
    with torch.device("meta"):
        model = Qwen3ForCausalLM(Qwen3Config(**config))
    binary, dense = shapes(config)
    theirs = {name.removesuffix(".weight"): tuple(p.shape) for name, p in model.named_parameters()}
    assert theirs == binary | dense


def test_a_tied_head_has_no_tensor() -> None:
    assert "lm_head" in shapes(tiny_config())[0]
    assert "lm_head" not in shapes(tiny_config(tie_word_embeddings=True))[0]


def linear(kinds: str) -> list[str]:
    return [{"l": "linear_attention", "f": "full_attention"}[kind] for kind in kinds]


def test_layers_of_a_hybrid() -> None:
    """By an interval or one by one, four without either; GGUF has an interval or says which are recurrent."""
    config = tiny_config(**HYBRID)
    assert layer_kinds(config) == tuple(linear("lflf"))
    assert (
        config_from_hf({**config, "layer_types": linear("lflf"), "full_attention_interval": None}) == config
    )
    assert layer_kinds(tiny_config(**HYBRID | {"layer_types": linear("llll")})) == tuple(linear("llll"))
    plain = {key: value for key, value in HYBRID.items() if key != "full_attention_interval"}
    assert layer_kinds(tiny_config(**plain)) == tuple(linear("lllf"))
    metadata = to_gguf(config)
    del metadata["qwen35.full_attention_interval"]
    assert layer_kinds(config_from_gguf(metadata, 300, tied=False)) == tuple(linear("lllf"))
    metadata["qwen35.attention.recurrent_layers"] = [True, False, True, False]
    assert config_from_gguf(metadata, 300, tied=False) == {
        key: value for key, value in config.items() if not key.endswith("_token_id")
    }
    assert layer_kinds(tiny_config()) == ("full_attention", "full_attention")


def test_transformers_understands_a_hybrid() -> None:
    config = tiny_config(**HYBRID)
    theirs = Qwen3_5TextConfig(**config, layer_types=list(layer_kinds(config)))
    for key, value in config.items():
        assert getattr(theirs, key) == value, key
    assert config_from_hf(theirs.to_dict()) == config


def test_shapes_of_a_hybrid_are_those_of_transformers() -> None:
    from bankai.model.loader import empty_model

    config = tiny_config(**HYBRID)
    binary, dense = shapes(config)
    theirs = {
        name.removesuffix(".weight"): tuple(p.shape) for name, p in empty_model(config).named_parameters()
    }
    assert theirs == binary | dense


def rope(**changes: Any) -> dict[str, Any]:
    return {"rope_parameters": HYBRID["rope_parameters"] | changes}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"layer_types": linear("lffl")}, "only full_attention in every n-th layer"),
        ({"layer_types": ["sliding_attention"] * 4}, "only full_attention and linear_attention"),
        ({"linear_value_head_dim": 256}, "value heads of 256 and key heads of 128"),
        ({"attn_output_gate": False}, "output gate"),
        (rope(mrope_interleaved=False), "mrope_interleaved"),
        (rope(mrope_section=[8, 8, 8]), "mrope_section"),
        (rope(mrope_section=[16, 0, 0]), "mrope_section"),
        (rope(rope_type="yarn", factor=4.0), "'yarn' is not supported yet for qwen35"),
        (rope(attention_factor=2.0), "attention_factor"),
    ],
)
def test_hybrids_that_are_not_supported(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UnsupportedModelError, match=message):
        config_from_hf(tiny_config(**HYBRID) | changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"layer_types": linear("lfl")}, "not those of 4 layers"),
        ({"layer_types": [["f"]] * 4}, "layer_types"),
        ({"full_attention_interval": 0}, "full_attention_interval is 0"),
        ({"linear_num_key_heads": 4}, "6 value heads do not divide into 4 key heads"),
        ({"linear_conv_kernel_dim": None}, "linear_conv_kernel_dim is None"),
        (rope(partial_rotary_factor=0.3), "cannot rotate 0.3"),
        (rope(partial_rotary_factor=2.0), "cannot rotate 2.0"),
        (rope(partial_rotary_factor="half"), "partial_rotary_factor is 'half'"),
        (rope(mrope_section=[6, 5]), "not three counts"),
        (rope(mrope_section=[1 << 40, 5, 5]), "not three counts"),
        (rope(mrope_section="6,5,5"), "not three counts"),
    ],
)
def test_damaged_hybrids(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(BankaiError, match=message):
        config_from_hf(tiny_config(**HYBRID) | changes)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("nextn_predict_layers", 1, "draft layers"),
        ("ssm.inner_size", 700, "value heads of 700"),
        ("ssm.inner_size", 384, "value heads of 384"),
        ("ssm.inner_size", "x", "linear_value_head_dim is 'x'"),
        ("ssm.time_step_rank", 0, "linear_num_value_heads is 0"),
        ("ssm.state_size", 64, "value heads of"),
        ("full_attention_interval", "4", "full_attention_interval is '4'"),
        ("attention.recurrent_layers", True, "not those of 4 layers"),
        ("attention.recurrent_layers", ["a", "", "b", ""], "layer_types"),
        ("attention.recurrent_layers", [2, 0, 5, 0], "layer_types"),
        ("rope.dimension_count", 0, "partial_rotary_factor is 0"),
        ("rope.dimension_count", "32", "partial_rotary_factor is '32'"),
        ("rope.dimension_sections", [6, 5, 5, 1], "not three counts"),
        ("rope.dimension_sections", 16, "not three counts"),
        ("rope.scaling.type", "yarn", "yarn"),
        ("rope.scale", 2.0, "rope.scale"),
    ],
)
def test_gguf_metadata_of_a_hybrid_refused(key: str, value: object, message: str) -> None:
    metadata = to_gguf(tiny_config(**HYBRID))
    config_from_gguf(metadata, 300, tied=False)
    with pytest.raises(BankaiError, match=message):
        config_from_gguf(metadata | {f"qwen35.{key}": value}, 300, tied=False)


def test_of_heads_without_a_dimension_count_all_is_rotated() -> None:
    """As in llama.cpp, whether a file says how wide they are or not."""
    metadata = to_gguf(tiny_config(**HYBRID))
    del metadata["qwen35.rope.dimension_count"]
    metadata["qwen35.rope.dimension_sections"] = [11, 11, 10, 0]
    assert config_from_gguf(metadata, 300, tied=False)["rope_parameters"]["partial_rotary_factor"] == 1
    del metadata["qwen35.attention.key_length"], metadata["qwen35.attention.value_length"]
    assert config_from_gguf(metadata, 300, tied=False)["rope_parameters"]["partial_rotary_factor"] == 1


def test_heads_as_wide_as_can_be_are_checked_at_once() -> None:
    """Pair by pair it took 98 seconds."""
    third = 357_913_941
    sizes = {"attention.key_length": 6 * third, "attention.value_length": 6 * third}
    sections = {
        "rope.dimension_count": 6 * third,
        "rope.dimension_sections": [third + 1, third, third - 1, 0],
    }
    metadata = to_gguf(tiny_config(**HYBRID))
    metadata |= {f"qwen35.{key}": value for key, value in (sizes | sections).items()}
    began = time.process_time()
    with pytest.raises(UnsupportedModelError, match="does not spread"):
        config_from_gguf(metadata, 300, tied=False)
    metadata["qwen35.rope.dimension_sections"] = [third, third, third, 0]
    assert config_from_gguf(metadata, 300, tied=False)["head_dim"] == 6 * third
    assert time.process_time() - began < 1
