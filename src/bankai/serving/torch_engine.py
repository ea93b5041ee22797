"""Generations in one batch in which each has its own patch, over one set of weights: an `Engine` in torch.

Every step is one forward: the next token of each text that runs, and some tokens of those that are still read, so that
a long prompt neither waits for the others nor makes them wait for all of it. What was computed of a text is kept until
it leaves. A step that fails has changed nothing: remove what it failed for, and go on. In float32 greedy text is that
of the prompt and patch alone, unless two tokens are as likely up to rounding: a batch adds up in another order.

Every patch is served that the model has the places for. The model is read and never changed, and nobody else may change
it meanwhile. Does not know: HTTP, text, how a token is chosen.
"""

from collections import OrderedDict
from collections.abc import Mapping, Sequence

import torch
from transformers import PreTrainedModel

from bankai.errors import StateError
from bankai.model import PackedWeight
from bankai.serving.engine import Generation, Logits
from bankai.serving.torch_memory import Memory
from bankai.serving.torch_rows import Merged, PatchRows, merged, patch_rows
from bankai.serving.torch_step import Chunk, Step, Text, shape

__all__ = ["TorchEngine"]

_READ = 512  # tokens of prompts in a step: bounds its memory, and how long the others wait for it
_READY = 64  # patches of which the changed rows are kept


class TorchEngine:
    """Implements :class:`bankai.serving.engine.Engine` on a model of :func:`bankai.load`.

    `context` is that of the model, or less if given: there is memory for all places as soon as one text is long.
    """

    def __init__(self, model: PreTrainedModel, *, places: int = 16, context: int | None = None) -> None:
        if places < 1:
            raise ValueError("an engine needs at least one place")
        most = model.config.max_position_embeddings
        self.places, self.context = places, min(context or most, most)
        self.vocabulary: int = model.config.vocab_size
        self._model = model
        self._memory = Memory(shape(model), places, model.model.embed_tokens.packed.like)
        self._running: list[Text] = []  # row by row of the memory
        self._reading: list[Text] = []
        self._changes: Mapping[PackedWeight, Merged] | None = (
            None  # of those that run; None when others run now
        )
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
        self._reading.append(Text(generation, self._patch_rows(generation), ids))

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
        done = [chunk.text for chunk in chunks if chunk.ends]
        self._memory.reserve([len(text.ids) for text in done])
        if self._changes is None:
            self._changes = merged([text.patch for text in self._running])
        step = Step(self._model, self._memory, self._running, chunks, self._changes)
        logits = step.logits().float().cpu().numpy()
        self._memory.advance()
        for chunk in chunks:
            chunk.text.read = chunk.end
        for text in done:
            self._begin(text)
        return [(text.generation, row) for text, row in zip(self._running, logits, strict=True)]

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

    def _begin(self, text: Text) -> None:
        """From now on the text, all of which is read, runs."""
        self._reading.remove(text)
        self._memory.append(text.memory)
        self._running.append(text)
        text.memory = self._changes = None

    @torch.no_grad()
    def remove(self, generation: Generation) -> None:
        """See `Engine`. Nothing happens when it is not here."""
        self._reading = [text for text in self._reading if text.generation is not generation]
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


def _chunks(reading: Sequence[Text]) -> list[Chunk]:
    """What is read in a step: each text gets the same share, and what one does not need is for the others."""
    chunks, left = [], _READ
    for before, text in enumerate(sorted(reading, key=lambda text: len(text.ids) - text.read)):
        share = max(1, left // (len(reading) - before))
        chunks.append(Chunk(text, min(share, len(text.ids) - text.read)))
        left -= chunks[-1].count
    return chunks
