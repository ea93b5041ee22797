"""Generations with a patch each on stock llama.cpp: bits swapped between its batches, in a private copy of the model.

Generations of the patch that is on advance together; those of other patches wait for their turn, which is a few steps
long. The KV cache of each stays in a sequence of its own, computed under its own patch only.

Logits are bit for bit those of the same prompt alone on a fresh llama.cpp with the patched file: see `_Llama` for the
settings that make them so. Importing this module needs llama-cpp-python, not torch.
"""

import logging
import os
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import llama_cpp
import numpy as np

from bankai.architectures import architecture
from bankai.architectures.base import FULL_ATTENTION
from bankai.checkpoint.model_file import open_checkpoint
from bankai.errors import EngineError, StateError, UnsupportedModelError
from bankai.model.sampling import Logits
from bankai.patch import Flip, Patch
from bankai.serving.engine import Generation
from bankai.serving.engines.kv_slots import Slot, Slots
from bankai.serving.engines.private_model import PrivateModel

__all__ = ["LlamaEngine"]

_CHUNK = 512  # tokens that llama.cpp computes together of a prompt alone
_PIECE = 32  # tokens of a prompt in a step: bounds how long the others wait for it
_COPIED = 256  # llama.cpp copies a sequence whole, which takes less time than to compute this part of it
_PAD = 256  # llama.cpp rounds the context of a sequence up to this
_CACHE_BYTES = 2 << 30  # of the KV cache, where nobody says what the context should be
_HALF = 2  # bytes of an f16 key or value
_PROBED = 64  # rows


@dataclass(eq=False)
class _Work:
    """A generation, how long it was at first, and the slot that it has from its first step on."""

    generation: Generation
    prompt: int
    slot: Slot | None = None

    @property
    def done(self) -> int:
        """Tokens that are in the KV cache."""
        return len(self.slot.tokens) if self.slot else 0


