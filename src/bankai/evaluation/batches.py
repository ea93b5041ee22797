"""Answers as batches of token ids, and where in them the model is read.

Answers that begin alike stand in prefix trees where that saves enough, else side by side as sequences. How they are cut
into batches follows from the answers alone.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from bankai.probes.encode import EncodedAnswer, encode
from bankai.probes.probe import Probe
from bankai.probes.tree import Tree, grow

__all__ = ["BATCH_TOKENS", "Batch", "Prepared", "prepare", "prepare_encoded"]

BATCH_TOKENS = 1024  # of sequences, padded
TREE_TOKENS = 512  # of a tree, beyond its first answer: attention in it takes the square of that
SAVING = 1.5  # times fewer tokens, for which a tree pays


@dataclass(frozen=True, slots=True)
class Batch:
    """Answers and where to read them: right-padded sequences, or one row that is a tree.

    One entry of ``rows``, ``columns``, ``targets``, ``owners`` per answer token. In sequences, causal attention keeps
    padding from reaching any answer.
    """

    ids: Tensor  # [sequences, length]
    rows: Tensor  # [positions] sequence
    columns: Tensor  # [positions] place whose logits predict the token
    targets: Tensor  # [positions, alternatives] tokens of which each is right; repeated where there are fewer
    owners: Tensor  # [positions] index of the answer among all answers
    sight: Tensor | None = None  # bool [length, length] of a tree: a token sees itself and its ancestors

    @property
    def tokens(self) -> int:
        """With padding."""
        return self.ids.numel()

    @property
    def unpadded(self) -> int:
        """Tokens without padding; a tree has none."""
        return self.tokens if self.sight is not None else int(self._lengths(self.answers()).sum())

    def answers(self) -> Tensor:
        """The answers that are here, ascending: int [answers]."""
        return self.owners.unique()

    def pieces(self, answers: Tensor, tokens: int) -> Iterator[Tensor]:
        """These answers in pieces that as sequences have at most so many tokens, if it is not one alone."""
        lengths = self._lengths(answers)
        order, start = lengths.argsort(descending=True, stable=True), 0
        while start < len(order):
            count = max(1, tokens // int(lengths[order[start]]))
            yield answers[order[start : start + count]].sort().values
            start += count

    def padded(self, answers: Tensor) -> int:
        """Tokens of these answers as sequences, with padding."""
        return len(answers) * int(self._lengths(answers).max())

    def sequences(self, answers: Tensor) -> tuple["Batch", Tensor]:
        """These answers, each as a sequence of its own; and of every token there its number here.

        Numbers count the tokens of all rows: int [answers, length].
        """
        ends, lengths = self._ends(answers), self._lengths(answers)
        numbers = torch.zeros(len(answers), int(lengths.max()), dtype=torch.long)
        starts = self._rows(answers) * self.ids.shape[1]
        for row, (end, length, start) in enumerate(zip(ends, lengths, starts, strict=True)):
            path = torch.arange(int(length)) if self.sight is None else self.sight[end].nonzero()[:, 0]
            numbers[row, : int(length)] = start + path
        row_of = torch.full((int(self.owners.max()) + 1,), -1)
        row_of[answers] = torch.arange(len(answers))
        chosen = row_of[self.owners] >= 0
        columns = self.columns if self.sight is None else self.sight.sum(1)[self.columns] - 1
        batch = Batch(
            self.ids.flatten()[numbers],
            row_of[self.owners][chosen],
            columns[chosen],
            self.targets[chosen],
            self.owners[chosen],
        )
        return batch, numbers

    def _lengths(self, answers: Tensor) -> Tensor:
        """Tokens of each of these answers, without the last one: int [answers]."""
        ends = self._ends(answers)
        return ends + 1 if self.sight is None else self.sight[ends].sum(1)

    def _ends(self, answers: Tensor) -> Tensor:
        """The place that predicts the last token of each answer: its places ascend."""
        last = torch.zeros(int(self.owners.max()) + 1, dtype=torch.long)
        return last.scatter_reduce(0, self.owners, self.columns, "amax")[answers]

    def _rows(self, answers: Tensor) -> Tensor:
        rows = torch.zeros(int(self.owners.max()) + 1, dtype=torch.long)
        rows[self.owners] = self.rows
        return rows[answers]


@dataclass(frozen=True, slots=True)
class Prepared:
    """Encoded probes in batches."""

    probes: int
    probe_of: Tensor  # [answers] index of the probe
    batches: tuple[Batch, ...]

    def as_sequences(self) -> "Prepared":
        """The same without trees, for a model whose layers keep a state of all tokens before."""
        batches: list[Batch] = []
        for batch in self.batches:
            if batch.sight is None:
                batches.append(batch)
            else:
                pieces = batch.pieces(batch.answers(), BATCH_TOKENS)
                batches += (batch.sequences(some)[0] for some in pieces)
        return Prepared(self.probes, self.probe_of, tuple(batches))


def prepare(
    tokenizer: PreTrainedTokenizerBase, probes: Iterable[Probe], *, batch_tokens: int = BATCH_TOKENS
) -> Prepared:
    """Encode every answer of every probe and pack them into batches of at most ``batch_tokens`` tokens."""
    return prepare_encoded([encode(probe, tokenizer) for probe in probes], batch_tokens=batch_tokens)


def prepare_encoded(
    encoded: Sequence[Sequence[EncodedAnswer]], *, batch_tokens: int = BATCH_TOKENS
) -> Prepared:
    """As :func:`prepare`, from answers already encoded, one sequence of alternates per probe."""
    answers = [answer for alternates in encoded for answer in alternates]
    probe_of = [probe for probe, alternates in enumerate(encoded) for _ in alternates]
    chunks = list(_chunks(answers, batch_tokens))
    trees = list(grow([answer.ids[:-1] for answer in answers], min(TREE_TOKENS, batch_tokens)))
    padded = sum(len(chunk) * (len(answers[chunk[0]].ids) - 1) for chunk in chunks)
    if SAVING * sum(len(tree) for tree, _ in trees) <= padded:
        batches = [_tree(answers, *grown) for grown in trees]
    else:
        batches = [_sequences(answers, chunk) for chunk in chunks]
    return Prepared(len(encoded), torch.tensor(probe_of, dtype=torch.long), tuple(batches))


def _chunks(answers: Sequence[EncodedAnswer], batch_tokens: int) -> Iterator[list[int]]:
    """Indices of answers, longest first, so that a batch's first answer sets its width."""
    chunk: list[int] = []
    for index in sorted(range(len(answers)), key=lambda i: -len(answers[i].ids)):
        if chunk and (len(chunk) + 1) * len(answers[chunk[0]].ids) > batch_tokens:
            yield chunk
            chunk = []
        chunk.append(index)
    if chunk:
        yield chunk


