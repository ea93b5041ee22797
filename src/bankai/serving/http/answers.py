"""Pieces of a text to what is sent: a document, or server-sent events."""

from collections.abc import AsyncIterator

import msgspec

from bankai.errors import ServingError
from bankai.model.sampling import Choice
from bankai.serving.http.intake import Accepted
from bankai.serving.http.replies import Document, error
from bankai.serving.scheduler import Piece

__all__ = ["events", "whole"]

_DONE = b"data: [DONE]\n\n"


async def whole(pieces: AsyncIterator[Piece], accepted: Accepted) -> Document:
    """The answer, when all of it is there."""
    texts: list[str] = []
    prompt: list[Choice] = []
    choices: list[Choice] = []
    async for piece in pieces:
        texts.append(piece.text)
        prompt += piece.prompt
        choices += piece.choices
        if piece.finish:
            usage = _usage(accepted, len(choices))
            return accepted.reply.whole("".join(texts), [*prompt, *choices], piece.finish, usage)
    raise AssertionError("a stream ends with a reason")


async def events(
    first: Piece, rest: AsyncIterator[Piece], accepted: Accepted, wants_usage: bool
) -> AsyncIterator[bytes]:
    """The answer while it comes. An error in between is the last event, and no mark of the end follows it."""
    reply, waiting, tokens = accepted.reply, list[Choice](), 0
    for document in reply.opening():
        yield _event(document)
    try:
        async for piece in _chain(first, rest):
            tokens += len(piece.choices)
            waiting += [*piece.prompt, *piece.choices]
            if piece.text or piece.finish:
                yield _event(reply.chunk(piece.text, waiting, piece.finish))
                waiting = []
    except ServingError as failure:
        yield _event(error(str(failure), "server_error"))
        return
    if wants_usage:
        yield _event(reply.closing(_usage(accepted, tokens)))
    yield _DONE


async def _chain(first: Piece, rest: AsyncIterator[Piece]) -> AsyncIterator[Piece]:
    yield first
    if not first.finish:
        async for piece in rest:
            yield piece


def _event(document: Document) -> bytes:
    return b"data: " + msgspec.json.encode(document) + b"\n\n"


def _usage(accepted: Accepted, tokens: int) -> tuple[int, int]:
    return len(accepted.job.prompt), tokens
