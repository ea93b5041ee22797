"""A decoder in the pieces that a search needs: embedding, the two halves of each layer, norm and head.

Run one after the other they compute what the model's own forward does, in the same order. Besides the loader and
`ragged` this is the only module that knows how transformers puts the architecture together. Does not know: flips,
probes.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel

__all__ = ["ATTENTION", "MLP", "Decoder", "Rotary"]

ATTENTION = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj")
MLP = ("mlp.gate_proj", "mlp.up_proj", "mlp.down_proj")
Rotary = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Decoder:
    """Pieces of `model`. Sequences are right-padded: causal attention needs no mask then."""

    model: PreTrainedModel

    @property
    def layers(self) -> int:
        return len(self.model.model.layers)

    @property
    def vocabulary(self) -> int:
        return self.model.config.vocab_size

    @property
    def device(self) -> torch.device:
        return self.model.device

    def name(self, layer: int, projection: str) -> str:
        """Canonical name of a projection such as "mlp.up_proj"."""
        return f"model.layers.{layer}.{projection}"

    def embed(self, ids: Tensor) -> Tensor:
        """[sequences, length] to [sequences, length, hidden]."""
        return self.model.model.embed_tokens(ids)

    def rotary(self, hidden: Tensor) -> Rotary:
        """Cosines and sines of the positions, shared by all sequences."""
        positions = torch.arange(hidden.shape[1], device=hidden.device)[None]
        return self.model.model.rotary_emb(hidden, positions)

    def attend(self, layer: int, hidden: Tensor, rotary: Rotary) -> Tensor:
        """The residual after the attention of a layer: [sequences, length, hidden] to the same."""
        block = self.model.model.layers[layer]
        normed = block.input_layernorm(hidden)
        output, _ = block.self_attn(hidden_states=normed, position_embeddings=rotary, attention_mask=None)
        return hidden + output

    def normed(self, layer: int, middle: Tensor) -> Tensor:
        """What the MLP of a layer reads: [..., hidden] to the same."""
        return self.model.model.layers[layer].post_attention_layernorm(middle)

    def transform(self, layer: int, middle: Tensor) -> Tensor:
        """What the MLP of a layer adds to the residual: [..., hidden] to the same, position by position."""
        return self.model.model.layers[layer].mlp(self.normed(layer, middle))

    def logits(self, hidden: Tensor) -> Tensor:
        """Norm and head: [..., hidden] to [..., vocabulary]."""
        return self.model.lm_head(self.model.model.norm(hidden))
