"""Llama, and what is built like it: SmolLM2, Mistral's first models, and many others."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from bankai.architectures.base import ATTENTION, FULL_ATTENTION, Architecture, LayerKind, Shapes, Vector
from bankai.architectures.order import Order
from bankai.architectures.settings import Config

if TYPE_CHECKING:
    from torch import nn

__all__ = ["Llama"]

_FACTORS = "model.rotary_emb.factors"


class Llama(Architecture):
    """llama.cpp rotates neighboring rows of a head as a pair, Hugging Face's modules rows half a head apart. So its
    converter (conversion/llama.py, `permute`) moves the rows of queries and keys. Llama 3
    stretches positions by a tensor, which divides every angle by a factor.
    """

    name = model_type = "llama"
    model_class = "LlamaForCausalLM"
    fixed = {"hidden_act": "silu", "attention_bias": False, "mlp_bias": False}
    layers = {
        FULL_ATTENTION: LayerKind(
            "attention",
            ATTENTION,
            {"input_layernorm": "attn_norm.weight", "post_attention_layernorm": "ffn_norm.weight"},
        )
    }
    optional = {_FACTORS: "rope_freqs.weight"}

    def shapes(self, config: Config) -> Shapes:
        return super().shapes(config) | {_FACTORS: (config["head_dim"] // 2,)}

    def raw_from_gguf(self, metadata: Mapping[str, Any]) -> Config:
        """The size of a head may be left out where all heads together are as wide as the model."""
        raw = super().raw_from_gguf(metadata)
        hidden, heads = raw.get("hidden_size"), raw.get("num_attention_heads")
        if "head_dim" not in raw and type(hidden) is int and type(heads) is int and heads > 0:
            raw["head_dim"] = hidden // heads
            self.check_rotation(metadata, raw["head_dim"])
        return raw

    def order(self, path: str, config: Config, group: int) -> Order:
        if path not in ("self_attn.q_proj", "self_attn.k_proj"):
            return Order()
        rows, head = self.shapes(config)[path][0], config["head_dim"]
        within = (
            np.arange(head).reshape(head // 2, 2).T.reshape(-1)
        )  # row h + half * i of a head is at 2 i + h
        return Order((np.arange(0, rows, head)[:, None] + within).reshape(-1))

    def prepare(self, model: "nn.Module", optional: Mapping[str, Vector]) -> None:
        if _FACTORS in optional:
            import torch

            rotary: Any = model.model.rotary_emb
            factors = torch.tensor(optional[_FACTORS], device=rotary.inv_freq.device)
            rotary.inv_freq = rotary.original_inv_freq = rotary.inv_freq / factors
