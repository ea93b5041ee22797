"""Score, margin and *solved* of probes under a torch model.

Answers are encoded and batched once (`bankai.evaluation.batches`) and scored as often as wanted. The head runs only at
answer positions. :func:`score_tensors` is differentiable, so a search can send a gradient back through it.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from bankai.architectures import architecture
from bankai.errors import NotFiniteError
from bankai.evaluation.batches import BATCH_TOKENS, Batch, Prepared, prepare
from bankai.probes.probe import Probe

__all__ = [
    "ProbeScore",
    "answer_hidden",
    "answer_scores",
    "means_by_group",
    "perplexity",
    "position_log_probs",
    "probe_scores",
    "score",
    "score_batch",
    "score_batches",
    "score_probes",
    "score_tensors",
    "token_scores",
]


@dataclass(frozen=True, slots=True)
class ProbeScore:
    """One probe's result, each the best over its accepted answers.

    ``score``: summed log-probability (nats) of answer and stop. ``margin``: smallest lead of the right
    token's logit over the best other one. Raises NotFiniteError for a score that is no number.
    """

    score: float
    margin: float

    def __post_init__(self) -> None:
        if not math.isfinite(self.score):
            raise NotFiniteError

    @property
    def solved(self) -> bool:
        """Greedy decoding emits an accepted answer: margin > 0 and nothing else."""
        return self.margin > 0


def answer_hidden(model: PreTrainedModel, batch: Batch) -> Tensor:
    """Final hidden states (after the last norm) at the answer positions: [positions, hidden]."""
    device, read = model.device, {}
    if batch.sight is not None:
        if architecture(model.config.model_type).recurrent:
            return _hidden_of_sequences(model, batch)
        sight = batch.sight.to(device)
        read = {"attention_mask": sight[None, None], "position_ids": sight.sum(1)[None] - 1}
    hidden = model.model(input_ids=batch.ids.to(device), use_cache=False, **read).last_hidden_state
    return hidden[batch.rows.to(device), batch.columns.to(device)]


def _hidden_of_sequences(model: PreTrainedModel, tree: Batch) -> Tensor:
    """The same of a tree, whose answers are read each as a sequence of its own, so many at a time as batches hold."""
    pieces = [*tree.pieces(tree.answers(), BATCH_TOKENS)]
    hidden = torch.cat([answer_hidden(model, tree.sequences(piece)[0]) for piece in pieces])
    places = torch.cat([torch.isin(tree.owners, piece).nonzero()[:, 0] for piece in pieces])
    return hidden[places.argsort().to(hidden.device)]


def position_log_probs(model: PreTrainedModel, batch: Batch) -> Tensor:
    """Log-probabilities of every token at every position of a batch: float32 [positions, vocabulary]."""
    return model.lm_head(answer_hidden(model, batch)).float().log_softmax(1)


def means_by_group(values: Tensor, groups: Tensor) -> Tensor:
    """Means over the groups that occur, ascending: [..., n] and the group of each, int [n], to [..., groups]."""
    found, index = groups.unique(return_inverse=True)
    index, size = index.to(values.device), len(found)
    sums = values.new_zeros(*values.shape[:-1], size).index_add(-1, index, values)
    return sums / index.bincount(minlength=size)


def token_scores(logits: Tensor, targets: Tensor, at: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Log-probability of the best of some right tokens, and its margin over the best of all others.

    Logits [positions, vocab], targets [positions, alternatives] to two [positions]. Where several tokens follow one
    text, `at` [positions] says which of fewer logits each of them reads.
    """
    logits, targets = logits.float(), targets.to(logits.device)
    at = torch.arange(len(logits), device=logits.device) if at is None else at.to(logits.device)
    right = logits[at[:, None], targets].max(1).values  # with a gradient to one of those that are repeated
    best, token = logits.max(1)
    others = best[at]
    leads = (targets == token[at][:, None]).any(1).nonzero()[:, 0]
    if len(leads):  # where the best of all is right, the next one counts
        rest = logits[at[leads]].scatter(1, targets[leads], -torch.inf)
        others = others.index_put((leads,), rest.amax(1))
    return right - logits.logsumexp(1)[at], right - others


def answer_scores(log_probs: Tensor, margins: Tensor, owners: Tensor, answers: int) -> tuple[Tensor, Tensor]:
    """Per answer: the sum of its tokens' log-probabilities and the smallest of their margins, two [answers].

    Answers without a token here stay at 0 and +inf.
    """
    owners = owners.to(log_probs.device)
    total = log_probs.new_zeros(answers).index_add(0, owners, log_probs)
    least = margins.new_full((answers,), torch.inf).scatter_reduce(0, owners, margins, "amin")
    return total, least


def probe_scores(prepared: Prepared, totals: Tensor, margins: Tensor) -> tuple[Tensor, Tensor]:
    """Best over the alternates: two [answers] to two [probes]."""
    probe_of = prepared.probe_of.to(totals.device)
    worst = totals.new_full((prepared.probes,), -torch.inf)
    best_total = worst.scatter_reduce(0, probe_of, totals, "amax")
    return best_total, worst.scatter_reduce(0, probe_of, margins, "amax")


def score_tensors(model: PreTrainedModel, prepared: Prepared) -> tuple[Tensor, Tensor]:
    """Score and margin of every probe, two float32 [probes], with a gradient unless switched off outside."""
    return score_batches(prepared, [score_batch(model, batch) for batch in prepared.batches])


def score_batch(model: PreTrainedModel, batch: Batch) -> tuple[Tensor, Tensor]:
    """Log-probability and margin of every answer token of a batch, two [positions]."""
    return token_scores(model.lm_head(answer_hidden(model, batch)), batch.targets)


def score_batches(prepared: Prepared, found: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """Score and margin of every probe, two [probes], from what :func:`score_batch` gives of every batch."""
    empty = torch.zeros(0, device=found[0][0].device if found else None)
    log_probs, margins = (torch.cat([empty, *(pair[kind] for pair in found)]) for kind in (0, 1))
    owners = torch.cat([torch.zeros(0, dtype=torch.long), *(batch.owners for batch in prepared.batches)])
    return probe_scores(prepared, *answer_scores(log_probs, margins, owners, len(prepared.probe_of)))


@torch.no_grad()
def score(model: PreTrainedModel, prepared: Prepared) -> list[ProbeScore]:
    """Score prepared probes, in their order."""
    scores, margins = score_tensors(model, prepared)
    return [ProbeScore(*pair) for pair in zip(scores.tolist(), margins.tolist(), strict=True)]


def score_probes(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    probes: Iterable[Probe],
    *,
    batch_tokens: int = BATCH_TOKENS,
) -> list[ProbeScore]:
    """Encode and score probes once, in their order."""
    return score(model, prepare(tokenizer, probes, batch_tokens=batch_tokens))


@torch.no_grad()
def perplexity(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, text: str) -> float:
    """exp of the mean negative log-probability per token after the first, in one window.

    Raises ValueError below two.
    """
    ids = tokenizer(text, return_tensors="pt")["input_ids"].to(model.device)
    if ids.shape[1] < 2:
        raise ValueError("perplexity needs a text of at least two tokens")
    logits = model(input_ids=ids[:, :-1], use_cache=False).logits[0]
    log_probs, _ = token_scores(logits, ids[0, 1:, None])
    return float((-log_probs.mean()).exp())
