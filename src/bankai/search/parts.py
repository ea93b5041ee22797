"""The probes and texts that a search reads, cut into parts, and what candidates do to them.

Weak candidates leave after the first parts (successive halving), so the parts follow a fixed order that goes round the
categories: whatever has been read so far is a fair sample of everything. A part is read in pieces, each of one stream
and the candidates that are computed at once; how it is cut follows from probes and candidates alone, so that pieces may
be computed anywhere and in any order.
"""

import math
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import NamedTuple

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from bankai.errors import ProbeFormatError
from bankai.evaluation.batches import BATCH_TOKENS, Batch, Prepared, prepare_encoded
from bankai.evaluation.scoring import answer_scores, means_by_group, probe_scores, token_scores
from bankai.model.decoder import Decoder
from bankai.model.divergence import divergence
from bankai.patch import Flip
from bankai.probes import Probe
from bankai.probes.encode import EncodedAnswer, encode
from bankai.search.batched import chunks, final_hidden
from bankai.search.objective import Readings
from bankai.search.streams import Stream

__all__ = [
    "SHARES",
    "Contents",
    "Part",
    "Piece",
    "SearchProbes",
    "Slice",
    "draw_texts",
    "encode_parts",
    "join",
    "make_parts",
    "spread",
    "windows",
]

SHARES = (0.25, 0.5, 1.0)  # of everything, read after each part
WINDOW = 64  # tokens of neutral text in one sequence
TEXT_TOKENS = 500  # of neutral text in one batch: what a round reads is drawn by batches
LOGITS = 2**25  # held at once
NOTHING: frozenset[Flip] = frozenset()
Candidates = Sequence[frozenset[Flip]]


@dataclass(frozen=True)
class SearchProbes:
    """What a search may read; it is never given held-out or unseen probes.

    `domains`: the index of the domain of each target, all one when empty. `texts` are neutral: the search keeps the
    distribution of the model on them, of a probe on its first answer and stop.
    """

    targets: tuple[Probe, ...]
    controls: tuple[Probe, ...] = ()
    validation: tuple[Probe, ...] = ()
    texts: tuple[str | Probe, ...] = ()
    domains: tuple[int, ...] = ()


def spread(probes: Sequence[Probe], seed: int = 0) -> list[int]:
    """Indices in a random order that goes round the categories, so that every beginning has its share of each."""
    by_category: dict[str, list[int]] = {}
    for index in random.Random(seed).sample(range(len(probes)), len(probes)):
        by_category.setdefault(probes[index].category, []).append(index)
    rounds = zip_longest(*by_category.values())
    return [index for row in rounds for index in row if index is not None]


def windows(texts: Sequence[str | Probe], tokenizer: PreTrainedTokenizerBase) -> list[EncodedAnswer]:
    """Texts as sequences of at most `WINDOW` tokens, all read but the first; of probes the first answers.

    Raises ProbeFormatError when none of the texts has two tokens.
    """
    found: list[EncodedAnswer] = []
    for text in texts:
        if isinstance(text, Probe):
            found += encode(text, tokenizer)[:1]
            continue
        ids = tuple(tokenizer(text)["input_ids"])
        pieces = (ids[start : start + WINDOW] for start in range(0, len(ids), WINDOW))
        found += [EncodedAnswer(piece, 1) for piece in pieces if len(piece) > 1]
    if texts and not found:
        raise ProbeFormatError(
            "the neutral text has less than two tokens, so none to predict; give a longer one"
        )
    return found


class Piece(NamedTuple):
    """Candidates, by index, that one stream computes at once: the stream of a batch of answers, or of texts."""

    texts: bool
    stream: int
    candidates: tuple[int, ...]


