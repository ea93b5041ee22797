"""The process of the server: where it listens, and how it ends.

Contract: SIGTERM and SIGINT let what was taken be finished, within a time; meanwhile new requests are answered, by 503.
A second signal ends the time. Knows uvicorn, and nothing of models, patches or what is asked.
"""

import asyncio
import ipaddress
import re
import socket
from collections.abc import Callable
from types import FrameType

import uvicorn
from fastapi import FastAPI

from bankai.errors import ServingError
from bankai.serving.scheduler import Scheduler

__all__ = ["is_loopback", "listen", "name_called", "names_of", "run"]

_BACKLOG = 2048  # connections that wait for us to look
_LAST = 5  # seconds, for clients to take the rest of their answers, or send that of a request
_HURRY = 0.2  # the same when somebody is in a hurry
_HOST = re.compile(r"(?:\[(?P<address>[0-9a-f.:]+)\]|(?P<name>[^][:@/?#\\\s]+))(?::[0-9]{1,5})?")


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach it."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def names_of(host: str) -> frozenset[str]:
    """What this machine may call a loopback host."""
    return frozenset({host.lower(), "localhost", "127.0.0.1", "::1"})


def name_called(header: str) -> str:
    """The name in a Host header; none in one that has more than a name and a port."""
    found = _HOST.fullmatch(header.lower())
    return (found["address"] or found["name"]) if found else ""


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens; port 0 takes a free one. Raises ServingError."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP, flags=socket.AI_PASSIVE
        )[0]
        # With its protocol named, as `socket.create_server` does not: only then asyncio sends small answers at once.
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(_BACKLOG)
        except OSError:
            listener.close()
            raise
        return listener
    except (OSError, UnicodeError) as error:  # the latter for what can be no name in the Internet
        why = error.strerror if isinstance(error, OSError) else "no host has such a name"
        raise ServingError(
            f"cannot listen at {host}, port {port}: {why}; choose another --host or --port"
        ) from None


def run(
    app: FastAPI, scheduler: Scheduler, listener: socket.socket, *, grace: float, ready: Callable[[], None]
) -> int | None:
    """Serve until a signal comes, and return it. `grace`: seconds to finish what was taken; `ready` is called first."""
    config = uvicorn.Config(
        app,
        http="h11",
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=_LAST + 1,
    )
    server = _Server(config, scheduler, grace, ready)
    server.run(sockets=[listener])
    return server.signal


class _Server(uvicorn.Server):
    """Listens while it ends."""

    signal: int | None = None

    def __init__(
        self, config: uvicorn.Config, scheduler: Scheduler, grace: float, ready: Callable[[], None]
    ) -> None:
        super().__init__(config)
        self._scheduler, self._grace, self._ready = scheduler, grace, ready
        self._ending: list[asyncio.Task[None]] = []

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)
        self._ready()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Called at a signal, in the midst of whatever runs."""
        if not self.started:
            super().handle_exit(sig, frame)
            return
        times = (self._grace, _LAST) if self.signal is None else (0, _HURRY)
        self.signal = self.signal or sig
        self._loop.call_soon_threadsafe(
            lambda: self._ending.append(self._loop.create_task(self._end(*times)))
        )

    async def _end(self, grace: float, last: float) -> None:
        await self._scheduler.drain(grace)
        self.should_exit = True
        self._loop.call_later(last, self._hang_up)

    def _hang_up(self) -> None:
        """As if the clients had gone; later uvicorn would cancel what waits for them, and log each as a failure."""
        for connection in tuple(self.server_state.connections):
            connection.transport.abort()
