"""Which requests reach the page, and what browsers are told to hold the page to.

Contract: only pages of this server may ask it for something, so that no other site in the same browser reaches it;
bodies are bounded; a browser that keeps to the policy fetches nothing from elsewhere.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from bankai.serving.http.server import name_called

__all__ = ["MAX_BODY", "POLICY", "Guard"]

MAX_BODY = 8 * 2**20  # bytes of one request
POLICY = "default-src 'self' data: blob: 'unsafe-inline' 'unsafe-eval'; frame-ancestors 'none'"

Scope = Mapping[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]


class Guard:
    """An ASGI application around another. `hosts` are the names by which it may be called, any when None.

    They keep out sites that give this machine a name of their own.
    """

    def __init__(self, app: Any, hosts: frozenset[str] | None) -> None:
        self.app, self.hosts = app, hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        if status := self.refusal(headers):
            await send({"type": "http.response.start", "status": status, "headers": []})
            await send({"type": "http.response.body", "body": b""})
            return

        async def answer(message: Any) -> None:
            if message["type"] == "http.response.start":
                policy = (b"content-security-policy", POLICY.encode())
                message["headers"] = [*message.get("headers", []), policy]
            await send(message)

        await self.app(scope, receive, answer)

    def refusal(self, headers: Mapping[str, str]) -> int | None:
        """The status that refuses a request with these headers."""
        host, origin = headers.get("host", ""), headers.get("origin")
        if self.hosts is not None and name_called(host) not in self.hosts:
            return 403
        if origin is not None and origin.partition("://")[2] != host:
            return 403
        if "transfer-encoding" in headers:
            return 411
        length = headers.get("content-length", "0")
        return 413 if not length.isdecimal() or int(length) > MAX_BODY else None
