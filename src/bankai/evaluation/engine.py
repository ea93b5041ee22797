"""What evaluation asks of a model, whatever computes it: logits of token ids, and what rests on them.

Scoring adds up the tokens of an answer; a trace keeps them apart, because the place matters where a model leaves an
answer.
"""

import math
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from bankai.errors import NotFiniteError
from bankai.evaluation.scoring import ProbeScore, token_scores
from bankai.model.generation import Step, Writer, write
from bankai.model.sampling import Logits, Sampler
from bankai.model.text_stream import TextStream
from bankai.model.tokenizer import end_tokens
from bankai.probes.encode import EncodedAnswer, encode
from bankai.probes.probe import Probe
from bankai.steps import StepListener, ignore_steps

__all__ = ["Engine", "Reply", "Trace"]


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
    def margin(self) -> float:
        return min(self.margins)

    @property
    def solved(self) -> bool:
        """Greedy decoding emits all of it."""
        return self.margin > 0

    @property
    def agreed(self) -> int:
        """Tokens that greedy decoding emits before it leaves the answer."""
        wrong = (index for index, margin in enumerate(self.margins) if margin <= 0)
        return next(wrong, len(self.margins))


class Reply(NamedTuple):
    """Text before the stop; `whole` when the model came to it or ended its text."""

    text: str
    whole: bool


class Engine(ABC):
    """A model in an engine that reads one sequence at a time; those that read several override what they can do better.

    `context`: most tokens of a text. `batch`: texts that are continued side by side. Whatever goes by index may come in
    any order.
    """

    tokenizer: PreTrainedTokenizerBase
    context: int
    batch: ClassVar[int] = 1

    @abstractmethod
    def logits(self, ids: Sequence[int]) -> NDArray[np.float32]:
        """Next-token logits after every token: [tokens, vocab]."""

    def step(self) -> Step:
        """What continues texts that begin now; here each is read again from its beginning for every token."""
        texts: dict[int, list[int]] = defaultdict(list)

        def step(new: Sequence[Sequence[int]]) -> Sequence[Logits]:
            for index, tokens in enumerate(new):
                texts[index] += tokens
            return [self.logits(ids)[-1] for ids in texts.values()]

        return step

    def traces(self, answers: Sequence[EncodedAnswer]) -> Iterator[tuple[int, Trace]]:
        """Each answer's index and trace."""
        for index, answer in enumerate(answers):
            logits = torch.from_numpy(self.logits(answer.ids[:-1])[answer.answer_start - 1 :])
            log_probs, margins = token_scores(logits, torch.tensor(answer.targets))
            yield index, Trace(tuple(log_probs.tolist()), tuple(margins.tolist()))

    def score(self, probes: Sequence[Probe], listen: StepListener = ignore_steps) -> list[ProbeScore]:
        """One score per probe, in their order, each the best over its answers."""
        encoded = [encode(probe, self.tokenizer) for probe in probes]
        answers = [answer for alternates in encoded for answer in alternates]
        traces: dict[int, Trace] = {}
        for index, trace in self.traces(answers):
            traces[index] = trace
            listen("reading answers", len(traces), len(answers))
        in_order = (traces[index] for index in range(len(traces)))
        found = [[next(in_order) for _ in alternates] for alternates in encoded]
        return [
            ProbeScore(max(trace.score for trace in some), max(trace.margin for trace in some))
            for some in found
        ]

    def replies(
        self,
        contexts: Sequence[Sequence[int]],
        stops: Sequence[tuple[str, ...]],
        max_tokens: int,
        *,
        temperature: float = 0.0,
        seed: int = 0,
    ) -> Iterator[tuple[int, Reply]]:
        """Each context's index, and what the model says after it in at most `max_tokens` tokens, special ones shown.

        `stops`: the texts of which the first ends the reply, for each context. With a temperature the tokens are drawn,
        for each context by the seed and its index.
        """
        order = sorted(range(len(contexts)), key=lambda index: len(contexts[index]))
        for first in range(0, len(order), self.batch):
            chosen = order[first : first + self.batch]
            samplers = [Sampler(temperature, seed=seed * 2**32 + index) for index in chosen]
            said = self._say(
                [contexts[index] for index in chosen],
                [stops[index] for index in chosen],
                max_tokens,
                samplers,
            )
            yield from zip(chosen, said, strict=True)

    def _say(
        self,
        contexts: Sequence[Sequence[int]],
        stops: Sequence[tuple[str, ...]],
        max_tokens: int,
        samplers: Sequence[Sampler],
    ) -> list[Reply]:
        ends = end_tokens(self.tokenizer)
        writers = [
            Writer(
                sampler,
                TextStream(self.tokenizer, some, special=True),
                ends,
                min(max_tokens, self.context - len(ids)),
            )
            for ids, some, sampler in zip(contexts, stops, samplers, strict=True)
        ]
        replies = [Reply("", False)] * len(contexts)
        for index, written in write(self.step(), contexts, writers):
            text = replies[index].text + written.text
            replies[index] = Reply(text, written.ending in ("end", "stop"))
        return replies
