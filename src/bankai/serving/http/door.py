"""Who may ask the server, how a request is read, and how one is refused: in OpenAI's shape, with the right status.

Contract: a request is read to its limit of bytes and seconds and no further; what is refused is told without anything
that another client sent, and without paths of this machine. No key is ever logged.
"""

import asyncio
import hmac
import logging
import os
from codecs import BOM_UTF8
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import msgspec
from fastapi import FastAPI, HTTPException, Request, Response
from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException as AnyHTTPException  # FastAPI's too, and those of its router
from starlette.requests import ClientDisconnect

from bankai.errors import (
    BadRequestError,
    BankaiError,
    BusyError,
    EngineError,
    LibraryError,
    ServingError,
    StoppingError,
    UnknownModelError,
)
from bankai.serving.http.replies import error
from bankai.serving.http.schemas import explain
from bankai.serving.http.server import name_called

__all__ = ["KEY_VARIABLE", "Door", "json_response", "read_key"]

KEY_VARIABLE = "BANKAI_API_KEY"
"""Of the environment: the key to ask with, where no file holds it."""

_log = logging.getLogger(__name__)

_SLOWEST = 30  # seconds for a request to arrive
_SHORTEST_KEY = 8
_READ_ON = 16  # times the limit: whoever sends too much reads our answer only when all is sent
_AGAIN = {"Retry-After": "1"}
_STATUS: dict[type[BankaiError], tuple[int, str, dict[str, str]]] = {
    BadRequestError: (400, "bad_request", {}),
    UnknownModelError: (404, "model_not_found", {}),
    BusyError: (429, "server_busy", _AGAIN),
    EngineError: (500, "engine_failed", {}),
    LibraryError: (503, "library_unreadable", _AGAIN),
    StoppingError: (503, "server_stopping", _AGAIN | {"Connection": "close"}),
}
_CODES = {401: "invalid_api_key", 413: "request_too_large"}

Shape = TypeVar("Shape", bound=BaseModel)


def json_response(document: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A document."""
    return Response(msgspec.json.encode(document), status, headers, "application/json")


def read_key(path: Path | None) -> str | None:
    """The key that a file holds, else the environment; None for none. Raises ServingError for what is no key."""
    given = os.environ.get(KEY_VARIABLE) if path is None else path.read_text("utf-8-sig", "replace")
    if given is None:
        return None
    key, where = given.strip(), KEY_VARIABLE if path is None else path
    if not (key.isascii() and key.isprintable() and len(key) >= _SHORTEST_KEY and " " not in key):
        raise ServingError(
            f"{where} holds no key: give at least {_SHORTEST_KEY} letters and digits without blanks"
        )
    return key


@dataclass(frozen=True)
class Door:
    """Lets in who knows the `key`, if there is one, and asks this server by one of the names `hosts`, if given.

    The names keep out web pages that call this machine by a name of their own. `body`: most bytes of a request.
    """

    key: str | None = field(default=None, repr=False)
    hosts: frozenset[str] | None = None
    body: int = 1 << 20

    async def check_host(self, request: Request) -> None:
        """Raises HTTPException."""
        # As it was sent: what is no name, starlette takes for our own.
        if self.hosts is not None and name_called(request.headers.get("host", "")) not in self.hosts:
            raise HTTPException(403, "this server does not go by that name; call it 127.0.0.1 or localhost")

    async def check_key(self, request: Request) -> None:
        """Raises HTTPException."""
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        if self.key is not None and not (
            scheme.lower() == "bearer" and hmac.compare_digest(given.strip().encode(), self.key.encode())
        ):
            raise HTTPException(
                401,
                "a wrong key, or none; send the header Authorization: Bearer KEY",
                {"WWW-Authenticate": "Bearer"},
            )

    async def read(self, request: Request, shape: type[Shape]) -> Shape:
        """What a request says, with or without a byte-order mark. Raises HTTPException and ValidationError."""
        # Any other type could be sent from a web page without asking us first.
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            raise HTTPException(415, "send JSON, with the header Content-Type: application/json")
        try:
            async with asyncio.timeout(_SLOWEST):
                body = await self._bytes(request)
        except TimeoutError:
            raise HTTPException(408, f"the request did not arrive in {_SLOWEST} s") from None
        return shape.model_validate_json(body.removeprefix(BOM_UTF8))

    async def _bytes(self, request: Request) -> bytes:
        body, size = bytearray(), 0
        async for chunk in request.stream():
            size += len(chunk)
            if size <= self.body:
                body += chunk
            elif size > _READ_ON * self.body:
                break
        if size > self.body:
            raise HTTPException(413, f"the request has more than {self.body} bytes; send less")
        return bytes(body)

    @staticmethod
    def guard(app: FastAPI) -> None:
        """Let errors of an app be told as OpenAI's API tells them."""
        app.add_exception_handler(BankaiError, _tell_refusal)
        app.add_exception_handler(ValidationError, _tell_invalid)
        app.add_exception_handler(AnyHTTPException, _tell_http)
        app.add_exception_handler(ClientDisconnect, lambda *_: Response(status_code=499))  # for nobody
        app.add_exception_handler(Exception, _tell_bug)


def _refusal(
    status: int,
    message: str,
    code: str | None,
    param: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    kind = (
        "server_error" if status >= 500 else "rate_limit_error" if status == 429 else "invalid_request_error"
    )
    return json_response(error(message, kind, code, param), status, headers)


def _tell_refusal(_: Request, failure: Exception) -> Response:
    found = next((_STATUS[kind] for kind in type(failure).__mro__ if kind in _STATUS), None)
    if found is None:
        return _tell_bug(_, failure)
    status, code, headers = found
    message, param = str(failure), "model" if status == 404 else getattr(failure, "param", None)
    if isinstance(failure, LibraryError):  # its message names the file
        _log.error("%s", failure)
        message = "the library of patches cannot be read now; the log of the server says why"
    return _refusal(status, message, code, param, headers)


def _tell_invalid(_: Request, failure: Exception) -> Response:
    assert isinstance(failure, ValidationError)
    message, param = explain(failure)
    return _refusal(400, message, "invalid_request", param)


def _tell_http(_: Request, failure: Exception) -> Response:
    assert isinstance(failure, AnyHTTPException)
    status = failure.status_code
    return _refusal(status, str(failure.detail), _CODES.get(status), headers=failure.headers)


def _tell_bug(_: Request, failure: Exception) -> Response:
    _log.error("a request failed", exc_info=failure)
    return _refusal(500, "the server failed at this request; its log says more", None)
