"""The probes and texts that a search reads, cut into parts, and what candidates do to them.

Weak candidates leave after the first parts (successive halving), so the parts follow a fixed order that goes round the
categories: whatever has been read so far is a fair sample of everything. Does not know: fitness, strategies.
"""

import math
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import zip_longest

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from bankai.evaluation.scoring import (
    Prepared,
    answer_scores,
    prepare_encoded,
    probe_scores,
    token_scores,
)
from bankai.model.decoder import Decoder
from bankai.patch import Flip
from bankai.probes import Probe
from bankai.probes.encode import EncodedAnswer, encode
from bankai.search.batched import final_hidden
from bankai.search.objective import Readings
from bankai.search.streams import Stream, Streams

__all__ = ["SHARES", "Part", "SearchProbes", "encode_parts", "join", "make_parts", "spread", "windows"]

SHARES = (0.25, 0.5, 1.0)  # of everything, read after each part
WINDOW = 64  # tokens of neutral text in one sequence
LOGITS = 2**25  # held at once
NOTHING: frozenset[Flip] = frozenset()
Candidates = Sequence[frozenset[Flip]]


@dataclass(frozen=True)
class SearchProbes:
    """What a search may read; it is never given held-out or unseen probes.

    `domains`: the index of the domain of each target, all one when empty. `texts` are neutral: the search keeps the
    distribution of the model on them.
    """

    targets: tuple[Probe, ...]
    controls: tuple[Probe, ...] = ()
    validation: tuple[Probe, ...] = ()
    texts: tuple[str, ...] = ()
    domains: tuple[int, ...] = ()


def spread(probes: Sequence[Probe], seed: int = 0) -> list[int]:
    """Indices in a random order that goes round the categories, so that every beginning has its share of each."""
    by_category: dict[str, list[int]] = {}
    for index in random.Random(seed).sample(range(len(probes)), len(probes)):
        by_category.setdefault(probes[index].category, []).append(index)
    rounds = zip_longest(*by_category.values())
    return [index for row in rounds for index in row if index is not None]


def windows(texts: Iterable[str], tokenizer: PreTrainedTokenizerBase) -> list[EncodedAnswer]:
    """Texts as sequences of at most `WINDOW` tokens in which every token after the first is read."""
    found = []
    for text in texts:
        ids = tuple(tokenizer(text)["input_ids"])
        pieces = (ids[start : start + WINDOW] for start in range(0, len(ids), WINDOW))
        found += [EncodedAnswer(piece, 1) for piece in pieces if len(piece) > 1]
    return found


class Part:
    """Some targets, controls and texts in the order given, with their cached streams once those are needed.

    `encoded` are the answers of its targets; `targets`, `controls` and `texts` how many there are.
    """

    def __init__(
        self,
        decoder: Decoder,
        targets: Sequence[Sequence[EncodedAnswer]],
        controls: Sequence[Sequence[EncodedAnswer]],
        texts: Sequence[EncodedAnswer],
    ) -> None:
        self.decoder = decoder
        self.encoded = targets
        self.targets, self.controls, self.texts = len(targets), len(controls), len(texts)
        self.answers = prepare_encoded([*targets, *controls])
        self.neutral = prepare_encoded([[text] for text in texts])
        self._streams: tuple[Streams, Streams] | None = None
        # Log-probabilities of the base at every position of the texts: [positions, vocabulary] per batch.
        self._reference = [
            torch.cat([logits.log_softmax(1) for logits in _logits(stream, stream.final())])
            for stream in self._fresh(self.neutral)
        ]

    @property
    def probes(self) -> int:
        """Targets and controls; a text counts as one too."""
        return self.targets + self.controls + self.texts

    @property
    def streams(self) -> tuple[Streams, Streams]:
        """The cached streams of answers and of texts under the bits at the last refresh."""
        if self._streams is None:
            self._streams = (
                Streams(self.decoder, self.answers.batches),
                Streams(self.decoder, self.neutral.batches),
            )
        return self._streams

    def refresh(self, layer: int) -> None:
        """Follow the bits after those of a layer, or of later ones, have changed."""
        if self._streams is not None:
            for streams in self._streams:
                streams.refresh(layer)

    @torch.no_grad()
    def read(self, candidates: Candidates) -> Readings:
        """Readings [candidates, ...] of flips on top of the current bits."""
        answers, texts = self.streams
        found = [_answers(stream, candidates) for stream in answers]
        drift = [_drift(*pair, candidates) for pair in zip(texts, self._reference, strict=True)]
        return self._readings(found, drift, len(candidates))

    @torch.no_grad()
    def read_plainly(self) -> Readings:
        """Readings [1, ...] of the current bits by a full forward that caches nothing."""
        found = [_answers(stream, [NOTHING]) for stream in self._fresh(self.answers)]
        texts = zip(self._fresh(self.neutral), self._reference, strict=True)
        return self._readings(found, [_drift(*pair, [NOTHING]) for pair in texts], 1)

    def _fresh(self, prepared: Prepared) -> Iterable[Stream]:
        for batch in prepared.batches:
            yield Streams(self.decoder, [batch])[0]

    def _readings(
        self, answers: list[tuple[Tensor, Tensor]], drift: list[Tensor], candidates: int
    ) -> Readings:
        empty = torch.zeros(candidates, 0)
        log_probs = torch.cat([empty, *(pair[0] for pair in answers)], 1)
        margins = torch.cat([empty, *(pair[1] for pair in answers)], 1)
        scores, margins = _by_probe(self.answers, log_probs, margins)
        positions = torch.cat([empty, *drift], 1)
        return Readings(
            scores[:, : self.targets],
            margins[:, : self.targets],
            scores[:, self.targets :],
            margins[:, self.targets :],
            _by_text(self.neutral, positions),
        )


