"""The HTTP of the server: the paths of OpenAI's API that it has.

Contract: every answer is the one of the asked patches, whose digests it carries, or an error. A client that goes away
is not computed for. What may be asked stands in `schemas` and `intake`, by whom in `door`.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from fastapi import APIRouter, Depends, FastAPI, Request, Response
from fastapi.responses import StreamingResponse
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send
from transformers import PreTrainedTokenizerBase

from bankai.serving.catalog import SEPARATOR, Catalog, Served
from bankai.serving.http.answers import events, whole
from bankai.serving.http.door import Door, json_response
from bankai.serving.http.intake import Intake
from bankai.serving.http.replies import Document, models
from bankai.serving.http.schemas import ChatRequest, CompletionRequest
from bankai.serving.scheduler import Piece, Scheduler, Stream

__all__ = ["PATCH_HEADER", "make_app"]

PATCH_HEADER = "X-Bankai-Patch"
"""Of an answer: the digests of its patches, joined by "+", or "base"."""

_READING = ["GET", "HEAD"]  # the server of HTTP leaves out the body of an answer to the latter

T = TypeVar("T")


def make_app(
    catalog: Catalog, scheduler: Scheduler, tokenizer: PreTrainedTokenizerBase, door: Door | None = None
) -> FastAPI:
    """The server's paths. The scheduler is entered when the server starts, and left when it ends."""
    door = door or Door()
    desk = _Desk(catalog, scheduler, Intake(catalog, tokenizer, *scheduler.limits), door)

    @asynccontextmanager
    async def running(_: FastAPI) -> AsyncIterator[None]:
        async with scheduler:
            yield

    # Without pages about the API: they load scripts from elsewhere.
    app = FastAPI(
        lifespan=running, openapi_url=None, redirect_slashes=False, dependencies=[Depends(door.check_host)]
    )
    app.add_api_route("/health", desk.health, methods=_READING)
    router = APIRouter(prefix="/v1", dependencies=[Depends(door.check_key)])
    router.add_api_route("/chat/completions", desk.chat, methods=["POST"])
    router.add_api_route("/completions", desk.complete, methods=["POST"])
    router.add_api_route("/models", desk.models, methods=_READING)
    router.add_api_route("/models/{name:path}", desk.model, methods=_READING)
    app.include_router(router)
    door.guard(app)
    return app


class _Desk:
    """Takes requests in, one method for each path."""

    def __init__(self, catalog: Catalog, scheduler: Scheduler, intake: Intake, door: Door) -> None:
        self._catalog, self._scheduler, self._intake, self._door = catalog, scheduler, intake, door
        self._started = int(time.time())

    async def health(self) -> Response:
        taken, room = self._scheduler.load
        stopping = self._scheduler.stopping
        document = {
            "status": "stopping" if stopping else "ok",
            "model": self._catalog.base,
            "texts": taken,
            "room": room,
        }
        return json_response(document, 503 if stopping else 200)

    async def models(self) -> Response:
        return json_response({"object": "list", "data": await self._listed()})

    async def model(self, request: Request) -> Response:
        """One of the list, or a stack."""
        name = request.scope["path"].removeprefix("/v1/models/")  # the router leaves out a last line end
        for found in await self._listed():
            if found["id"] == name:
                return json_response(found)
        served = await asyncio.to_thread(lambda: self._catalog.resolve(self._catalog.names(name)))
        stack = models(self._catalog, (), self._started)[0]
        return json_response(stack | {"id": name, "parent": self._catalog.base, "patch": _digests(served)})

    async def chat(self, request: Request) -> Response:
        return await self._answer(request, await self._door.read(request, ChatRequest))

    async def complete(self, request: Request) -> Response:
        return await self._answer(request, await self._door.read(request, CompletionRequest))

    async def _listed(self) -> list[Document]:
        entries = await asyncio.to_thread(self._catalog.entries)
        return models(self._catalog, entries, self._started)

    async def _answer(self, request: Request, asked: ChatRequest | CompletionRequest) -> Response:
        stream = self._scheduler.reserve()
        try:
            accepted = await asyncio.to_thread(self._intake.accept, asked)
            self._scheduler.start(stream, accepted.job)
            pieces, headers = aiter(stream), {PATCH_HEADER: _digests(accepted.served)}
            if not asked.stream:
                document = await _unless_gone(request, whole(pieces, accepted))
                return json_response(document, headers=headers)
            first = await _unless_gone(request, _next(pieces))  # what fails before it has a status of its own
            return _Events(stream, events(first, pieces, accepted, asked.wants_usage), headers)
        except BaseException:
            stream.close()
            raise


class _Events(StreamingResponse):
    """Events of a stream, which is closed whatever becomes of them: also when nobody came to read one."""

    def __init__(self, stream: Stream, content: AsyncIterator[bytes], headers: Mapping[str, str]) -> None:
        super().__init__(
            content, headers={**headers, "Cache-Control": "no-store"}, media_type="text/event-stream"
        )
        self._stream = stream

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._stream.close()


async def _unless_gone(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """What the work gives; it is canceled when the client goes away. Raises ClientDisconnect."""
    working, leaving = asyncio.ensure_future(work), asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientDisconnect
        return working.result()
    finally:
        working.cancel()
        leaving.cancel()


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _next(pieces: AsyncIterator[Piece]) -> Piece:
    return await anext(pieces)


def _digests(served: Served) -> str:
    return SEPARATOR.join(served.digests) or "base"
