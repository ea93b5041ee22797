"""The residual stream of the current state at every layer, for batches of sequences.

A flip in layer l changes nothing before l, so whatever measures a candidate starts from here. For each layer two
tensors are kept, the residual after the attention and what the MLP adds; their sum enters the next layer.
"""

import torch
from torch import Tensor

from bankai.evaluation.scoring import Batch
from bankai.model.decoder import Decoder

__all__ = ["Stream"]


class Stream:
    """One batch: token ids [sequences, length] and the positions whose logits are read; computed when it is made."""

    def __init__(self, decoder: Decoder, batch: Batch) -> None:
        device = decoder.device
        self.batch = batch
        self.rows, self.columns = batch.rows.to(device), batch.columns.to(device)  # [positions]
        self.targets = batch.targets.to(device)
        self.decoder = decoder
        self._embedded = decoder.embed(batch.ids.to(device))
        self.rotary = decoder.rotary(self._embedded)
        self.middle: list[Tensor] = []  # per layer [sequences, length, hidden]: after the attention
        self.added: list[Tensor] = []  # per layer [sequences, length, hidden]: by the MLP
        self.refresh(0)

    @property
    def sequences(self) -> int:
        return self.batch.ids.shape[0]

    @property
    def tokens(self) -> int:
        """With padding."""
        return self.batch.ids.numel()

    def entering(self, layer: int) -> Tensor:
        """The residual [sequences, length, hidden] that a layer reads; after the last one for `layers`."""
        return self._embedded if layer == 0 else self.middle[layer - 1] + self.added[layer - 1]

    @torch.no_grad()
    def refresh(self, layer: int) -> None:
        """Compute again from a layer on, after bits of it have changed."""
        del self.middle[layer:], self.added[layer:]
        for index in range(layer, self.decoder.layers):
            middle = self.decoder.attend(index, self.entering(index), self.rotary)
            self.middle.append(middle)
            self.added.append(self.decoder.transform(index, middle))

    def read(self, hidden: Tensor) -> Tensor:
        """The positions of interest: [..., sequences, length, hidden] to [..., positions, hidden]."""
        return hidden[..., self.rows, self.columns, :]

    def final(self) -> Tensor:
        """The residual after the last layer at the positions of interest: [positions, hidden]."""
        return self.read(self.entering(self.decoder.layers))
