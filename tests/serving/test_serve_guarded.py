"""A real `bankai serve` with a key and little room, under attack; the last test kills it.

Every test runs with both engines; that of llama.cpp is for `make test-engines`.
"""

import asyncio
import random
import shutil
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import openai
import pytest
from openai import OpenAI
from served import Process, add_patches, serving

KEY = "correct-horse-battery"
PATCHES = ["p0", "p1", "p2"]
MODELS = ["model", *(f"model+{name}" for name in PATCHES)]
ENGINES = ["torch", pytest.param("llama", marks=pytest.mark.engines)]


@pytest.fixture(scope="module")
def files(tiny_gguf: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model, a library and a key."""
    folder = tmp_path_factory.mktemp("served")
    shutil.copy(tiny_gguf, folder / "model.gguf")
    add_patches(folder / "patches.library", folder / "model.gguf", PATCHES, rows=12)
    (folder / "key").write_text(f"{KEY}\n")
    return folder


@pytest.fixture(scope="module", params=ENGINES)
def server(request: pytest.FixtureRequest, files: Path) -> Iterator[Process]:
    options = ["--library", files / "patches.library", "--api-key-file", files / "key"]
    options += ["--engine", request.param, "--places", 1, "--queue", 1, "--context", 128]
    with serving(files / "model.gguf", *options, BANKAI_API_KEY="another-key") as process:
        yield process


@pytest.fixture(scope="module")
def client(server: Process) -> OpenAI:
    return OpenAI(base_url=server.url, api_key=KEY, max_retries=0)


@pytest.fixture(scope="module")
def http(server: Process) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {KEY}"}
    with httpx.Client(base_url=server.url, timeout=60, headers=headers) as client:
        yield client


def asked(model: str, **changes: object) -> dict[str, object]:
    return {"model": model, "prompt": "the number is", "max_tokens": 12, "temperature": 0} | changes


def test_the_key_opens(server: Process, client: OpenAI) -> None:
    assert [model.id for model in client.models.list()] == MODELS
    for wrong in ("another-key", f"{KEY}x", "", KEY.upper()):
        refused = OpenAI(base_url=server.url, api_key=wrong or "-", max_retries=0)
        with pytest.raises(openai.AuthenticationError) as told:
            refused.models.list()
        assert told.value.code == "invalid_api_key"
        with pytest.raises(openai.AuthenticationError):
            refused.completions.create(model="model", prompt="x")


def test_ten_times_the_load(server: Process, http: httpx.Client) -> None:
    """Everybody gets the text of the own model, or is told to come again; nobody else's text, and no crash."""
    solo = {model: http.post("/completions", json=asked(model)).json()["choices"] for model in MODELS}
    assert len({str(choices) for choices in solo.values()}) == len(MODELS)
    rng = random.Random(0)
    models = [rng.choice(MODELS) for _ in range(40)]

    async def ask_all() -> list[httpx.Response]:
        async with httpx.AsyncClient(base_url=server.url, timeout=60, headers=http.headers) as many:
            return await asyncio.gather(*[many.post("/completions", json=asked(model)) for model in models])

    answers = asyncio.run(ask_all())
    codes = [answer.status_code for answer in answers]
    assert set(codes) == {200, 429}
    for model, answer in zip(models, answers, strict=True):
        if answer.status_code == 200:
            assert answer.json()["choices"] == solo[model]
        else:
            assert answer.json()["error"]["code"] == "server_busy"
            assert answer.headers["Retry-After"] == "1"
    health = httpx.get(server.health).json()
    assert (health["status"], health["texts"], health["room"]) == ("ok", 0, 2)


def test_too_large_a_body(http: httpx.Client) -> None:
    """With its length told before, and without; the whole is refused although all of it is sent."""
    body = b'{"model": "model", "prompt": "' + b"x" * (2 << 20) + b'"}'
    headers = {"Content-Type": "application/json"}
    for content in (body, iter([body[:1000], body[1000:]])):
        answer = http.post("/completions", content=content, headers=headers)
        assert (answer.status_code, answer.json()["error"]["code"]) == (413, "request_too_large")


LINES = [
    (b"GET /v1/models/../../../../etc/passwd HTTP/1.1", b"404"),
    (b"GET /v1/models/%2e%2e%2f%2e%2e%2fetc%2fpasswd HTTP/1.1", b"404"),
    (b"GET //etc/passwd HTTP/1.1", b"404"),
    (b"GET /v1/models/model%00 HTTP/1.1", b"404"),
    (b"GET /v1/models/model+" + b"p0+" * 5000 + b" HTTP/1.1", b"404"),
    (b"GET /v1/models/" + b"x" * 100_000 + b" HTTP/1.1", b"4"),  # by how it arrives, read or not
    (b"POST /v1/completions HTTP/1.1\r\nContent-Length: -5", b"400"),
    (b"POST /v1/completions HTTP/1.1\r\nContent-Length: 99999999999999999999999", b"400"),
    (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"400"),
]


@pytest.mark.parametrize(("line", "status"), LINES, ids=range(len(LINES)))
def test_what_no_client_sends(server: Process, line: bytes, status: bytes) -> None:
    place = urlsplit(server.url)
    with socket.create_connection((place.hostname, place.port), timeout=20) as connection:
        connection.sendall(
            line + b"\r\nHost: localhost\r\nAuthorization: Bearer " + KEY.encode() + b"\r\n\r\n"
        )
        answer = connection.recv(65536)
    assert answer.startswith(b"HTTP/1.1 " + status), answer[:200]
    assert b"root:" not in answer
    assert httpx.get(server.health).json()["status"] == "ok"


def test_a_request_that_breaks_off(server: Process) -> None:
    place = urlsplit(server.url)
    for _ in range(5):
        with socket.create_connection((place.hostname, place.port), timeout=20) as connection:
            connection.sendall(
                b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                b"Authorization: Bearer " + KEY.encode() + b"\r\nContent-Length: 1000\r\n\r\n{"
            )
    assert httpx.get(server.health).json()["texts"] == 0


def test_a_kill_leaves_the_model_as_it_was(
    server: Process, http: httpx.Client, files: Path, tiny_gguf: Path
) -> None:
    """The last test: in the midst of a text with a patch on."""
    with http.stream("POST", "/completions", json=asked("model+p0", max_tokens=100, stream=True)) as answer:
        lines = answer.iter_lines()
        next(lines)
        server.signal(signal.SIGKILL)
        with pytest.raises(httpx.RemoteProtocolError):
            list(lines)
    code, errors = server.end()
    assert code == -signal.SIGKILL
    assert KEY not in errors
    assert (files / "model.gguf").read_bytes() == tiny_gguf.read_bytes()
    assert sorted(path.name for path in files.iterdir()) == ["key", "model.gguf", "patches.library"]