class Contents:
    """What a part reads, in batches, for a model of so many layers; it is here without one.

    A `recurrent` model keeps a state of all tokens before, so its batches hold no trees. `encoded` are the answers of
    the targets; `targets`, `controls` and `texts` how many there are.
    """

    def __init__(
        self,
        layers: int,
        targets: Sequence[Sequence[EncodedAnswer]],
        controls: Sequence[Sequence[EncodedAnswer]],
        texts: Sequence[EncodedAnswer],
        *,
        recurrent: bool = False,
    ) -> None:
        self._layers = layers
        self.encoded = targets
        self.targets, self.controls = len(targets), len(controls)
        self.answers = prepare_encoded([*targets, *controls])
        self.neutral = prepare_encoded([[text] for text in texts], batch_tokens=TEXT_TOKENS)
        if recurrent:
            self.answers, self.neutral = self.answers.as_sequences(), self.neutral.as_sequences()
        self.drawn: Sequence[int] = range(len(self.neutral.batches))

    def draw(self, count: int, rng: random.Random) -> bool:
        """Choose so many batches of texts to read from now on; tells whether these are a choice."""
        batches = len(self.neutral.batches)
        self.drawn = sorted(rng.sample(range(batches), min(count, batches)))
        return count < batches

    @property
    def texts(self) -> int:
        """Windows of text that are read."""
        return sum(len(self.neutral.batches[index].answers()) for index in self.drawn)

    @property
    def probes(self) -> int:
        """Targets and controls; a text counts as one too."""
        return self.targets + self.controls + self.texts

    def batches(self, texts: bool) -> tuple[Batch, ...]:
        """Those of the texts, or of the answers."""
        return (self.neutral if texts else self.answers).batches

    def all_read(self) -> list[Batch]:
        """The batches that are read, those of the answers, then those of the texts."""
        return [batch for texts in (False, True) for _, batch in self._read(texts)]

    def followed(self, best: Tensor) -> Iterator[tuple[int, Tensor]]:
        """The answers that attribution follows, of every probe the one in `best` [probes].

        In pieces that are computed at once, with the index of their batch.
        """
        for index, batch in enumerate(self.answers.batches):
            here = batch.answers()
            here = here[best[self.answers.probe_of[here]] == here]
            for piece in batch.pieces(here, BATCH_TOKENS):
                yield index, piece

    def cut(self, candidates: Candidates) -> list[Piece]:
        """The pieces in which these candidates are read."""
        return [
            Piece(texts, stream, tuple(chunk))
            for texts in (False, True)
            for stream, batch in self._read(texts)
            for chunk in chunks(candidates, self._layers, batch.tokens)
        ]

    def readings(
        self, candidates: int, pieces: Iterable[Piece], found: Iterable[tuple[Tensor, ...]]
    ) -> Readings:
        """Readings [candidates, ...] from what was found in each piece."""
        columns = {
            (texts, stream): [torch.empty(candidates, len(batch.rows)) for _ in range(1 if texts else 2)]
            for texts in (False, True)
            for stream, batch in self._read(texts)
        }
        for piece, values in zip(pieces, found, strict=True):
            for column, some in zip(columns[piece[:2]], values, strict=True):
                column[list(piece.candidates)] = some
        empty = torch.zeros(candidates, 0)
        answers = [pair for (texts, _), pair in columns.items() if not texts]
        log_probs, margins = (torch.cat([empty, *(pair[kind] for pair in answers)], 1) for kind in (0, 1))
        scores, margins = _by_probe(self.answers, log_probs, margins)
        drift = torch.cat([empty, *(one for (texts, _), (one, *_) in columns.items() if texts)], 1)
        return Readings(
            scores[:, : self.targets],
            margins[:, : self.targets],
            scores[:, self.targets :],
            margins[:, self.targets :],
            self._by_text(drift),
        )

    def _read(self, texts: bool) -> list[tuple[int, Batch]]:
        """The batches that are read, with their index."""
        batches = self.batches(texts)
        return [(index, batches[index]) for index in (self.drawn if texts else range(len(batches)))]

    def _by_text(self, divergence: Tensor) -> Tensor:
        """Mean over the positions of each text: [candidates, positions] to [candidates, texts]."""
        owners = [batch.owners for _, batch in self._read(texts=True)]
        return means_by_group(divergence, torch.cat([torch.zeros(0, dtype=torch.long), *owners]))


class Part(Contents):
    """The same with a model, and with streams that are cached once they are needed."""

    def __init__(
        self,
        decoder: Decoder,
        targets: Sequence[Sequence[EncodedAnswer]],
        controls: Sequence[Sequence[EncodedAnswer]],
        texts: Sequence[EncodedAnswer],
    ) -> None:
        recurrent = decoder.architecture.recurrent
        super().__init__(decoder.layers, targets, controls, texts, recurrent=recurrent)
        self.decoder = decoder
        self._streams: dict[tuple[bool, int], Stream] = {}
        self._stale: dict[tuple[bool, int], int] = {}  # the first layer whose bits have changed since
        self._wanted: set[tuple[bool, int]] = set()  # since bits changed last
        # Residuals of the base at every position of the texts, [positions, hidden] per batch. They say as much as its
        # distributions, since no flip changes the head, and are a hundred times smaller.
        self._reference = [
            self._fresh(True, index).final().clone() for index in range(len(self.neutral.batches))
        ]

    def stream(self, texts: bool, index: int) -> Stream:
        """The cached stream of a batch under the bits at the last :meth:`outdate`."""
        at = texts, index
        self._wanted.add(at)
        if at not in self._streams:
            self._streams[at] = self._fresh(*at)
        elif at in self._stale:
            self._streams[at].refresh(self._stale[at])
        self._stale.pop(at, None)  # not before: an interrupt may have come
        return self._streams[at]

    @property
    def streams(self) -> tuple[list[Stream], list[Stream]]:
        """Those of all batches, of answers and of texts."""
        answers, texts = (
            [self.stream(kind, index) for index in range(len(self.batches(kind)))] for kind in (False, True)
        )
        return answers, texts

    def outdate(self, layer: int) -> None:
        """Bits of a layer, or of later ones, have changed; streams follow when they are next wanted.

        Those of texts that nobody wanted in the meantime are forgotten.
        """
        for at in [at for at in self._streams if at[0] and at not in self._wanted]:
            del self._streams[at]
        self._wanted.clear()
        self._stale = {at: min(layer, self._stale.get(at, layer)) for at in self._streams}

    def refresh(self, layer: int) -> None:
        """The same, and they follow at once."""
        self.outdate(layer)
        for at in self._streams:
            self.stream(*at)

    @torch.no_grad()
    def measure(self, texts: bool, stream: int, candidates: Candidates) -> tuple[Tensor, ...]:
        """What :meth:`readings` wants of a piece, for flips on top of the current bits.

        One or two [candidates, positions].
        """
        return self._measure(self.stream(texts, stream), texts, stream, candidates)

    @torch.no_grad()
    def measure_plainly(self, texts: bool, stream: int) -> tuple[Tensor, ...]:
        """The same for the current bits, by a full forward that caches nothing."""
        return self._measure(self._fresh(texts, stream), texts, stream, [NOTHING])

    def _measure(self, stream: Stream, texts: bool, index: int, candidates: Candidates) -> tuple[Tensor, ...]:
        if texts:
            return (_drift(stream, self._reference[index], candidates),)
        return _answers(stream, candidates)

    def read(self, candidates: Candidates) -> Readings:
        """Readings [candidates, ...] of flips on top of the current bits."""
        pieces = self.cut(candidates)
        found = [
            self.measure(piece.texts, piece.stream, [candidates[at] for at in piece.candidates])
            for piece in pieces
        ]
        return self.readings(len(candidates), pieces, found)

    def read_plainly(self) -> Readings:
        """Readings [1, ...] of the current bits by a full forward that caches nothing."""
        pieces = self.cut([NOTHING])
        return self.readings(1, pieces, [self.measure_plainly(one.texts, one.stream) for one in pieces])

    def _fresh(self, texts: bool, index: int) -> Stream:
        return Stream(self.decoder, self.batches(texts)[index])