def _sequences(answers: Sequence[EncodedAnswer], chosen: list[int]) -> Batch:
    # The last token is only a target, so the model need not read it.
    ids = torch.zeros(len(chosen), len(answers[chosen[0]].ids) - 1, dtype=torch.long)
    places: list[tuple[int, int, int]] = []
    for row, index in enumerate(chosen):
        answer = answers[index]
        ids[row, : len(answer.ids) - 1] = torch.tensor(answer.ids[:-1])
        places += [(row, position - 1, index) for position in range(answer.answer_start, len(answer.ids))]
    return _read(ids, places, [answers[index] for index in chosen])


def _tree(answers: Sequence[EncodedAnswer], tree: Tree, paths: dict[int, list[int]]) -> Batch:
    sight = torch.eye(len(tree), dtype=torch.bool)
    for token, parent in enumerate(tree.parents):
        if parent >= 0:
            sight[token] |= sight[parent]
    places = [
        (0, path[position - 1], index)
        for index, path in paths.items()
        for position in range(answers[index].answer_start, len(answers[index].ids))
    ]
    return _read(torch.tensor([tree.ids]), places, [answers[index] for index in paths], sight)


def _read(
    ids: Tensor, places: list[tuple[int, int, int]], answers: list[EncodedAnswer], sight: Tensor | None = None
) -> Batch:
    """Places are row, column and owner of each token of the answers, which come in that order."""
    targets = [target for answer in answers for target in answer.targets]
    width = max(map(len, targets))
    filled = torch.tensor([target + target[:1] * (width - len(target)) for target in targets])
    rows, columns, owners = torch.tensor(places).unbind(1)
    return Batch(ids, rows, columns, filled, owners, sight)