def _owners(prepared: Prepared) -> Tensor:
    return torch.cat([torch.zeros(0, dtype=torch.long), *(batch.owners for batch in prepared.batches)])


def _by_probe(prepared: Prepared, log_probs: Tensor, margins: Tensor) -> tuple[Tensor, Tensor]:
    """[candidates, positions] to score and margin, two [candidates, probes]."""
    owners, answers = _owners(prepared), len(prepared.probe_of)
    pairs = zip(log_probs, margins, strict=True)
    found = [probe_scores(prepared, *answer_scores(*pair, owners, answers)) for pair in pairs]
    scores, least = zip(*found, strict=True)
    return torch.stack(scores), torch.stack(least)


def _by_text(prepared: Prepared, divergence: Tensor) -> Tensor:
    """Mean over the positions of each text: [candidates, positions] to [candidates, texts]."""
    owners = _owners(prepared)
    sums = divergence.new_zeros(len(divergence), prepared.probes).index_add(1, owners, divergence)
    return sums / owners.bincount(minlength=prepared.probes)


def _logits(stream: Stream, hidden: Tensor) -> Iterable[Tensor]:
    """Logits of [n, hidden], some rows at a time: float32 [rows, vocabulary]."""
    rows = max(1, LOGITS // stream.decoder.vocabulary)
    for some in hidden.split(rows):
        yield stream.decoder.logits(some).float()


def _answers(stream: Stream, candidates: Candidates) -> tuple[Tensor, Tensor]:
    """Log-probability and margin of every answer token, two [candidates, positions] on the CPU."""
    log_probs = torch.empty(len(candidates), len(stream.targets))
    margins = torch.empty_like(log_probs)
    for some, hidden in final_hidden(stream, candidates):
        targets = stream.targets.repeat(len(some)).split(max(1, LOGITS // stream.decoder.vocabulary))
        pieces = [
            token_scores(*pair) for pair in zip(_logits(stream, hidden.flatten(0, 1)), targets, strict=True)
        ]
        right, lead = (torch.cat(column).view(len(some), -1).cpu() for column in zip(*pieces, strict=True))
        log_probs[some], margins[some] = right, lead
    return log_probs, margins


def _drift(stream: Stream, reference: Tensor, candidates: Candidates) -> Tensor:
    """KL divergence of the base from each candidate at every position: [candidates, positions] on the CPU."""
    drift = torch.empty(len(candidates), len(reference))
    for some, hidden in final_hidden(stream, candidates):
        for index, positions in zip(some, hidden, strict=True):
            start = 0
            for logits in _logits(stream, positions):
                base = reference[start : start + len(logits)]
                kl = (base.exp() * (base - logits.log_softmax(1))).sum(1)
                drift[index, start : start + len(logits)] = kl.cpu()
                start += len(logits)
    return drift


def join(parts: Sequence[Readings]) -> Readings:
    """Readings of several parts as one."""
    fields = Readings.__dataclass_fields__
    return Readings(*(torch.cat([getattr(part, name) for part in parts], -1) for name in fields))


Slice = tuple[list[list[EncodedAnswer]], list[list[EncodedAnswer]], list[EncodedAnswer]]


def encode_parts(tokenizer: PreTrainedTokenizerBase, probes: SearchProbes) -> tuple[list[Slice], list[int]]:
    """Targets, controls and texts of every part, and the order of the targets in them."""
    order = spread(probes.targets)
    targets = [encode(probes.targets[index], tokenizer) for index in order]
    controls = [encode(probes.controls[index], tokenizer) for index in spread(probes.controls)]
    texts = windows(probes.texts, tokenizer)
    cuts = [[0, *(math.ceil(share * len(kind)) for share in SHARES)] for kind in (targets, controls, texts)]
    slices = []
    for index in range(len(SHARES)):
        some = [slice(cut[index], cut[index + 1]) for cut in cuts]
        slices.append((targets[some[0]], controls[some[1]], texts[some[2]]))
    return slices, order


def make_parts(
    decoder: Decoder, tokenizer: PreTrainedTokenizerBase, probes: SearchProbes
) -> tuple[list[Part], list[int]]:
    """The parts, and the order of the targets in them."""
    slices, order = encode_parts(tokenizer, probes)
    return [Part(decoder, *some) for some in slices], order