class LlamaEngine:
    """Implements :class:`bankai.serving.engine.Engine` on a GGUF model.

    `kept`: slots of the KV cache beyond those of the `places`, for prompts that may come again; a hybrid has none.
    `context`: by default the model's, as far as the KV cache stays below 2 GiB. `threads`: by default as many as we may
    have cores. `folder`: see `PrivateModel`. `turn`: steps of one patch while others wait. Raises
    UnsupportedModelError, StoreError, EngineError when there is no memory, and what opening a model raises.
    """

    def __init__(
        self,
        source: str | Path,
        *,
        places: int = 16,
        kept: int = 4,
        context: int | None = None,
        threads: int | None = None,
        folder: str | Path | None = None,
        turn: int = 4,
    ) -> None:
        with open_checkpoint(source) as checkpoint:
            arch = architecture(checkpoint.architecture)
            arch.check_llama_cpp(checkpoint.config)
            recurrent = arch.recurrent
            kept = 0 if recurrent else kept
        with ExitStack() as stack:
            self._model = PrivateModel(source, folder)
            stack.callback(self._model.close)
            config = self._model.checkpoint.config
            self.places = places
            self.context = min(
                config["max_position_embeddings"], context or _affordable(config, places + kept)
            )
            self._llama = _Llama(self._model.path, places + kept, self.context, threads or _cores())
            stack.callback(self._llama.close)
            self.vocabulary = self._llama.vocabulary
            self._check_reach()
            worth = max(1, self.context // _COPIED)
            self._slots = Slots(places + kept, _PIECE, _CHUNK, worth, recurrent=recurrent)
            self._works: dict[str, list[_Work]] = {}  # by key; the first has its turn
            self._turn, self._steps = turn, 0
            self._held = stack.pop_all()

    def add(self, generation: Generation) -> None:
        """See the protocol. Raises WrongBaseError and PlaceError for a patch that does not fit, ValueError for no
        prompt, one that fills the context, no free place, and a key that has another patch.
        """
        if sum(map(len, self._works.values())) >= self.places:
            raise ValueError(f"all {self.places} places are taken; remove a generation first")
        length = len(generation.ids)
        if not 0 < length < self.context:
            raise ValueError(f"the prompt has {length} tokens; give at least 1 and less than {self.context}")
        works = self._works.get(generation.key, [])
        if works and works[0].generation.patch != generation.patch:
            raise ValueError("two patches under one key; what is kept under it would be of two models")
        self._model.check(generation.patch)
        self._works[generation.key] = [*works, _Work(generation, length)]

    def step(self) -> Sequence[tuple[Generation, Logits]]:
        """See the protocol. Raises EngineError when llama.cpp fails, or a swap: then nothing is computed any more."""
        self._check()
        if not self._works:
            return []
        works = self._next()
        self._model.put_on(works[0].generation.patch)
        going = [work for work in works if work.done >= work.prompt]
        return [*self._read(works), *self._advance(going)]

    def remove(self, generation: Generation) -> None:
        """See the protocol. What was computed of its prompt may serve another one of the same key."""
        works = self._works.get(generation.key, [])
        work = next((one for one in works if one.generation is generation), None)
        if work is None:
            return
        works.remove(work)
        if work.slot:
            self._slots.release(work.slot)
        if not works:
            if next(iter(self._works)) == generation.key:
                self._steps = 0  # the next one's turn begins
            del self._works[generation.key]

    def close(self) -> None:
        """See the protocol."""
        self._works.clear()
        self._held.close()

    def _check(self) -> None:
        """Every text whose logits were told has got one token, for which there is room."""
        for work in (work for works in self._works.values() for work in works):
            length = len(work.generation.ids)
            if work.done >= work.prompt and length != work.done + 1:
                raise StateError(
                    "a generation has not got its one token; append it, or remove the generation"
                )
            if length > self.context:
                raise StateError(f"a generation fills the context of {self.context} tokens; remove it")

    def _next(self) -> list[_Work]:
        """Those of the key whose turn it is; after its turn a key is the last."""
        if self._steps >= self._turn:
            key = next(iter(self._works))
            self._works[key] = self._works.pop(key)
            self._steps = 0
        self._steps += 1
        return next(iter(self._works.values()))

    def _read(self, works: Sequence[_Work]) -> list[tuple[Generation, Logits]]:
        """Compute a piece of the first prompt that has not been read; its logits, if it has been then."""
        work = next((work for work in works if work.done < work.prompt), None)
        if work is None:
            return []
        ids = work.generation.ids
        read = work.generation.read
        slot = work.slot = work.slot or self._begin(work.generation)
        start, end = len(slot.tokens), self._slots.end(len(slot.tokens), len(ids))
        ends = end == len(ids)
        wanted = range(end - start) if read is not None else [end - start - 1] if ends else []
        logits = self._llama.decode([(slot.number, at, ids[at]) for at in range(start, end)], wanted)
        slot.read(ids[start:end])
        if read is not None:
            read.append(np.stack(logits)[: len(logits) - ends])
        return [(work.generation, logits[-1])] if ends else []

    def _begin(self, generation: Generation) -> Slot:
        """A slot, with as much of the text as was computed before under this key and need not be told."""
        found = self._slots.take(generation.key, generation.ids, again=generation.read is None)
        if found.source is not found.slot:
            self._llama.copy(found.source.number, found.slot.number)
        self._llama.cut(found.slot.number, found.kept)
        return found.slot

    def _advance(self, works: Sequence[_Work]) -> list[tuple[Generation, Logits]]:
        """Compute the token that each was given last, by slots: llama.cpp computes only neighbors in order together."""
        if not works:
            return []
        pairs = [(work.slot, work.generation) for work in works if work.slot]
        pairs.sort(key=lambda pair: pair[0].number)
        batch = [(slot.number, len(slot.tokens), generation.ids[-1]) for slot, generation in pairs]
        logits = self._llama.decode(batch, range(len(batch)))
        for slot, generation in pairs:
            slot.tokens.append(generation.ids[-1])
        return list(zip((generation for _, generation in pairs), logits, strict=True))

    def _check_reach(self) -> None:
        """Raises UnsupportedModelError unless llama.cpp computes with the very bits that we change."""
        matrices = self._model.checkpoint.matrices
        name = next(name for name in reversed([*matrices]) if name.endswith("mlp.down_proj"))
        rows = range(min(_PROBED, matrices[name].rows))
        found = []
        for patch in (Patch.empty(), Patch.of(Flip(name, row) for row in rows), Patch.empty()):
            self._model.put_on(patch)
            found.append(self._llama.decode([(0, 0, 0)], [0])[0].tobytes())
            self._llama.cut(0, 0)
        if found[0] == found[1] or found[0] != found[2]:
            raise UnsupportedModelError(
                "llama.cpp does not compute with the mapped file on this machine; use the torch engine"
            )


class _Llama:
    """A model and a context of llama.cpp: sequences of tokens with positions in, logits out.

    What a sequence gets does not depend on the others, bit for bit. On the CPU each token is rounded by itself and
    each output is a sum of its own, in one order; three settings keep it so (what happens without is in
    `docs/log.md`). No flash attention: its sums depend on how many tokens are in the batch. A KV buffer for each
    sequence: in a shared one the cells of others stand between. And a prompt is not mixed with other texts: llama.cpp
    would cut its first token off, and computes one token otherwise than several.
    """

    def __init__(self, path: str, sequences: int, context: int, threads: int) -> None:
        logging.getLogger("llama-cpp-python").setLevel(logging.CRITICAL)  # it takes warnings for errors
        if sequences > (most := llama_cpp.llama_max_parallel_sequences()):
            raise EngineError(
                f"llama.cpp has at most {most} sequences, not {sequences}; ask for fewer places"
            )
        llama_cpp.llama_backend_init()
        self._model = llama_cpp.llama_model_load_from_file(os.fsencode(path), _in_place())
        if not self._model:
            raise UnsupportedModelError("llama.cpp does not load the model; use the torch engine")
        settings = llama_cpp.llama_context_default_params()
        settings.n_ctx = -(-context // _PAD) * _PAD * sequences
        settings.n_seq_max = sequences
        settings.n_batch = settings.n_ubatch = _CHUNK
        settings.n_threads = settings.n_threads_batch = threads
        settings.flash_attn_type = llama_cpp.LLAMA_FLASH_ATTN_TYPE_DISABLED
        settings.kv_unified = settings.offload_kqv = settings.op_offload = False
        self._context = llama_cpp.llama_init_from_model(self._model, settings)
        if not self._context:
            llama_cpp.llama_model_free(self._model)
            raise EngineError(
                f"llama.cpp has no memory for {sequences} sequences of {context} tokens; ask for fewer places or a "
                "smaller context"
            )
        self._memory = llama_cpp.llama_get_memory(self._context)
        self._batch = llama_cpp.llama_batch_init(_CHUNK, 0, 1)
        self.vocabulary = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(self._model))

    def decode(self, tokens: Sequence[tuple[int, int, int]], wanted: Sequence[int]) -> list[Logits]:
        """Compute tokens, given as sequence, position and id; logits after those at the places `wanted`."""
        batch = self._batch
        batch.n_tokens = len(tokens)
        for at, (sequence, position, token) in enumerate(tokens):
            batch.token[at], batch.pos[at] = token, position
            batch.n_seq_id[at], batch.seq_id[at][0] = 1, sequence
            batch.logits[at] = at in wanted
        if code := llama_cpp.llama_decode(self._context, batch):
            raise EngineError(
                f"llama.cpp failed at {len(tokens)} tokens (code {code}); restart if it does so again"
            )
        rows = [llama_cpp.llama_get_logits_ith(self._context, at) for at in wanted]
        return [np.ctypeslib.as_array(row, (self.vocabulary,)).copy() for row in rows]

    def copy(self, source: int, target: int) -> None:
        """All that one sequence holds to another one."""
        llama_cpp.llama_memory_seq_rm(self._memory, target, -1, -1)
        llama_cpp.llama_memory_seq_cp(self._memory, source, target, -1, -1)

    def cut(self, sequence: int, length: int) -> None:
        """Forget all but its first tokens."""
        llama_cpp.llama_memory_seq_rm(self._memory, sequence, length, -1)

    def close(self) -> None:
        """Free it all; not twice."""
        llama_cpp.llama_batch_free(self._batch)
        llama_cpp.llama_free(self._context)
        llama_cpp.llama_model_free(self._model)


def _in_place() -> Any:
    """Weights computed with where they lie in the map: neither copied, nor packed anew, nor sent to a GPU."""
    settings = llama_cpp.llama_model_default_params()
    settings.load_mode = llama_cpp.LLAMA_LOAD_MODE_MMAP
    settings.use_extra_bufts = False
    settings.n_gpu_layers = 0
    return settings


def _affordable(config: dict[str, Any], sequences: int) -> int:
    """The largest context for which the KV cache of all sequences fits into its share of memory."""
    layers = architecture(config["model_type"]).layer_kinds(config).count(FULL_ATTENTION)
    token: int = 2 * _HALF * layers * config["num_key_value_heads"] * config["head_dim"]
    return max(1, _CACHE_BYTES // (token * sequences * _PAD)) * _PAD


def _cores() -> int:
    """Those that this process may run on, where the system tells."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
