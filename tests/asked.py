"""A server in the test's own process, and what is read of its answers."""

import json
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

import httpx
from watched import Watched

from bankai.serving.scheduler import Scheduler

__all__ = ["CHAT", "TEXT", "Ask", "Client", "Test", "events", "refusal"]

CHAT = "/v1/chat/completions"
TEXT = "/v1/completions"


@dataclass
class Client:
    """Asks a server in this process."""

    http: httpx.AsyncClient
    engine: Watched
    scheduler: Scheduler

    async def chat(self, **fields: Any) -> httpx.Response:
        message = {"role": "user", "content": "what is the answer"}
        asked = {"model": "tiny", "messages": [message], "max_tokens": 6, "temperature": 0} | fields
        return await self.http.post(CHAT, json=asked)

    async def complete(self, **fields: Any) -> httpx.Response:
        asked = {"model": "tiny", "prompt": "the number", "max_tokens": 6, "temperature": 0} | fields
        return await self.http.post(TEXT, json=asked)


Test = Callable[[Client], Coroutine[Any, Any, None]]
Ask = Callable[..., None]


def refusal(answer: httpx.Response, status: int) -> dict[str, Any]:
    """What an answer says is wrong, in OpenAI's shape."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["message"]
    return error


def events(answer: httpx.Response) -> list[dict[str, Any]]:
    """The documents of a stream that has its mark of the end."""
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/event-stream")
    *found, done, rest = answer.text.split("\n\n")
    assert (done, rest) == ("data: [DONE]", "")
    return [json.loads(one.removeprefix("data: ")) for one in found]
