"""Requests that reach the page, and those that do not."""

import asyncio

import pytest

from bankai.serving.http.server import names_of
from bankai.studio.guard import MAX_BODY, POLICY, Guard


def asked(hosts, **headers):
    """Status and headers of the answer to a request."""
    sent = []

    async def page(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": [(b"a", b"b")]})

    async def send(message):
        sent.append(message)

    lines = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    asyncio.run(Guard(page, hosts)({"type": "http", "headers": lines}, None, send))
    return sent[0]["status"], dict(sent[0]["headers"])


LOOPBACK = names_of("127.0.0.1")


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        (200, {"host": "127.0.0.1:7860"}),
        (200, {"host": "localhost:7860", "origin": "http://localhost:7860", "content_length": "10"}),
        (200, {"host": "[::1]:7860"}),
        (403, {"host": "evil.example:7860"}),
        (403, {"host": "["}),
        (403, {"host": "127.0.0.1@evil.example"}),
        (403, {}),
        (403, {"host": "127.0.0.1:7860", "origin": "http://evil.example"}),
        (403, {"host": "127.0.0.1:7860", "origin": "http://127.0.0.1:9999"}),
        (403, {"host": "127.0.0.1:7860", "origin": "null"}),
        (411, {"host": "127.0.0.1", "transfer_encoding": "chunked"}),
        (413, {"host": "127.0.0.1", "content_length": str(MAX_BODY + 1)}),
        (413, {"host": "127.0.0.1", "content_length": "-1"}),
    ],
)
def test_requests_to_a_loopback_page(status, headers):
    assert asked(LOOPBACK, **headers)[0] == status


def test_a_page_for_others_goes_by_any_name_but_serves_its_own_pages_only():
    assert asked(None, host="studio.example", origin="http://studio.example")[0] == 200
    assert asked(None, host="studio.example", origin="http://evil.example")[0] == 403


def test_answers_carry_the_policy():
    _, headers = asked(LOOPBACK, host="localhost")
    assert headers == {b"a": b"b", b"content-security-policy": POLICY.encode()}
    assert "http" not in POLICY and "*" not in POLICY and POLICY.startswith("default-src 'self'")
