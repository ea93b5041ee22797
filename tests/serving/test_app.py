"""Requests in the shapes of OpenAI's API: what is served, and how everything else is refused."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from asked import CHAT, TEXT, Ask, Client, events, refusal
from pydantic import ValidationError

from bankai.checkpoint.model_file import Checkpoint
from bankai.library.library import Library
from bankai.patch import Flip, Patch, bind, encode
from bankai.serving.http.door import Door
from bankai.serving.http.schemas import ChatRequest, CompletionRequest

KEY = "a key of many letters".replace(" ", "-")


def test_a_stream_adds_up_to_the_whole(serve: Ask) -> None:
    async def test(client: Client) -> None:
        wanted = {"logprobs": True, "top_logprobs": 3}
        whole = (await client.chat(**wanted)).json()
        opening, *parts, closing = events(
            await client.chat(stream=True, stream_options={"include_usage": True}, **wanted)
        )
        assert opening["choices"][0]["delta"] == {"role": "assistant", "content": ""}
        choices = [part["choices"][0] for part in parts]
        choice = whole["choices"][0]
        text = "".join(one["delta"].get("content", "") for one in choices)
        assert choice["message"] == {"role": "assistant", "content": text, "refusal": None}
        assert sum([one["logprobs"]["content"] for one in choices], []) == choice["logprobs"]["content"]
        assert [one["finish_reason"] for one in choices[:-1]] == [None] * (len(choices) - 1)
        assert choices[-1]["finish_reason"] == choice["finish_reason"] == "length"
        assert (closing["choices"], closing["usage"]) == ([], whole["usage"])
        assert whole["usage"]["completion_tokens"] == len(choice["logprobs"]["content"]) == 6
        assert {part["system_fingerprint"] for part in parts} == {whole["system_fingerprint"]}

        tokens = choice["logprobs"]["content"]
        assert all(one["top_logprobs"][0]["logprob"] == one["logprob"] for one in tokens), "greedy"
        assert all(len(one["top_logprobs"]) == 3 for one in tokens)

    serve(test)


def test_completions(serve: Ask) -> None:
    async def test(client: Client) -> None:
        whole = (await client.complete(logprobs=2)).json()
        parts = [part["choices"][0] for part in events(await client.complete(logprobs=2, stream=True))]
        choice = whole["choices"][0]
        assert "".join(part["text"] for part in parts) == choice["text"]
        found = choice["logprobs"]
        assert [len(found[name]) for name in sorted(found)] == [6, 6, 6, 6]
        assert found["text_offset"][:2] == [0, len(found["tokens"][0])]
        for name in found:
            assert sum([part["logprobs"][name] for part in parts], []) == found[name]
        of_tokens = await client.complete(prompt=[81, 300 - 4, 7])
        assert of_tokens.json()["usage"]["prompt_tokens"] == 3
        assert (await client.complete(prompt=["the number"])).json()["choices"][0]["text"] == choice["text"]
        unlimited = (await client.complete(max_tokens=None)).json()
        assert unlimited["usage"]["completion_tokens"] == 16

    serve(test)


def test_an_answer_is_that_of_its_patches(serve: Ask) -> None:
    """By the model's name and by the field, in any order; header and fingerprint tell which they were."""

    async def test(client: Client) -> None:
        listed = {one["id"]: one for one in (await client.http.get("/v1/models")).json()["data"]}
        assert list(listed) == ["tiny", "tiny+down", "tiny+up"]
        assert [one["parent"] for one in listed.values()] == [None, "tiny", "tiny"]
        base = await client.chat()
        up = await client.chat(model="tiny+up")
        digests = {name: listed[f"tiny+{name}"]["patch"] for name in ("up", "down")}
        both = "+".join(sorted(digests.values()))
        assert base.headers["X-Bankai-Patch"] == "base"
        assert up.headers["X-Bankai-Patch"] == digests["up"]
        assert up.json()["system_fingerprint"] == f"{base.json()['system_fingerprint']}+{digests['up']}"
        stacks = [
            await client.chat(model="tiny+up+down"),
            await client.chat(model="tiny+down+up", stream=True),
            await client.chat(model="tiny", patches=["up", "down"]),
            await client.chat(model="tiny+down", patches=["up"]),
        ]
        assert {stack.headers["X-Bankai-Patch"] for stack in stacks} == {both}
        assert (await client.http.get("/v1/models/tiny+up")).json() == listed["tiny+up"]
        assert (await client.http.get("/v1/models/tiny+up+down")).json()["patch"] == both

    serve(test)


