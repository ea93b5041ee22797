"""A decoder in the pieces that a search needs: embedding, the two halves of each layer, norm and head.

Run one after the other they compute what the model's own forward does, in the same order. How a layer is computed is
its architecture's to say.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel

from bankai.architectures import Architecture, architecture
from bankai.architectures.base import Changes, Positions
from bankai.model.matrices import WeightMatrix
from bankai.tensor_names import layer_tensor

__all__ = ["Decoder"]


@dataclass(frozen=True)
class Decoder:
    """Pieces of `model`. Sequences are right-padded: what looks back only needs no mask then."""

    model: PreTrainedModel

    @property
    def architecture(self) -> Architecture:
        return architecture(self.model.config.model_type)

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
        return layer_tensor(layer, projection)

    def projections(self, layer: int) -> tuple[str, ...]:
        """Paths inside a layer of all its projections: those of its mixer, then those of its MLP."""
        return tuple(self.architecture.kind_of(self.model.model.layers[layer]).matrices)

    def matrix(self, tensor: str) -> WeightMatrix:
        """The weight matrix of that canonical name."""
        return self.model.get_submodule(tensor).matrix

    def embed(self, ids: Tensor) -> Tensor:
        """[sequences, length] to [sequences, length, hidden]."""
        return self.model.model.embed_tokens(ids)

    def positions(self, hidden: Tensor, sight: Tensor | None = None) -> Positions:
        """Those of the tokens of sequences, or of a tree in which each sees those of `sight`, bool [length, length]."""
        if sight is None:
            places = torch.arange(hidden.shape[1], device=hidden.device)[None]
            return Positions(self.model.model.rotary_emb(hidden, places))
        return Positions(self.model.model.rotary_emb(hidden, sight.sum(1)[None] - 1), sight[None, None])

    def attend(
        self, layer: int, hidden: Tensor, positions: Positions, changes: Changes | None = None
    ) -> Tensor:
        """The residual after the mixer of a layer: [sequences, length, hidden] to the same.

        `changes` is where the exact changes of flipped rows are noted, where they are known.
        """
        return self.architecture.mix(self.model.model.layers[layer], hidden, positions, changes)

    def normed(self, layer: int, middle: Tensor) -> Tensor:
        """What the MLP of a layer reads: [..., hidden] to the same."""
        return self.architecture.normed(self.model.model.layers[layer], middle)

    def transform(self, layer: int, middle: Tensor, changes: Changes | None = None) -> Tensor:
        """What the MLP of a layer adds to the residual: [..., hidden] to the same, position by position."""
        return self.architecture.transform(self.model.model.layers[layer], middle, changes)

    def logits(self, hidden: Tensor) -> Tensor:
        """Norm and head: [..., hidden] to [..., vocabulary]."""
        return self.model.lm_head(self.model.model.norm(hidden))
