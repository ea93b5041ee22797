"""What a model says to probes, in any engine: every token of an answer judged, and greedy replies.

Scoring adds the tokens of an answer up; here the place matters where a model leaves it. Does not know: patches.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from bankai.checkpoint.model_file import open_checkpoint
from bankai.errors import NotFiniteError
from bankai.evaluation.engines import EngineName, TorchEngine, open_engine
from bankai.evaluation.scoring import answer_hidden, prepare_encoded, token_scores
from bankai.probes.encode import EncodedAnswer

__all__ = ["Reader", "Reply", "Stop", "Trace", "open_reader", "read_loaded"]

REPLY_BATCH = 16
Stop = str | tuple[str, ...]
"""What ends a reply: a text, or any of several."""


@dataclass(frozen=True, slots=True)
class Trace:
    """Log-probability (nats) and margin of each token of an answer and its stop.

    Raises NotFiniteError when they are not numbers.
    """

    log_probs: tuple[float, ...]
    margins: tuple[float, ...]

    def __post_init__(self) -> None:
        if not math.isfinite(self.score):
            raise NotFiniteError

    @property
    def score(self) -> float:
        return sum(self.log_probs)

    @property
    def solved(self) -> bool:
        """Greedy decoding emits all of it."""
        return min(self.margins) > 0

    @property
    def agreed(self) -> int:
        """Tokens that greedy decoding emits before it leaves the answer."""
        wrong = (index for index, margin in enumerate(self.margins) if margin <= 0)
        return next(wrong, len(self.margins))


class Reply(NamedTuple):
    """Greedy text before the stop; `whole` when the model came to it or ended its turn."""

    text: str
    whole: bool


class Reader:
    """An engine that takes one sequence at a time. Indices are those of what was given; any order."""

    def __init__(self, engine: Any, longest: int) -> None:
        self.engine, self.longest = engine, longest
        self.tokenizer = engine.tokenizer

    def traces(self, answers: Sequence[EncodedAnswer]) -> Iterator[tuple[int, Trace]]:
        """Each answer's index and trace."""
        for index, answer in enumerate(answers):
            logits = torch.from_numpy(self.engine.logits(answer.ids[:-1])[answer.answer_start - 1 :])
            log_probs, margins = token_scores(logits, torch.tensor(answer.targets))
            yield index, Trace(tuple(log_probs.tolist()), tuple(margins.tolist()))

    def replies(
        self, contexts: Sequence[Sequence[int]], stops: Sequence[Stop], max_tokens: int
    ) -> Iterator[tuple[int, Reply]]:
        """Each context's index, and what the model says after it in at most ``max_tokens`` tokens."""
        for index, (context, stop) in enumerate(zip(contexts, stops, strict=True)):
            new: list[int] = []
            reply = Reply("", False)
            while not reply.whole and len(new) < min(max_tokens, self.longest - len(context)):
                new.append(int(np.argmax(self.engine.logits([*context, *new])[-1])))
                reply = self._cut(new, stop)
            yield index, reply

    def _cut(self, new: list[int], stop: Stop) -> Reply:
        end = self.tokenizer.eos_token_id
        ended = end in new
        said = new[: new.index(end)] if ended else new
        text = self.tokenizer.decode(said, skip_special_tokens=False)
        stops = (stop,) if isinstance(stop, str) else stop
        found = [at for one in stops if (at := text.find(one)) >= 0]
        return Reply(text[: min(found, default=len(text))], ended or bool(found))


class _TorchReader(Reader):
    """The same in batches."""

    @torch.no_grad()
    def traces(self, answers: Sequence[EncodedAnswer]) -> Iterator[tuple[int, Trace]]:
        model = self.engine.model
        for batch in prepare_encoded([[answer] for answer in answers]).batches:
            log_probs, margins = token_scores(model.lm_head(answer_hidden(model, batch)), batch.targets)
            owners = batch.owners.to(margins.device)
            for owner in owners.unique().tolist():
                mine = owners == owner  # in the order of the answer's tokens
                yield owner, Trace(tuple(log_probs[mine].tolist()), tuple(margins[mine].tolist()))

    def replies(
        self, contexts: Sequence[Sequence[int]], stops: Sequence[Stop], max_tokens: int
    ) -> Iterator[tuple[int, Reply]]:
        order = sorted(range(len(contexts)), key=lambda index: len(contexts[index]))
        for first in range(0, len(order), REPLY_BATCH):
            chosen = order[first : first + REPLY_BATCH]
            said = self._say([contexts[i] for i in chosen], [stops[i] for i in chosen], max_tokens)
            yield from zip(chosen, said, strict=True)

    @torch.no_grad()
    def _say(self, contexts: Sequence[Sequence[int]], stops: Sequence[Stop], max_tokens: int) -> list[Reply]:
        """One batch, padded on the left, until every reply is whole."""
        width, device = max(map(len, contexts)), self.engine.model.device
        step = torch.tensor([[0] * (width - len(ids)) + [*ids] for ids in contexts])  # [rows, width], then 1
        mask = torch.tensor([[0] * (width - len(ids)) + [1] * len(ids) for ids in contexts])
        new: list[list[int]] = [[] for _ in contexts]
        replies, cache = [Reply("", False) for _ in contexts], None
        while not all(reply.whole for reply in replies) and len(new[0]) < min(
            max_tokens, self.longest - width
        ):
            places = (mask.cumsum(1) - 1).clamp(min=0)[:, -step.shape[1] :]
            output = self.engine.model(
                input_ids=step.to(device),
                attention_mask=mask.to(device),
                position_ids=places.to(device),
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1,
            )
            cache = output.past_key_values
            step = output.logits[:, -1].argmax(-1, keepdim=True).cpu()
            mask = torch.cat([mask, torch.ones_like(step)], 1)
            for tokens, token in zip(new, step[:, 0].tolist(), strict=True):
                tokens.append(token)
            replies = [self._cut(tokens, stop) for tokens, stop in zip(new, stops, strict=True)]
        return replies


def open_reader(
    name: EngineName, source: str | Path, *, device: str = "cpu", dtype: str = "float32"
) -> Reader:
    """A model file in the named engine. Raises what `open_engine` raises."""
    with open_checkpoint(source) as checkpoint:
        longest = checkpoint.config["max_position_embeddings"]
    engine = open_engine(name, source, device=device, dtype=dtype)
    return (_TorchReader if isinstance(engine, TorchEngine) else Reader)(engine, longest)


class _Loaded(NamedTuple):
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase


def read_loaded(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> Reader:
    """A loaded torch model, with whatever is on it at the time of reading."""
    return _TorchReader(_Loaded(model, tokenizer), model.config.max_position_embeddings)
