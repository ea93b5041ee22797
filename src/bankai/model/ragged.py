"""One forward over the tokens of many texts laid end to end: nothing is padded, whatever their lengths.

The caller says what a linear layer gives and how a token attends: which text a token belongs to, and what lies in the
past, is known there. Besides the loader and `decoder` this is the only module that knows how transformers puts the
architecture together.
"""

from typing import Protocol

from torch import Tensor
from transformers import PreTrainedModel
from transformers.models.qwen3.modeling_qwen3 import apply_rotary_pos_emb

from bankai.errors import UnsupportedModelError
from bankai.model.binary_linear import BinaryLinear

__all__ = ["Work", "check_model", "final_hidden"]

_KNOWN = "qwen3"  # transformers' model type


class Work(Protocol):
    """What differs between the texts."""

    def linear(self, layer: BinaryLinear, x: Tensor) -> Tensor:
        """[tokens, in] to [tokens, out]."""
        ...

    def attend(self, index: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """What every token reads in a layer: query [tokens, heads, width], key and value [tokens, key heads, width],
        both rotated already, to [tokens, heads, width].
        """
        ...


def check_model(model: PreTrainedModel) -> None:
    """Raises UnsupportedModelError for an architecture that is put together otherwise."""
    if model.config.model_type != _KNOWN:
        raise UnsupportedModelError(
            f"texts with a patch each are not computed yet for models of type {model.config.model_type}; use "
            f"--engine llama, serve a {_KNOWN} model, or put one patch on this one (`bankai swap`)"
        )


def final_hidden(model: PreTrainedModel, hidden: Tensor, positions: Tensor, work: Work) -> Tensor:
    """The residual after the last layer, normed: embedded tokens [tokens, hidden] to the same."""
    decoder, width = model.model, model.config.head_dim
    cos, sin = (rotary[0] for rotary in decoder.rotary_emb(hidden, positions[None]))  # [tokens, width]
    for index, block in enumerate(decoder.layers):
        attention, mlp = block.self_attn, block.mlp
        x = block.input_layernorm(hidden)
        query = attention.q_norm(work.linear(attention.q_proj, x).view(len(x), -1, width))
        key = attention.k_norm(work.linear(attention.k_proj, x).view(len(x), -1, width))
        value = work.linear(attention.v_proj, x).view(len(x), -1, width)
        query, key = apply_rotary_pos_emb(query, key, cos, sin)
        read = work.attend(index, query, key, value).flatten(-2)
        hidden = hidden + work.linear(attention.o_proj, read)
        x = block.post_attention_layernorm(hidden)
        inner = mlp.act_fn(work.linear(mlp.gate_proj, x)) * work.linear(mlp.up_proj, x)
        hidden = hidden + work.linear(mlp.down_proj, inner)
    final: Tensor = decoder.norm(hidden)
    return final
