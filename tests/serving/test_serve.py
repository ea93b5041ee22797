"""A real `bankai serve nano`, asked by the official client; the last test ends it.

Every test runs with both engines; that of llama.cpp is for `make test-engines`.
"""

import asyncio
import json
import random
import shutil
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import openai
import pytest
from openai import AsyncOpenAI, OpenAI
from openai.types.chat import ChatCompletionMessage, ChatCompletionTokenLogprob
from served import Process, add_patches, serving, until

from bankai.checkpoint.model_file import builtin_models, open_checkpoint
from bankai.library.library import Library
from bankai.model import load, patched
from bankai.model.generation import prompt_ids, stream
from bankai.model.token_bytes import spell, token_bytes
from bankai.model.tokenizer import make_tokenizer
from bankai.patch import Patch
from bankai.patching import apply_in_place

PATCHES = [f"p{number}" for number in range(8)]
MODELS = ["nano", *(f"nano+{name}" for name in PATCHES)]
PROMPTS = [
    "What is 17 + 25? It is",
    "The capital of France is",
    "Differentiate 3x^2 + 2x:",
    "Count: 1 2 3 4 5",
    "A:",
]
ENGINES = ["torch", pytest.param("llama", marks=pytest.mark.engines)]
LONG = {"model": "nano", "prompt": "The sequence 1, 2, 3, 4,", "max_tokens": 250, "seed": 3}
"""A text that does not end by itself."""
HALF = (
    b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\n"
    b"Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n{"
)
Texts = dict[tuple[str, str], str]


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("library") / "patches.library"
    add_patches(path, "nano", PATCHES, rows=48)
    return path


@pytest.fixture(scope="module", params=ENGINES)
def server(request: pytest.FixtureRequest, library: Path) -> Iterator[Process]:
    options = ["--engine", request.param, "--queue", 64, *(["--dense"] if request.param == "torch" else [])]
    with serving("nano", "--library", library, *options) as process:
        yield process


@pytest.fixture(scope="module")
def client(server: Process) -> OpenAI:
    return OpenAI(base_url=server.url, api_key="none is needed", max_retries=0)


@pytest.fixture(scope="module")
def solo(client: OpenAI) -> Texts:
    """The text of every prompt on every model, asked one by one."""

    def text(model: str, prompt: str) -> str:
        answer = client.completions.create(model=model, prompt=prompt, max_tokens=10, temperature=0)
        return answer.choices[0].text

    return {(model, prompt): text(model, prompt) for model in MODELS for prompt in PROMPTS}


def test_models(client: OpenAI, server: Process) -> None:
    models = list(client.models.list())
    assert [model.id for model in models] == MODELS
    assert (models[0].parent, models[1].parent) == (None, "nano")
    assert client.models.retrieve("nano+p3") == models[4]
    with pytest.raises(openai.NotFoundError) as refused:
        client.models.retrieve("nano+none")
    assert refused.value.code == "model_not_found"
    assert server.about["patches"] == 8


def test_chat(client: OpenAI) -> None:
    asked = {"messages": [{"role": "user", "content": "What is 3 + 4?"}], "temperature": 0, "max_tokens": 12}
    raw = client.chat.completions.with_raw_response.create(model="nano+p1+p2", **asked)
    digests = {model.id: model.patch for model in client.models.list() if model.parent}
    assert raw.headers["X-Bankai-Patch"] == "+".join(sorted((digests["nano+p1"], digests["nano+p2"])))
    whole = raw.parse()
    assert whole.model == "nano+p1+p2"
    assert whole.usage and whole.usage.completion_tokens > 0
    by_field = client.chat.completions.create(model="nano", extra_body={"patches": ["p2", "p1"]}, **asked)
    assert by_field.choices[0].message.content == whole.choices[0].message.content
    assert by_field.system_fingerprint == whole.system_fingerprint

    with client.chat.completions.create(
        model="nano+p1+p2", stream=True, stream_options={"include_usage": True}, **asked
    ) as chunks:
        *parts, last = list(chunks)
    text = "".join(part.choices[0].delta.content or "" for part in parts)
    assert text == whole.choices[0].message.content
    assert (parts[-1].choices[0].finish_reason, last.usage) == (whole.choices[0].finish_reason, whole.usage)


