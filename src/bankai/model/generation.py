"""Text from a model, token by token: one loop for a text alone and for several side by side.

Greedy text agrees with `margin > 0`: both take the most probable token of the same logits.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from bankai.model.chat import render_chat
from bankai.model.sampling import Choice, Logits, Sampler
from bankai.model.text_stream import BROKEN, TextStream
from bankai.model.tokenizer import end_tokens, missing_template

__all__ = ["CachedStep", "Ending", "Step", "Writer", "Written", "prompt_ids", "stream", "write"]

Ending = Literal["end", "stop", "length"]
"""Why a text ended: a token that ends texts, a stop string, or the most tokens."""

Step = Callable[[Sequence[Sequence[int]]], Sequence[Logits]]
"""Takes the tokens that are new in each text, at first all of them, and gives the logits that follow each text."""


@dataclass(frozen=True, slots=True)
class Written:
    """What one step adds to a text: the token, and the text that is certain now and was not before.

    `text` is without the token that ends it and without the stop string.
    """

    choice: Choice
    text: str
    ending: Ending | None = None


class Writer:
    """Continues one text: chooses its tokens and knows when it ends.

    `ends`: the tokens that end it; `most`: the most tokens, with fewer than one it has ended before it begins.
    """

    def __init__(self, sampler: Sampler, stream: TextStream, ends: Collection[int], most: int) -> None:
        self._sampler, self._stream, self._ends, self._left = sampler, stream, ends, most
        self.ended = most < 1

    def advance(self, logits: Logits) -> Written:
        """Choose the next token. Raises NotFiniteError for logits that are not numbers."""
        choice = self._sampler.choose(logits)
        self._left -= 1
        text = "" if choice.token in self._ends else self._stream.push(choice.token)
        ending = self._ending(choice.token)
        if ending:
            self.ended, text = True, text + self._stream.flush()
        return Written(choice, text, ending)

    def _ending(self, token: int) -> Ending | None:
        if token in self._ends:
            return "end"
        if self._stream.stopped:
            return "stop"
        return None if self._left else "length"


def write(
    step: Step, contexts: Sequence[Sequence[int]], writers: Sequence[Writer]
) -> Iterator[tuple[int, Written]]:
    """Continue texts side by side until all have ended: gives the index of a text and what was added to it."""
    new = contexts
    while not all(writer.ended for writer in writers):
        chosen: list[Sequence[int]] = []
        for index, (writer, logits) in enumerate(zip(writers, step(new), strict=True)):
            if writer.ended:
                chosen.append((0,))  # keeps its place beside the others
                continue
            written = writer.advance(logits)
            chosen.append((written.choice.token,))
            yield index, written
        new = chosen


class CachedStep:
    """A :data:`Step` by a loaded model that keeps what it has computed. Texts are padded on the left.

    Bits of the model may change between two steps only if they have changed back before the next.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        self._model = model
        self._cache: Any = None
        self._mask: torch.Tensor | None = None  # [texts, tokens so far]

    @torch.no_grad()
    def __call__(self, new: Sequence[Sequence[int]]) -> Sequence[Logits]:
        width, device = max(map(len, new)), self._model.device
        ids = torch.tensor([[0] * (width - len(tokens)) + [*tokens] for tokens in new])  # [texts, width]
        mask = torch.tensor([[0] * (width - len(tokens)) + [1] * len(tokens) for tokens in new])
        self._mask = mask if self._mask is None else torch.cat([self._mask, mask], 1)
        positions = (self._mask.cumsum(1) - 1).clamp(min=0)[:, -width:]
        output = self._model(
            input_ids=ids.to(device),
            attention_mask=self._mask.to(device),
            position_ids=positions.to(device),
            past_key_values=self._cache,
            use_cache=True,
            logits_to_keep=1,
        )
        self._cache = output.past_key_values
        return output.logits[:, -1].float().cpu().numpy()


def prompt_ids(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, prompt: str, *, chat: bool = False
) -> list[int]:
    """The prompt as tokens; with `chat` as one user message in the model's chat template.

    Raises ValueError for an empty prompt, one that fills the context, and `chat` without a template,
    UnsupportedModelError for a template that fails.
    """
    if chat and not tokenizer.chat_template:
        raise ValueError(missing_template(tokenizer, "ask without it"))
    if chat:
        messages = [{"role": "user", "content": prompt}]
        prompt = render_chat(tokenizer, messages)
    ids = tokenizer(prompt, add_special_tokens=not chat)["input_ids"]
    context = model.config.max_position_embeddings
    if not 0 < len(ids) < context:
        raise ValueError(f"the prompt has {len(ids)} tokens; give at least 1 and less than {context}")
    return ids


def stream(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    ids: Sequence[int],
    *,
    max_tokens: int = 64,
    temperature: float = 0.0,
    seed: int = 0,
    stops: Sequence[str] = (),
) -> Iterator[str]:
    """Yield the continuation of `ids` as text, at most `max_tokens` tokens, until the model ends it or at a stop.

    A character that is cut off at the end is left out.
    """
    most = min(max_tokens, model.config.max_position_embeddings - len(ids))
    writer = Writer(
        Sampler(temperature, seed=seed), TextStream(tokenizer, stops), end_tokens(tokenizer), most
    )
    for _, written in write(CachedStep(model), [ids], [writer]):
        yield written.text.rstrip(BROKEN) if written.ending else written.text