def test_a_patch_added_meanwhile_is_served(serve: Ask, library: Path, checkpoint: Checkpoint) -> None:
    async def test(client: Client) -> None:
        refusal(await client.chat(model="tiny+new"), 404)
        with Library(library, writable=True) as opened:
            opened.put(encode(bind(Patch.of([Flip("lm_head", 9)]), checkpoint)), name="new")
        assert (await client.chat(model="tiny+new")).status_code == 200
        library.unlink()
        error = refusal(await client.chat(model="tiny+new"), 503)
        assert error["code"] == "library_unreadable"
        assert str(library) not in error["message"]
        assert (await client.chat()).status_code == 200

    serve(test)


def test_a_seed_gives_the_same_text_again(serve: Ask) -> None:
    async def test(client: Client) -> None:
        async def text(seed: int | None) -> str:
            answer = await client.chat(temperature=1.5, top_p=0.9, seed=seed, max_tokens=12)
            return str(answer.json()["choices"][0]["message"]["content"])

        assert await text(-5) == await text(-5)
        assert len({await text(seed) for seed in (-5, 5, None, None)}) == 4

    serve(test)


def test_stop(serve: Ask) -> None:
    async def test(client: Client) -> None:
        text = (await client.complete()).json()["choices"][0]["text"]
        for stop in (text[2:4], [text[2:4], "never"]):
            choice = (await client.complete(stop=stop)).json()["choices"][0]
            assert (choice["text"], choice["finish_reason"]) == (text[: text.index(text[2:4])], "stop")

    serve(test)


TRICKS = [
    "",
    "other",
    "TINY",
    "tiny+",
    "tiny++up",
    "tiny+up+up",
    "tiny+unknown",
    "tiny/up",
    "tiny+../../up",
    "../tiny",
    "/etc/passwd",
    "tiny+/etc/passwd",
    "tiny+up\0",
    "tiny+up%00",
    "tiny+up\n",
    "tiny+up'; DROP TABLE patches;--",
    "tiny+%",
    "tiny" + "+up" * 1000,
    "tiny+😀",
    "file:///etc/passwd",
]


@pytest.mark.parametrize("name", TRICKS, ids=range(len(TRICKS)))
def test_no_name_is_the_base_by_mistake(serve: Ask, name: str) -> None:
    async def test(client: Client) -> None:
        for answer in (await client.chat(model=name), await client.complete(model=name, stream=True)):
            error = refusal(answer, 404)
            assert (error["code"], error["param"]) == ("model_not_found", "model")
            assert len(error["message"]) < 300
        path = httpx.URL("http://localhost/v1/models/").copy_with(
            raw_path=b"/v1/models/" + b"".join(b"%%%02x" % byte for byte in name.encode())
        )
        if name:
            refusal(await client.http.get(path), 404)

    serve(test)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"n": 2}, "n"),
        ({"logit_bias": {"5": 1}}, "logit_bias"),
        ({"tools": [{"type": "function"}]}, "tools"),
        ({"presence_penalty": 0.5}, "presence_penalty"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"unheard_of": 1}, "unheard_of"),
        ({"temperature": -1}, "temperature"),
        ({"temperature": "1"}, "temperature"),
        ({"temperature": 3}, "temperature"),
        ({"top_p": 1.1}, "top_p"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": 1.5}, "max_tokens"),
        ({"max_completion_tokens": -1}, "max_completion_tokens"),
        ({"stop": ""}, "stop"),
        ({"stop": list("abcde")}, "stop"),
        ({"seed": 2**63}, "seed"),
        ({"stream": "yes"}, "stream"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
        ({"patches": "up"}, "patches"),
        ({"messages": []}, "messages"),
        ({"messages": "hello"}, "messages"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages"),
        ({"messages": [{"role": "user"}]}, "messages"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages"),
        ({"model": None}, "model"),
    ],
    ids=str,
)
def test_what_cannot_be_done_is_refused(serve: Ask, fields: dict[str, Any], param: str) -> None:
    async def test(client: Client) -> None:
        error = refusal(await client.chat(**fields), 400)
        assert (error["type"], error["param"]) == ("invalid_request_error", param)
        assert next(iter(fields)) in error["message"], "it is told what is wrong"

    serve(test)


def test_what_asks_for_nothing_is_taken(serve: Ask) -> None:
    async def test(client: Client) -> None:
        fields = {"n": 1, "logit_bias": {}, "tools": None, "presence_penalty": 0, "user": "me", "stop": None}
        assert (await client.chat(**fields)).json()["choices"] == (await client.chat()).json()["choices"]
        parts = [{"type": "text", "text": "what is "}, {"type": "text", "text": "the answer"}]
        whole = await client.chat(messages=[{"role": "user", "content": parts}])
        assert whole.json()["choices"] == (await client.chat()).json()["choices"]

    serve(test)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'{"model": "tiny", "messages": ',
        b'{"model": "\xff"}',
        b'{"model": "tiny", "prompt": "\\ud800"}',
        b'{"model": "tiny", "prompt": "x", "temperature": NaN}',
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"model": "tiny", "prompt": "x", "max_tokens": 1' + b"0" * 5000 + b"}",
    ],
    ids=lambda body: repr(body[:20]),
)
def test_malformed_json(serve: Ask, body: bytes) -> None:
    async def test(client: Client) -> None:
        for path in (CHAT, TEXT):
            error = refusal(
                await client.http.post(path, content=body, headers={"Content-Type": "application/json"}), 400
            )
            assert len(error["message"]) < 300

    serve(test)


