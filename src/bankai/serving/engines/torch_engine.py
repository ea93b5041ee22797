"""Generations in one batch in which each has its own patch, over one set of weights: an `Engine` in torch.

Every step is one forward: the next token of each text that runs, and some tokens of those that are still read, so that
a long prompt neither waits for the others nor makes them wait for all of it. What was computed of a text is kept until
it leaves. A step that fails has changed nothing: remove what it failed for, and go on. In float32 greedy text is that
of the prompt and patch alone, unless two tokens are as likely up to rounding: a batch adds up in another order.

Every patch is served that the model has the places for. The model is read and never changed, and nobody else may change
it meanwhile.
"""

from collections import OrderedDict
from collections.abc import Mapping, Sequence

import torch
from transformers import PreTrainedModel

from bankai.errors import StateError
from bankai.model import WeightMatrix, ragged
from bankai.model.sampling import Logits
from bankai.serving.engine import Generation
from bankai.serving.engines.torch_memory import Memory
from bankai.serving.engines.torch_rows import Merged, PatchRows, merged, patch_rows
from bankai.serving.engines.torch_step import Chunk, Prompt, Step, Text, like_of, shape

__all__ = ["TorchEngine"]

_READ = 512  # tokens of prompts in a step: bounds its memory, and how long the others wait for it
_SCORED = 128  # of one whose every token is told: logits of many words take much memory
_READY = 64  # patches of which the changed rows are kept
_BYTES = 2**32  # of keys and values at most, unless a longer context is asked for


class TorchEngine:
    """Implements :class:`bankai.serving.engine.Engine` on a model of :func:`bankai.load`.

    `context` is at most that of the model, by default as much of it as takes 4 GiB for all places: there is memory for
    every place as soon as one text is long, and prompts that are read have theirs beside it.
    """

    def __init__(self, model: PreTrainedModel, *, places: int = 16, context: int | None = None) -> None:
        if places < 1:
            raise ValueError("an engine needs at least one place")
        ragged.check_model(model)
        like, remembered = like_of(model), shape(model)
        affordable = _BYTES // (places * remembered.bytes(like))
        self.context = min(context or affordable, model.config.max_position_embeddings)
        self.places, self.vocabulary = places, model.config.vocab_size
        self._model = model
        self._shape, self._like = remembered, like
        self._memory = Memory(remembered, places, self.context, like)
        self._running: list[Text] = []  # row by row of the memory
        self._reading: list[Prompt] = []
        self._changes: Mapping[WeightMatrix, Merged] | None = None  # None when others run than did before
        self._ready: OrderedDict[str, PatchRows] = OrderedDict()

    @torch.no_grad()
    def add(self, generation: Generation) -> None:
        """See `Engine`. Raises ValueError for no prompt, one that fills the context and no free place,
        UnknownTensorError and RowRangeError for a patch of another model.
        """
        ids = generation.ids
        if not 0 < len(ids) < self.context:
            raise ValueError(
                f"the prompt has {len(ids)} tokens; give at least 1 and less than {self.context}"
            )
        if len(self._running) + len(self._reading) >= self.places:
            raise ValueError(f"all {self.places} places are taken; remove a generation first")
        text = Text(generation, self._patch_rows(generation))
        self._reading.append(Prompt(text, ids, self._shape.room(len(ids), self._like)))

    def _patch_rows(self, generation: Generation) -> PatchRows:
        found = self._ready.get(generation.key)
        if found is None:
            found = self._ready[generation.key] = patch_rows(self._model, generation.patch.flips)
        self._ready.move_to_end(generation.key)
        if len(self._ready) > _READY:
            self._ready.popitem(last=False)
        return found

    @torch.no_grad()
    def step(self) -> Sequence[tuple[Generation, Logits]]:
        """See `Engine`. Raises StateError for a generation that was neither given its one token nor removed."""
        self._check()
        chunks = _chunks(self._reading)
        if not self._running and not chunks:
            return []
        done = [chunk.prompt for chunk in chunks if chunk.ends]
        self._memory.reserve([len(prompt.ids) for prompt in done])
        if self._changes is None:
            self._changes = merged([text.patch for text in self._running])
        step = Step(self._model, self._memory, self._running, chunks, self._changes)
        logits = step.logits().float().cpu().numpy()
        self._memory.advance()
        single = len(self._running)
        ends = _hand_out(chunks, logits[single:])
        for chunk in chunks:
            chunk.prompt.read = chunk.end
        for prompt in done:
            self._begin(prompt)
        rows = [*logits[:single], *ends]
        return [(text.generation, row) for text, row in zip(self._running, rows, strict=True)]

    def _check(self) -> None:
        """Every text that runs has got one token, for which there is room in the context."""
        for text, known in zip(self._running, self._memory.lengths, strict=True):
            length = len(text.generation.prompt) + len(text.generation.tokens)
            if length != known + 1:
                raise StateError(
                    "a generation has not got its one token; append it, or remove the generation"
                )
            if length > self.context:
                raise StateError(f"a generation fills the context of {self.context} tokens; remove it")

    def _begin(self, prompt: Prompt) -> None:
        """All of it is read: from now on its text runs."""
        self._reading.remove(prompt)
        self._memory.append(prompt.memory)
        self._running.append(prompt.text)
        self._changes = None

    @torch.no_grad()
    def remove(self, generation: Generation) -> None:
        """See `Engine`. Nothing happens when it is not here."""
        self._reading = [one for one in self._reading if one.text.generation is not generation]
        for row, text in enumerate(self._running):
            if text.generation is generation:
                self._memory.drop(row)
                self._running[row] = self._running[-1]
                del self._running[-1]
                self._changes = None
                return

    @torch.no_grad()
    def close(self) -> None:
        """Forget every generation. Nothing happens the second time."""
        self._memory.clear()
        self._ready.clear()
        self._running, self._reading, self._changes = [], [], None


def _chunks(reading: Sequence[Prompt]) -> list[Chunk]:
    """What is read in a step: each prompt gets the same share, and what one does not need is for the others."""
    chunks, left = [], _READ
    for before, prompt in enumerate(sorted(reading, key=_most)):
        share = max(1, left // (len(reading) - before))
        chunks.append(Chunk(prompt, min(share, _most(prompt))))
        left -= chunks[-1].count
    return chunks


def _most(prompt: Prompt) -> int:
    """How many tokens of it can be read in a step."""
    left = len(prompt.ids) - prompt.read
    return left if prompt.text.generation.read is None else min(left, _SCORED)


def _hand_out(chunks: Sequence[Chunk], logits: Logits) -> list[Logits]:
    """Give each prompt those logits of a step that are its own; returns those after prompts that were read whole."""
    ends, at = [], 0
    for chunk in chunks:
        told, at = logits[at : at + chunk.told], at + chunk.told
        read = chunk.prompt.text.generation.read
        if read is not None:
            read.append(told[:-1] if chunk.ends else told)
        if chunk.ends:
            ends.append(told[-1])
    return ends