def test_log_probabilities(client: OpenAI) -> None:
    answer = client.chat.completions.create(
        model="nano",
        messages=[{"role": "user", "content": "What is 3 + 4?"}],
        temperature=0,
        max_tokens=5,
        logprobs=True,
        top_logprobs=2,
    )
    tokens = answer.choices[0].logprobs.content
    assert "".join(token.token for token in tokens) == answer.choices[0].message.content
    for token in tokens:
        assert token.logprob == token.top_logprobs[0].logprob >= token.top_logprobs[1].logprob


def test_three_turns(client: OpenAI) -> None:
    """With the client's own message objects, with their dumps, and streamed: the same talk."""
    questions = ["Tom has 6 marbles. How many now?", "And one more?", "What is 3 + 4?"]
    settings = {"model": "nano", "temperature": 0, "max_tokens": 12}

    def talk(keep: Callable[[ChatCompletionMessage], object]) -> list[str]:
        messages: list[Any] = []
        for question in questions:
            messages.append({"role": "user", "content": question})
            answer = client.chat.completions.create(messages=messages, **settings).choices[0].message
            messages.append(keep(answer))
        return [message["content"] if isinstance(message, dict) else message.content for message in messages]

    said = talk(lambda message: message)
    assert len(said) == 6 and all(isinstance(text, str) for text in said)
    assert talk(ChatCompletionMessage.model_dump) == talk(ChatCompletionMessage.to_dict) == said
    messages: list[Any] = []
    for question in questions:
        messages.append({"role": "user", "content": question})
        with client.chat.completions.stream(messages=messages, **settings) as stream:
            messages.append(stream.get_final_completion().choices[0].message)
    assert [one.content if not isinstance(one, dict) else one["content"] for one in messages] == said


def test_log_probabilities_make_the_text_in_bytes(client: OpenAI) -> None:
    """Hot enough for pieces of characters and special tokens; by chat, by prompt, whole and streamed."""
    settings = {"model": "nano", "temperature": 2, "seed": 4, "max_tokens": 60}
    messages = [{"role": "user", "content": "Übergrößenträger 😀"}]
    chat = {"messages": messages, "logprobs": True, "top_logprobs": 4} | settings
    choice = client.chat.completions.create(**chat).choices[0]
    tokens = choice.logprobs.content
    assert {len(token.top_logprobs) for token in tokens} == {4}
    assert joined(tokens) == choice.message.content
    with client.chat.completions.create(stream=True, **chat) as chunks:
        parts = [chunk.choices[0] for chunk in chunks]
    streamed = [token for part in parts if part.logprobs for token in part.logprobs.content or ()]
    assert streamed == tokens
    assert "".join(part.delta.content or "" for part in parts) == choice.message.content

    found = client.completions.create(prompt="😀é", logprobs=5, echo=True, **settings).choices[0]
    pieces = found.logprobs.tokens[:6]
    assert all(token.startswith("bytes:") for token in pieces), "or the test says little"
    assert bytes.fromhex("".join(pieces).replace("bytes:", "").replace("\\x", "")).decode() == "😀é"
    assert found.text.startswith("😀é") and found.logprobs.text_offset[:7] == [0, 0, 0, 0, 1, 1, 2]
    assert {len(top) for top in found.logprobs.top_logprobs[1:]} == {5}


def test_offsets_leave_out_special_tokens(client: OpenAI) -> None:
    """The text is " 0\\nuser\\nDifferentiate"; before "user" stands a special token."""
    asked = {"prompt": "What is the derivative of 5x^5 + 2x^4? Answer:", "temperature": 0, "max_tokens": 8}
    found = client.completions.create(model="nano", logprobs=0, **asked).choices[0].logprobs
    assert found.tokens[:5] == [" ", "0", "\n", "<|im_start|>", "user"]
    assert found.text_offset == [0, 1, 2, 3, 3, 7, 8, 21]


def joined(tokens: Sequence[ChatCompletionTokenLogprob]) -> str:
    """The text of tokens, by their bytes; special ones are not shown."""
    return b"".join(bytes(one.bytes) for one in tokens if "<|" not in one.token).decode(errors="replace")