@pytest.mark.parametrize(
    ("shape", "field"),
    [
        (CompletionRequest, {"prompt": [None] * 1000}),
        (CompletionRequest, {"prompt": [1] + [""] * 1000}),
        (ChatRequest, {"messages": [0] * 1000}),
        (ChatRequest, {"messages": [{"role": "user", "content": [{}] * 1000}]}),
        (ChatRequest, {"messages": [{"role": "user", "content": ""}] * 5000}),
    ],
    ids=lambda one: str(one)[:30],
)
def test_a_list_is_refused_at_its_first_fault(
    shape: type[ChatRequest | CompletionRequest], field: dict[str, Any]
) -> None:
    """Nobody else is heard while faults are collected: half a million of them took 2 seconds."""
    with pytest.raises(ValidationError) as refused:
        shape.model_validate_json(json.dumps({"model": "tiny", **field}))
    assert refused.value.error_count() <= 3


def test_a_refusal_is_short(serve: Ask) -> None:
    async def test(client: Client) -> None:
        error = refusal(await client.chat(**{"k" * 100_000: 1}), 400)
        assert (error["param"], error["message"]) == (None, "Extra inputs are not permitted")

    serve(test)


def test_other_refusals(serve: Ask) -> None:
    async def test(client: Client) -> None:
        assert "context" in refusal(await client.complete(prompt="x " * 300), 400)["message"]
        assert "context" in refusal(await client.complete(prompt=[1] * 128), 400)["message"]
        full = (await client.complete(prompt=[1] * 127, max_tokens=5)).json()
        assert (full["usage"]["completion_tokens"], full["choices"][0]["finish_reason"]) == (1, "length")
        assert "empty" in refusal(await client.complete(prompt=""), 400)["message"]
        assert "empty" in refusal(await client.complete(prompt=[]), 400)["message"]
        assert "300" not in refusal(await client.complete(prompt=[300]), 400)["message"]
        assert "several" in refusal(await client.complete(prompt=["a", "b"]), 400)["message"]
        refusal(await client.http.get("/nothing"), 404)
        refusal(await client.http.get(CHAT), 405)
        refusal(await client.http.post(CHAT, content=b"{}", headers={"Content-Type": "text/plain"}), 415)
        refusal(await client.http.post(CHAT, content=b"{}"), 415)
        for page in ("/docs", "/openapi.json", "/redoc"):
            refusal(await client.http.get(page), 404)

    serve(test)


def test_a_template_that_fails_is_the_chat_s_fault_alone(serve: Ask, loaded: tuple[Any, Any]) -> None:
    tokenizer = loaded[1]
    template = tokenizer.chat_template

    async def test(client: Client) -> None:
        tokenizer.chat_template = "{{ raise_exception('roles must alternate') }}"
        assert "alternate" in refusal(await client.chat(), 400)["message"]
        tokenizer.chat_template = None
        assert "/v1/completions" in refusal(await client.chat(), 400)["message"]
        tokenizer.chat_template = template
        assert (await client.chat()).status_code == 200

    try:
        serve(test)
    finally:
        tokenizer.chat_template = template


