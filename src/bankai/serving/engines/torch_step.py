"""One forward for many texts: a token of each that runs, then the next tokens of those that are still read.

Writes keys and values behind what is known, and changes nothing else: a forward that fails may be repeated.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel

from bankai.model import WeightMatrix, ragged
from bankai.serving.engine import Generation
from bankai.serving.engines.torch_memory import Memory, Shape, attend_after, attend_each
from bankai.serving.engines.torch_rows import Merged, PatchRows, TextRows

__all__ = ["Chunk", "Prompt", "Step", "Text", "like_of", "shape"]


@dataclass(frozen=True, eq=False)
class Text:
    """A generation and what its patch changes."""

    generation: Generation
    patch: PatchRows


@dataclass(eq=False)
class Prompt:
    """A text that is still read: the `ids` that it came with, of which so many are `read`."""

    text: Text
    ids: tuple[int, ...]
    memory: Tensor  # of all of them: [layers, 2, heads, length, width]
    read: int = 0


@dataclass(frozen=True, eq=False)
class Chunk:
    """The next tokens of a prompt."""

    prompt: Prompt
    count: int

    @property
    def end(self) -> int:
        """How many are read after it."""
        return self.prompt.read + self.count

    @property
    def ends(self) -> bool:
        """Whether these are all."""
        return self.end == len(self.prompt.ids)

    @property
    def told(self) -> int:
        """After how many of its last tokens the logits are wanted."""
        if self.prompt.text.generation.read is not None:
            return self.count
        return 1 if self.ends else 0


def shape(model: PreTrainedModel) -> Shape:
    """Of what is remembered."""
    config = model.config
    return Shape(config.num_hidden_layers, config.num_key_value_heads, config.head_dim)


def like_of(model: PreTrainedModel) -> Tensor:
    """An empty tensor of the type and on the device that a model computes in."""
    table = model.model.embed_tokens.matrix
    return torch.empty(0, dtype=table.dtype, device=table.device)


class Step:
    """Implements `ragged.Work`. The texts that run are those of the memory, row by row, and `changes` are theirs; the
    memory has room for one more token of each.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        memory: Memory,
        running: Sequence[Text],
        chunks: Sequence[Chunk],
        changes: Mapping[WeightMatrix, Merged],
    ) -> None:
        self._model, self._memory, self._chunks, self._changes = model, memory, chunks, changes
        self._patches = [text.patch for text in running]
        self._ids = [text.generation.ids[-1] for text in running]
        self._positions = list(memory.lengths)
        self._spans: list[slice] = []  # of the chunks
        for chunk in chunks:
            start = len(self._ids)
            self._ids += chunk.prompt.ids[chunk.prompt.read : chunk.end]
            self._positions += range(chunk.prompt.read, chunk.end)
            self._spans.append(slice(start, start + chunk.count))
        self._like = like_of(model)
        self._rows = self._text_rows(self._spans, chunks)
        if running:
            self._look_back()

    def _text_rows(self, spans: Sequence[slice], chunks: Sequence[Chunk]) -> TextRows:
        patches = [chunk.prompt.text.patch for chunk in chunks]
        return TextRows(len(self._patches), self._changes, list(zip(spans, patches, strict=True)))

    def _look_back(self) -> None:
        """Where the running texts' keys are written, and how far each may look."""
        lengths, most = self._memory.lengths, 1 + max(self._memory.lengths)
        self._row = torch.arange(len(lengths), device=self._like.device)
        self._at = torch.tensor(lengths, device=self._like.device)
        hidden = torch.arange(most, device=self._like.device) > self._at[:, None]
        mask = torch.zeros(hidden.shape, dtype=self._like.dtype, device=self._like.device)
        self._mask = mask.masked_fill_(hidden, -torch.inf)[:, None, None]  # [texts, 1, 1, most]

    def logits(self) -> Tensor:
        """After each running text, then after the tokens of each chunk that are to be told: [rows, vocabulary]."""
        positions = torch.tensor(self._positions, device=self._like.device)
        hidden = ragged.final_hidden(self._model, self._embedded(), positions, self)
        rows, spans, told = [*range(len(self._patches))], list[slice](), list[Chunk]()
        for span, chunk in zip(self._spans, self._chunks, strict=True):
            if chunk.told:
                spans.append(slice(len(rows), len(rows) + chunk.told))
                rows += range(span.stop - chunk.told, span.stop)
                told.append(chunk)
        if self._chunks:
            hidden = hidden[rows]
        self._rows = self._text_rows(spans, told)
        head = self._model.lm_head
        return self.change(head.matrix, hidden, head(hidden))

    def _embedded(self) -> Tensor:
        """[tokens, hidden]."""
        table = self._model.model.embed_tokens
        hidden: Tensor = table(torch.tensor(self._ids, device=self._like.device))
        singles = ((slice(at, at + 1), patch) for at, patch in enumerate(self._patches))
        for span, patch in (*singles, *self._rows.spans):
            for at in range(span.start, span.stop) if patch.tokens else ():
                if self._ids[at] in patch.tokens:
                    hidden[at] = patch.tokens[self._ids[at]]
        return hidden

    def changes(self, matrix: WeightMatrix) -> bool:
        """See `ragged.Work`."""
        return self._rows.changes_any(matrix)

    def change(self, matrix: WeightMatrix, x: Tensor, y: Tensor) -> Tensor:
        """See `ragged.Work`."""
        return self._rows.change(matrix, x, y)

    def attend(self, index: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """See `ragged.Work`."""
        parts, single = [], len(self._patches)
        if single:
            keys, values = self._memory.layer(index)
            keys[self._row, :, self._at], values[self._row, :, self._at] = key[:single], value[:single]
            most = self._mask.shape[-1]
            parts.append(attend_each(query[:single], keys[:, :, :most], values[:, :, :most], self._mask))
        for chunk, span in zip(self._chunks, self._spans, strict=True):
            keys, values = chunk.prompt.memory[index, :, :, : chunk.end]
            keys[:, chunk.prompt.read :] = key[span].transpose(0, 1)
            values[:, chunk.prompt.read :] = value[span].transpose(0, 1)
            parts.append(attend_after(query[span], keys, values))
        return parts[0] if len(parts) == 1 else torch.cat(parts)