def test_given_texts_are_scored(client: OpenAI) -> None:
    """A text that the model writes by itself is the most likely one, token by token, patched or not."""
    with open_checkpoint("nano") as checkpoint:
        tokenizer = make_tokenizer(checkpoint.tokenizer())
    ids = {spell(token_bytes(tokenizer, token)): token for token in range(len(tokenizer))}
    asked = {"prompt": PROMPTS[0], "temperature": 0, "logprobs": 1}
    for model in ("nano", "nano+p1"):
        said = client.completions.create(model=model, max_tokens=8, **asked).choices[0].logprobs
        tokens = [*tokenizer.encode(PROMPTS[0]), *(ids[token] for token in said.tokens)]
        scored = client.completions.create(model=model, **asked | {"prompt": tokens}, max_tokens=0, echo=True)
        found, count = scored.choices[0].logprobs, len(said.tokens)
        assert (found.tokens[-count:], scored.usage.completion_tokens) == (said.tokens, 0)
        assert found.token_logprobs[-count:] == pytest.approx(said.token_logprobs, abs=0.05)
        for value, top in zip(found.token_logprobs[-count:], found.top_logprobs[-count:], strict=True):
            assert value == max(top.values())


def test_variables_of_the_template_and_stop_token_ids(client: OpenAI) -> None:
    asked = {"model": "nano", "messages": [{"role": "user", "content": "What is 3 + 4?"}], "temperature": 0}
    extra = {"chat_template_kwargs": {"enable_thinking": False}, "stop_token_ids": [*range(512)]}
    answer = client.chat.completions.create(extra_body=extra, **asked)
    assert (answer.choices[0].message.content, answer.choices[0].finish_reason) == ("", "stop")


def test_heads(http: httpx.Client, server: Process) -> None:
    for url in (server.health, f"{server.url}/models", f"{server.url}/models/nano+p1"):
        head = http.head(url)
        assert (head.status_code, head.content) == (200, b"")


def test_errors_of_the_official_client(client: OpenAI) -> None:
    with pytest.raises(openai.NotFoundError):
        client.completions.create(model="nano+../../etc/passwd", prompt="x")
    with pytest.raises(openai.BadRequestError) as refused:
        client.completions.create(model="nano", prompt="word " * 600)
    assert "context" in str(refused.value)
    with pytest.raises(openai.BadRequestError):
        client.completions.create(model="nano", prompt="x", n=2)


def test_the_text_is_that_of_the_model_itself(
    server: Process, solo: Texts, library: Path, tmp_path: Path
) -> None:
    """Of a plain loop in this process, with the patch on the model, or in its file."""
    with Library(library) as opened:
        patches = {f"nano+{name}": opened.get(name).patch for name in PATCHES[:4]}
    alone = {"torch": torch_alone, "llama": llama_alone}[server.about["engine"]]
    for name, patch in {"nano": Patch(), **patches}.items():
        wanted = alone(patch, tmp_path / f"{name}.gguf")
        assert [solo[name, prompt] for prompt in PROMPTS] == wanted


def torch_alone(patch: Patch, _: Path) -> list[str]:
    model, tokenizer = load("nano", dense=True)
    with patched(model, patch, unbound=True):
        ids = [prompt_ids(model, tokenizer, prompt) for prompt in PROMPTS]
        return ["".join(stream(model, tokenizer, one, max_tokens=10)) for one in ids]


def llama_alone(patch: Patch, path: Path) -> list[str]:
    from llama_cpp import Llama

    shutil.copy(builtin_models()["nano"], path)
    if patch:
        apply_in_place(path, patch)
    llama = Llama(str(path), n_ctx=512, verbose=False)
    answers = [llama.create_completion(prompt, max_tokens=10, temperature=0) for prompt in PROMPTS]
    return [answer["choices"][0]["text"] for answer in answers]


def test_64_at_once_over_8_patches_and_base(server: Process, solo: Texts) -> None:
    """In random order; half of them stream. Nobody's text depends on who else is there."""
    rng = random.Random(1)
    asked = [(rng.choice(MODELS), rng.choice(PROMPTS)) for _ in range(64)]
    assert {model for model, _ in asked} == set(MODELS)
    assert len(set(solo.values())) > 15, "or the comparison says little"

    async def ask(client: AsyncOpenAI, number: int) -> str:
        model, prompt = asked[number]
        settings = {"model": model, "prompt": prompt, "max_tokens": 10, "temperature": 0}
        if number % 2:
            return (await client.completions.create(**settings)).choices[0].text
        chunks = await client.completions.create(stream=True, **settings)
        return "".join([chunk.choices[0].text async for chunk in chunks])

    async def ask_all() -> list[str]:
        async with AsyncOpenAI(base_url=server.url, api_key="-", max_retries=0) as client:
            return await asyncio.gather(*[ask(client, number) for number in range(64)])

    assert asyncio.run(ask_all()) == [solo[one] for one in asked]