def test_too_large_a_body(serve: Ask) -> None:
    async def test(client: Client) -> None:
        assert (await client.complete(prompt="x" * 100)).status_code == 200
        assert "500 bytes" in refusal(await client.complete(prompt="x" * 600), 413)["message"]

        async def endless() -> AsyncIterator[bytes]:
            while True:
                yield b"x" * 100

        headers = {"Content-Type": "application/json"}
        refusal(await client.http.post(TEXT, content=endless(), headers=headers), 413)

    serve(test, Door(body=500))


def test_only_with_the_key(serve: Ask) -> None:
    async def test(client: Client) -> None:
        for header in ("", KEY, f"Basic {KEY}", "Bearer", f"Bearer {KEY}x", f"Bearer {KEY[:-1]}", "Bearer é"):
            client.http.headers["Authorization"] = header
            for answer in (await client.chat(), await client.http.get("/v1/models")):
                assert refusal(answer, 401)["code"] == "invalid_api_key"
                assert KEY not in answer.text
        client.http.headers["Authorization"] = f"Bearer {KEY}"
        assert (await client.chat()).status_code == 200
        del client.http.headers["Authorization"]
        assert (await client.http.get("/health")).json()["status"] == "ok"

    serve(test, Door(KEY))
    assert KEY not in repr(Door(KEY))


NOT_OURS = [
    "evil.example",
    "evil.example:80",
    "evil.example:99999",
    "localhost.evil.example",
    "localhost@evil.example",
    "evil.example@localhost",
    "localhost, evil.example",
    "localhost:evil.example",
    "evil.example/localhost",
    "[",
    "",
]


def test_only_by_its_name(serve: Ask) -> None:
    """A page in a browser can let a name of its own point to this machine."""

    async def test(client: Client) -> None:
        assert (await client.chat()).status_code == 200
        for name in NOT_OURS:
            client.http.headers["Host"] = name
            refusal(await client.chat(), 403)
            refusal(await client.http.get("/health"), 403)

    serve(test, Door(hosts=frozenset({"localhost"})))


def test_no_page_of_elsewhere_may_read_answers(serve: Ask) -> None:
    async def test(client: Client) -> None:
        client.http.headers["Origin"] = "http://evil.example"
        answer = await client.chat()
        assert not [name for name in answer.headers if name.startswith("access-control")]
        refusal(await client.http.options(CHAT), 405)

    serve(test)


def test_ten_times_as_many_as_there_is_room_for(serve: Ask) -> None:
    async def test(client: Client) -> None:
        client.engine.may_step.clear()
        asking = [asyncio.create_task(client.chat(stream=number % 2 == 0)) for number in range(50)]
        while sum(one.done() for one in asking) < 45:
            await asyncio.sleep(0.005)
        client.engine.may_step.set()
        answers = await asyncio.gather(*asking)
        refused = [answer for answer in answers if answer.status_code != 200]
        assert len(refused) == 45
        for answer in refused:
            assert refusal(answer, 429)["code"] == "server_busy"
            assert answer.headers["Retry-After"] == "1"
        assert (await client.chat()).status_code == 200

    serve(test, queue=3)


def test_an_engine_that_fails_does_not_take_the_server_along(
    serve: Ask, caplog: pytest.LogCaptureFixture
) -> None:
    async def test(client: Client) -> None:
        wanted = (await client.chat()).json()["choices"]
        for stream in (False, True):
            failures = iter([True])
            client.engine.fails = lambda what, _, left=failures: what == "step" and next(left, False)
            error = refusal(await client.chat(stream=stream), 500)
            assert (error["code"], "secret" in error["message"]) == ("engine_failed", False)
        steps = iter([False, False, False, True])
        client.engine.fails = lambda what, _: what == "step" and next(steps, False)
        answer = await client.chat(stream=True)
        last = json.loads(answer.text.split("\n\n")[-2].removeprefix("data: "))
        assert (answer.status_code, last["error"]["type"]) == (200, "server_error")
        assert "[DONE]" not in answer.text
        assert (await client.chat()).json()["choices"] == wanted

    with caplog.at_level(logging.ERROR):
        serve(test)
    assert "secret of the engine" in caplog.text
    assert "what is the answer" not in caplog.text


def test_a_server_that_stops_says_so(serve: Ask) -> None:
    async def test(client: Client) -> None:
        await client.scheduler.drain(1)
        answer = await client.chat()
        assert refusal(answer, 503)["code"] == "server_stopping"
        assert answer.headers["Connection"] == "close"
        health = await client.http.get("/health")
        assert (health.status_code, health.json()["status"]) == (503, "stopping")

    serve(test)