def _owners(prepared: Prepared) -> Tensor:
    return torch.cat([torch.zeros(0, dtype=torch.long), *(batch.owners for batch in prepared.batches)])


def _by_probe(prepared: Prepared, log_probs: Tensor, margins: Tensor) -> tuple[Tensor, Tensor]:
    """[candidates, positions] to score and margin, two [candidates, probes]."""
    owners, answers = _owners(prepared), len(prepared.probe_of)
    pairs = zip(log_probs, margins, strict=True)
    found = [probe_scores(prepared, *answer_scores(*pair, owners, answers)) for pair in pairs]
    scores, least = zip(*found, strict=True)
    return torch.stack(scores), torch.stack(least)


def _rows(stream: Stream) -> int:
    """Positions whose logits are held at once."""
    return max(1, LOGITS // stream.decoder.vocabulary)


def _logits(stream: Stream, hidden: Tensor) -> Iterable[Tensor]:
    """Logits of [n, hidden], some rows at a time: float32 [rows, vocabulary]."""
    for some in hidden.split(_rows(stream)):
        yield stream.decoder.logits(some).float()


def _answers(stream: Stream, candidates: Candidates) -> tuple[Tensor, Tensor]:
    """Log-probability and margin of every answer token, two [candidates, positions] on the CPU."""
    log_probs = torch.empty(len(candidates), len(stream.targets))
    margins = torch.empty_like(log_probs)
    first, at = stream.shared
    for some, hidden in final_hidden(stream, candidates):
        read = torch.cat([at + index * len(first) for index in range(len(some))])
        targets, found = stream.targets.repeat(len(some), 1), torch.empty(2, len(read))
        start = 0
        for logits in _logits(stream, hidden[:, first].flatten(0, 1)):
            here = ((read >= start) & (read < start + len(logits))).nonzero()[:, 0]
            scores = token_scores(logits, targets[here], read[here] - start)
            found[:, here.cpu()] = torch.stack(scores).cpu()
            start += len(logits)
        log_probs[some], margins[some] = found.view(2, len(some), -1)
    return log_probs, margins


def _drift(stream: Stream, reference: Tensor, candidates: Candidates) -> Tensor:
    """KL divergence of the base from each candidate at every position: [candidates, positions] on the CPU.

    `reference` [positions, hidden] are the residuals of the base.
    """
    drift, rows = torch.empty(len(candidates), len(reference)), _rows(stream)
    for some, hidden in final_hidden(stream, candidates):
        for start in range(0, len(reference), rows):
            here = slice(start, start + rows)
            base = stream.decoder.logits(reference[here]).float().log_softmax(1)
            for index, positions in zip(some, hidden, strict=True):
                logits = stream.decoder.logits(positions[here]).float()
                drift[index, here] = divergence(base, logits.log_softmax(1)).cpu()
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


def draw_texts(parts: Iterable[Contents], tokens: int | None, seed: str) -> bool:
    """Have each part read its share of about so many tokens of text, or all; tells whether there is a choice."""
    if tokens is None:
        return False
    parts, rng = list(parts), random.Random(seed)
    count = max(1, tokens // (len(parts) * TEXT_TOKENS))
    return any([part.draw(count, rng) for part in parts])


def make_parts(
    decoder: Decoder, tokenizer: PreTrainedTokenizerBase, probes: SearchProbes
) -> tuple[list[Part], list[int]]:
    """The parts, and the order of the targets in them."""
    slices, order = encode_parts(tokenizer, probes)
    return [Part(decoder, *some) for some in slices], order
