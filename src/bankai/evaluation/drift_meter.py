"""How far a changed model is from its base on neutral text."""

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import PreTrainedModel

from bankai.evaluation.batches import prepare_encoded
from bankai.evaluation.scoring import answer_hidden, means_by_group, position_log_probs
from bankai.model.divergence import divergence
from bankai.probes.encode import EncodedAnswer

__all__ = ["DriftMeter"]


class DriftMeter:
    """Texts, and what the base computes of them. The base must be on when this is made.

    What is kept is what the head reads, [positions, hidden] of each text: it says as much as the base's distributions,
    as no patch changes the head, and is a hundred times smaller. `lengths` are the positions of each text.
    """

    def __init__(self, model: PreTrainedModel, texts: Sequence[EncodedAnswer]) -> None:
        self._model, self._texts = model, texts
        self._base = self._residuals()
        self.lengths = [len(hidden) for hidden in self._base]

    @torch.no_grad()
    def _residuals(self) -> list[Tensor]:
        found: dict[int, Tensor] = {}
        for batch in prepare_encoded([[text] for text in self._texts]).batches:
            hidden = answer_hidden(self._model, batch)
            for owner in batch.owners.unique().tolist():
                found[owner] = hidden[(batch.owners == owner).to(hidden.device)].clone()
        return [found[index] for index in range(len(self._texts))]

    def drift(self, some: Sequence[int] | None = None) -> Tensor:
        """KL divergence of the base from the model as it is on these texts, or all: nats a token, [texts].

        With a gradient unless switched off outside.
        """
        some = range(len(self._texts)) if some is None else some
        batches = prepare_encoded([[self._texts[index]] for index in some]).batches
        if not batches:
            return torch.zeros(0, device=self._model.device)
        found = []
        for batch in batches:
            owners = batch.owners.unique_consecutive().tolist()
            base = self._distribution(torch.cat([self._base[some[owner]] for owner in owners]))
            found.append(divergence(base, position_log_probs(self._model, batch)))
        owners = torch.cat([batch.owners for batch in batches])
        return means_by_group(torch.cat(found), owners.to(self._model.device))

    @torch.no_grad()
    def _distribution(self, hidden: Tensor) -> Tensor:
        return self._model.lm_head(hidden).float().log_softmax(1)
