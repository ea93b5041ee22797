"""Qwen3, and with it true 1-bit Bonsai of 1.7B, 4B and 8B: queries and keys are normed head by head."""

from bankai.architectures.base import ATTENTION, FULL_ATTENTION, Architecture, LayerKind, Shapes
from bankai.architectures.settings import Config

__all__ = ["Qwen3"]


class Qwen3(Architecture):
    name = model_type = "qwen3"
    model_class = "Qwen3ForCausalLM"
    fixed = {"hidden_act": "silu", "attention_bias": False, "use_sliding_window": False}
    layers = {
        FULL_ATTENTION: LayerKind(
            "attention",
            ATTENTION,
            {
                "input_layernorm": "attn_norm.weight",
                "self_attn.q_norm": "attn_q_norm.weight",
                "self_attn.k_norm": "attn_k_norm.weight",
                "post_attention_layernorm": "ffn_norm.weight",
            },
        )
    }
    mlx = True

    def shapes(self, config: Config) -> Shapes:
        norm = (config["head_dim"],)
        return super().shapes(config) | {"self_attn.q_norm": norm, "self_attn.k_norm": norm}
