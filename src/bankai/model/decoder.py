"""A decoder in the pieces that a search needs: embedding, the two halves of each layer, norm and head.

Run one after the other they compute what the model's own forward does, in the same order. What differs between
architectures and between the layers of a hybrid is in `mixers`. Besides that, the loader and `ragged` this is the only
module that knows how transformers puts a model together.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel

from bankai.model.mixers import ATTENTION, LINEAR_ATTENTION, Change, Changes, Rotary, mixer_of

__all__ = ["ATTENTION", "LINEAR_ATTENTION", "MLP", "Decoder"]

MLP = ("mlp.gate_proj", "mlp.up_proj", "mlp.down_proj")


@dataclass(frozen=True)
class Decoder:
    """Pieces of `model`. Sequences are right-padded: what looks back only needs no mask then."""

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

    def projections(self, layer: int) -> tuple[str, ...]:
        """Paths inside a layer of all its projections: those of its mixer, then those of its MLP."""
        return (*mixer_of(self.model.model.layers[layer]).projections, *MLP)

    def embed(self, ids: Tensor) -> Tensor:
        """[sequences, length] to [sequences, length, hidden]."""
        return self.model.model.embed_tokens(ids)

    def rotary(self, hidden: Tensor) -> Rotary:
        """Cosines and sines of the positions, shared by all sequences."""
        positions = torch.arange(hidden.shape[1], device=hidden.device)[None]
        return self.model.model.rotary_emb(hidden, positions)

    def attend(self, layer: int, hidden: Tensor, rotary: Rotary, changes: Changes | None = None) -> Tensor:
        """The residual after the mixer of a layer: [sequences, length, hidden] to the same.

        `changes` is where the exact changes of flipped rows are noted, where they are known.
        """
        block = self.model.model.layers[layer]
        mixer = mixer_of(block)
        x = block.input_layernorm(hidden)
        return hidden + mixer.mix(getattr(block, mixer.module), x, rotary, changes)

    def normed(self, layer: int, middle: Tensor) -> Tensor:
        """What the MLP of a layer reads: [..., hidden] to the same."""
        return self.model.model.layers[layer].post_attention_layernorm(middle)

    def transform(self, layer: int, middle: Tensor, changes: Changes | None = None) -> Tensor:
        """What the MLP of a layer adds to the residual: [..., hidden] to the same, position by position."""
        mlp, x = self.model.model.layers[layer].mlp, self.normed(layer, middle)
        gate, up = mlp.gate_proj(x), mlp.up_proj(x)
        inner = mlp.act_fn(gate) * up
        if changes is not None:
            changes["mlp.gate_proj"] = Change(inner, -(gate * up).detach())  # silu(-g) = silu(g) - g
        return mlp.down_proj(inner)

    def logits(self, hidden: Tensor) -> Tensor:
        """Norm and head: [..., hidden] to [..., vocabulary]."""
        return self.model.lm_head(self.model.model.norm(hidden))
