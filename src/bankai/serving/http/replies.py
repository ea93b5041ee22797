"""What the server answers, in the shapes of OpenAI's API, as documents for JSON.

Contract: a reply is given whole, or as the chunks of a stream that add up to it; both have the base's fingerprint and
the digests of the patches in `system_fingerprint`.
"""

import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from secrets import token_hex
from typing import Any

from transformers import PreTrainedTokenizerBase

from bankai.library.entries import Entry
from bankai.model.sampling import Choice
from bankai.model.token_bytes import Offsets, is_hidden, spell, token_bytes
from bankai.serving.catalog import SEPARATOR, Catalog, Served
from bankai.serving.scheduler import Finish

__all__ = ["ChatReply", "CompletionReply", "Echo", "Reply", "Usage", "error", "models"]

Document = dict[str, Any]
Usage = tuple[int, int]
"""Tokens of the prompt, and of the text."""


@dataclass(frozen=True, slots=True)
class Echo:
    """The text of a prompt that an answer begins with, and where each token of the prompt begins in it."""

    text: str
    offsets: tuple[int, ...]


def error(message: str, kind: str, code: str | None = None, param: str | None = None) -> Document:
    """Of a request that failed."""
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def models(catalog: Catalog, entries: Sequence[Entry], started: int) -> list[Document]:
    """The base, and each patch on it."""
    base = {"id": catalog.base, "object": "model", "created": started, "owned_by": "bankai", "parent": None}
    patched = (
        base
        | {
            "id": f"{catalog.base}{SEPARATOR}{entry.name}",
            "created": int(datetime.fromisoformat(entry.added).timestamp()),
            "parent": catalog.base,
            "patch": entry.digest,
            "flips": entry.flips,
        }
        for entry in entries
    )
    return [base, *patched]


class Reply(ABC):
    """To one request. `top` tells whether log-probabilities are wanted."""

    _kind: str
    _chunk_kind: str
    _prefix: str

    def __init__(
        self, base: str, served: Served, tokenizer: PreTrainedTokenizerBase, top: int | None
    ) -> None:
        self._tokenizer, self._wanted = tokenizer, top is not None
        self._head = {
            "id": f"{self._prefix}-{token_hex(12)}",
            "created": int(time.time()),
            "model": SEPARATOR.join((base, *served.names)),
            "system_fingerprint": served.key,
        }

    def whole(self, text: str, choices: Sequence[Choice], finish: Finish, usage: Usage) -> Document:
        """All of it."""
        body = self._whole(text) | self._rest(choices, finish)
        return self._head | {"object": self._kind, "choices": [body], "usage": _usage(usage)}

    def opening(self) -> Iterator[Document]:
        """Chunks before the first text."""
        yield from ()

    def chunk(self, text: str, choices: Sequence[Choice], finish: Finish | None) -> Document:
        """The next text of a stream."""
        body = self._part(text) | self._rest(choices, finish)
        return self._head | {"object": self._chunk_kind, "choices": [body]}

    def closing(self, usage: Usage) -> Document:
        """The chunk after the last text, for those who want it."""
        return self._head | {"object": self._chunk_kind, "choices": [], "usage": _usage(usage)}

    def _rest(self, choices: Sequence[Choice], finish: Finish | None) -> Document:
        log_probabilities = self._log_probabilities(choices) if self._wanted else None
        return {"index": 0, "logprobs": log_probabilities, "finish_reason": finish}

    def _bytes(self, token: int) -> bytes:
        return token_bytes(self._tokenizer, token)

    @abstractmethod
    def _whole(self, text: str) -> Document: ...

    @abstractmethod
    def _part(self, text: str) -> Document: ...

    @abstractmethod
    def _log_probabilities(self, choices: Sequence[Choice]) -> Document: ...


class ChatReply(Reply):
    """To a chat."""

    _kind, _chunk_kind, _prefix = "chat.completion", "chat.completion.chunk", "chatcmpl"

    def opening(self) -> Iterator[Document]:
        """See `Reply`."""
        delta = {"role": "assistant", "content": ""}
        yield self.chunk("", (), None) | {"choices": [{"delta": delta} | self._rest((), None)]}

    def _whole(self, text: str) -> Document:
        return {"message": {"role": "assistant", "content": text, "refusal": None}}

    def _part(self, text: str) -> Document:
        return {"delta": {"content": text} if text else {}}

    def _log_probabilities(self, choices: Sequence[Choice]) -> Document:
        content = [
            self._likely(choice.token, choice.log_probability)
            | {"top_logprobs": [self._likely(*other) for other in choice.top]}
            for choice in choices
        ]
        return {"content": content, "refusal": None}

    def _likely(self, token: int, log_probability: float | None) -> Document:
        data = self._bytes(token)
        return {"token": spell(data), "logprob": log_probability, "bytes": list(data)}


class CompletionReply(Reply):
    """To a prompt."""

    _kind, _chunk_kind, _prefix = "text_completion", "text_completion", "cmpl"

    def __init__(
        self,
        base: str,
        served: Served,
        tokenizer: PreTrainedTokenizerBase,
        top: int | None,
        echo: Echo | None = None,
    ) -> None:
        super().__init__(base, served, tokenizer, top)
        self._echo = echo or Echo("", ())
        self._of_prompt = iter(self._echo.offsets)
        self._offsets = Offsets(len(self._echo.text))

    def opening(self) -> Iterator[Document]:
        """See `Reply`."""
        if self._echo.text:
            yield self.chunk(self._echo.text, (), None)

    def _whole(self, text: str) -> Document:
        return {"text": self._echo.text + text}

    def _part(self, text: str) -> Document:
        return {"text": text}

    def _log_probabilities(self, choices: Sequence[Choice]) -> Document:
        return {
            "tokens": [spell(self._bytes(choice.token)) for choice in choices],
            "token_logprobs": [choice.log_probability for choice in choices],
            "top_logprobs": [self._top(choice) for choice in choices],
            "text_offset": [self._offset(choice.token) for choice in choices],
        }

    def _top(self, choice: Choice) -> Document | None:
        """By spelling; of tokens that spell alike the less likely ones go by their number."""
        if choice.log_probability is None:
            return None
        found: Document = {}
        for token, value in choice.top:
            text = spell(self._bytes(token))
            found[f"token_id:{token}" if text in found else text] = value
        return found

    def _offset(self, token: int) -> int:
        """Of the next token, first of those of the prompt: in the text that is shown."""
        of_prompt = next(self._of_prompt, None)
        if of_prompt is not None:
            return of_prompt
        return self._offsets.place(b"" if is_hidden(self._tokenizer, token) else self._bytes(token))


def _usage(usage: Usage) -> Document:
    prompt, text = usage
    return {"prompt_tokens": prompt, "completion_tokens": text, "total_tokens": prompt + text}