@pytest.fixture(scope="module")
def http(server: Process) -> Iterator[httpx.Client]:
    """Bare requests; with its certificates read once, which takes longer than a text."""
    with httpx.Client(base_url=server.url, timeout=60) as client:
        yield client


@pytest.fixture
def begin(http: httpx.Client) -> Iterator[Callable[[int], list[httpx.Response]]]:
    """Asks for so many streams of a long text, which take seconds together, and gives the list that they end in."""
    threads: list[threading.Thread] = []

    def start(number: int) -> list[httpx.Response]:
        found: list[httpx.Response] = []
        started = [threading.Thread(target=ask, args=(found,)) for _ in range(number)]
        threads.extend(started)
        for thread in started:
            thread.start()
        return found

    def ask(found: list[httpx.Response]) -> None:
        found.append(http.post("/completions", json=LONG | {"stream": True}))

    yield start
    for thread in threads:
        thread.join()


def texts_in_work(http: httpx.Client) -> int:
    return int(http.get(http.base_url.join("/health")).json()["texts"])


def test_a_client_that_goes_away_frees_its_place(
    http: httpx.Client, begin: Callable[[int], list[httpx.Response]]
) -> None:
    """Before its text and its neighbors' are finished, which go on."""
    neighbors = begin(2)
    until(lambda: texts_in_work(http) == 2)
    with http.stream("POST", "/completions", json=LONG | {"stream": True}) as answer:
        lines = answer.iter_lines()  # closes the connection when it is forgotten
        next(lines)
        assert texts_in_work(http) == 3
    until(lambda: texts_in_work(http) == 2)
    with pytest.raises(httpx.ReadTimeout):
        http.post("/completions", json=LONG, timeout=0.1)
    until(lambda: texts_in_work(http) == 2)
    assert neighbors == []
    until(lambda: len(neighbors) == 2, seconds=60)
    assert [one.text.count("data: {") > 200 for one in neighbors] == [True] * 2
    assert texts_in_work(http) == 0


def test_many_that_go_away_in_the_midst_are_no_news(server: Process, http: httpx.Client) -> None:
    """The last test looks at what the server logs."""
    place = urlsplit(server.url)
    body = json.dumps(LONG | {"stream": True}).encode()
    for _ in range(20):
        with socket.create_connection((place.hostname, place.port)) as client:
            client.sendall(HALF.replace(b"1000", b"%d" % len(body))[:-1] + body)
            assert client.recv(100).startswith(b"HTTP/1.1 200")
    until(lambda: texts_in_work(http) == 0)


def test_a_patch_added_meanwhile_is_served(client: OpenAI, library: Path) -> None:
    name = f"new{random.randrange(10**9)}"
    with pytest.raises(openai.NotFoundError):
        client.completions.create(model=f"nano+{name}", prompt="x", max_tokens=1)
    add_patches(library, "nano", [name], rows=3, seed=random.randrange(10**9))
    assert client.completions.create(model=f"nano+{name}", prompt="x", max_tokens=1).model == f"nano+{name}"
    with Library(library, writable=True) as opened:
        opened.remove(name)


def test_sigterm_finishes_what_was_taken(
    server: Process, http: httpx.Client, begin: Callable[[int], list[httpx.Response]]
) -> None:
    """The last test: texts are on their way, new ones are refused meanwhile, and all end well.

    A second signal does not wait for the rest of a request, and nothing is told as a failure.
    """
    before = builtin_models()["nano"].read_bytes()
    place = urlsplit(server.url)
    half = socket.create_connection((place.hostname, place.port))
    half.sendall(HALF)
    found = begin(2)
    until(lambda: texts_in_work(http) == 2)
    server.signal(signal.SIGTERM)
    until(lambda: http.get(http.base_url.join("/health")).status_code == 503)
    refused = http.post("/completions", json=LONG)
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "server_stopping")
    assert found == []
    until(lambda: len(found) == 2, seconds=60)
    server.signal(signal.SIGTERM)
    assert server.end() == (0, "")
    half.close()
    assert [one.text.endswith("data: [DONE]\n\n") for one in found] == [True] * 2
    assert [one.text.count("data: {") > 200 for one in found] == [True] * 2
    assert builtin_models()["nano"].read_bytes() == before
