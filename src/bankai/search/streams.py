"""The residual stream of the current state at every layer, for batches of tokens.

A flip in layer l changes nothing before l, so whatever measures a candidate starts from here. For each layer two
tensors are kept, the residual after the attention and what the MLP adds; their sum enters the next layer.
"""

from abc import ABC, abstractmethod
from functools import cached_property

import torch
from torch import Tensor

from bankai.architectures.base import Positions
from bankai.evaluation.batches import Batch
from bankai.model.decoder import Decoder

__all__ = ["Residuals", "Sequences", "Stream"]


class Residuals(ABC):
    """What a model computes of a batch, layer by layer, and the positions whose logits are read."""

    positions: Positions

    def __init__(self, decoder: Decoder, batch: Batch) -> None:
        self.decoder, self.batch = decoder, batch
        self.rows, self.columns = (
            batch.rows.to(decoder.device),
            batch.columns.to(decoder.device),
        )  # [positions]
        self.targets = batch.targets.to(decoder.device)

    @property
    def sequences(self) -> int:
        return self.batch.ids.shape[0]

    @property
    def tokens(self) -> int:
        """With padding."""
        return self.batch.tokens

    @cached_property
    def shared(self) -> tuple[Tensor, Tensor]:
        """Positions that read the same logits: one of each kind, int [kinds]; and the kind of each, int [positions]."""
        places = self.rows * self.batch.ids.shape[1] + self.columns
        kinds, at = places.unique(return_inverse=True)
        first = torch.full((len(kinds),), len(at), device=at.device)
        return first.scatter_reduce(0, at, torch.arange(len(at), device=at.device), "amin"), at

    @abstractmethod
    def entering(self, layer: int) -> Tensor:
        """The residual [sequences, length, hidden] that a layer reads; after the last one for `layers`."""

    def read(self, hidden: Tensor) -> Tensor:
        """The positions of interest: [..., sequences, length, hidden] to [..., positions, hidden]."""
        return hidden[..., self.rows, self.columns, :]


class Stream(Residuals):
    """Of one batch, which may be a tree; computed when it is made, and kept."""

    def __init__(self, decoder: Decoder, batch: Batch) -> None:
        super().__init__(decoder, batch)
        self._embedded = decoder.embed(batch.ids.to(decoder.device))
        sight = None if batch.sight is None else batch.sight.to(decoder.device)
        self.positions = decoder.positions(self._embedded, sight)
        self.middle: list[Tensor] = []  # per layer [sequences, length, hidden]: after the attention
        self.added: list[Tensor] = []  # per layer [sequences, length, hidden]: by the MLP
        self.refresh(0)

    def entering(self, layer: int) -> Tensor:
        """See :class:`Residuals`."""
        return self._embedded if layer == 0 else self.middle[layer - 1] + self.added[layer - 1]

    @torch.no_grad()
    def refresh(self, layer: int) -> None:
        """Compute again from a layer on, after bits of it have changed."""
        del self.middle[layer:], self.added[layer:]
        for index in range(layer, self.decoder.layers):
            middle = self.decoder.attend(index, self.entering(index), self.positions)
            self.middle.append(middle)
            self.added.append(self.decoder.transform(index, middle))

    def final(self) -> Tensor:
        """The residual after the last layer at the positions of interest: [positions, hidden]."""
        return self.read(self.entering(self.decoder.layers))


class Sequences(Residuals):
    """Some answers of a stream, each as a sequence of its own, which nothing else depends on."""

    def __init__(self, stream: Stream, answers: Tensor) -> None:
        batch, numbers = stream.batch.sequences(answers)
        super().__init__(stream.decoder, batch)
        self._stream, self._numbers = stream, numbers.to(stream.decoder.device)
        self.positions = stream.decoder.positions(self.entering(0))

    def entering(self, layer: int) -> Tensor:
        """See :class:`Residuals`."""
        return self._stream.entering(layer).flatten(0, 1)[self._numbers]
