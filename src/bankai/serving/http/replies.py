"""What the server answers, in the shapes of OpenAI's API, as documents for JSON.

Contract: a reply is given whole, or as the chunks of a stream that add up to it; both have the base's fingerprint and
the digests of the patches in `system_fingerprint`.
"""

import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from datetime import datetime
from secrets import token_hex
from typing import Any

from transformers import PreTrainedTokenizerBase

from bankai.library.entries import Entry
from bankai.model.sampling import Choice
from bankai.serving.catalog import SEPARATOR, Catalog, Served
from bankai.serving.scheduler import Finish

__all__ = ["ChatReply", "CompletionReply", "Reply", "Usage", "error", "models"]

Document = dict[str, Any]
Usage = tuple[int, int]
"""Tokens of the prompt, and of the text."""

_CUT = "\ufffd"  # in a token that holds a piece of a character


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

    def _spell(self, token: int) -> str:
        return str(self._tokenizer.decode([token]))

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
        text = self._spell(token)
        return {
            "token": text,
            "logprob": log_probability,
            "bytes": None if _CUT in text else list(text.encode()),
        }


class CompletionReply(Reply):
    """To a prompt."""

    _kind, _chunk_kind, _prefix = "text_completion", "text_completion", "cmpl"
    _offset = 0  # of the next token in the text

    def _whole(self, text: str) -> Document:
        return {"text": text}

    _part = _whole

    def _log_probabilities(self, choices: Sequence[Choice]) -> Document:
        tokens, offsets = [self._spell(choice.token) for choice in choices], []
        for token in tokens:
            offsets.append(self._offset)
            self._offset += len(token)
        return {
            "tokens": tokens,
            "token_logprobs": [choice.log_probability for choice in choices],
            "top_logprobs": [
                {self._spell(token): value for token, value in choice.top} for choice in choices
            ],
            "text_offset": offsets,
        }


def _usage(usage: Usage) -> Document:
    prompt, text = usage
    return {"prompt_tokens": prompt, "completion_tokens": text, "total_tokens": prompt + text}
