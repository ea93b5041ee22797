"""Where a text ends: at any token that ends one for the model or the request, and at stop strings of special tokens."""

import asyncio
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from asked import Ask, Client, events, refusal

from bankai.architectures import architecture
from bankai.checkpoint.convert import stored_tensors
from bankai.checkpoint.gguf import write_gguf
from bankai.checkpoint.model_file import open_checkpoint
from bankai.serving.http.app import make_app
from bankai.serving.service import open_service

QUESTION = {"prompt": "What is the derivative of 5x^5 + 2x^4? Answer:", "temperature": 0, "max_tokens": 12}
CHAT = {"messages": [{"role": "user", "content": "Tom has 6 marbles."}], "temperature": 0, "max_tokens": 40}
START, TURN, TEXT = "<|im_start|>", "<|im_end|>", "<|endoftext|>"
SHOWN = " 0\nuser\nDifferentiate 9x^5"  # with a token <|im_start|> before "user"


def ask(model: str | Path, *requests: tuple[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """The choices of a server of this model, each to one request."""

    async def asked() -> list[dict[str, Any]]:
        with open_service(str(model), name="nano", places=2, dense=True) as service:
            app = make_app(service.catalog, service.scheduler, service.tokenizer)
            transport = httpx.ASGITransport(app)
            async with (
                app.router.lifespan_context(app),
                httpx.AsyncClient(transport=transport, base_url="http://localhost/v1", timeout=60) as http,
            ):
                answers = [await http.post(path, json={"model": "nano"} | body) for path, body in requests]
                return [answer.raise_for_status().json()["choices"][0] for answer in answers]

    return asyncio.run(asked())


def test_stops_of_the_embedded_model() -> None:
    with open_checkpoint("nano") as checkpoint:
        ids = {text: token for token, text in enumerate(checkpoint.tokenizer().tokens)}
    wanted: list[tuple[dict[str, Any], str, str]] = [
        ({}, SHOWN, "length"),
        ({"stop": [START]}, " 0\n", "stop"),
        ({"stop": f"\n{START}user"}, " 0", "stop"),
        ({"stop": ["im_start|>"]}, " 0\n", "stop"),
        ({"stop": ["\nuser"]}, " 0", "stop"),  # as the text is shown
        ({"stop": [TURN, TEXT]}, SHOWN, "length"),
        ({"stop_token_ids": [ids[START]]}, " 0\n", "stop"),
        ({"stop_token_ids": [ids["0"], ids[START]]}, " ", "stop"),
        ({"stop_token_ids": []}, SHOWN, "length"),
    ]
    found = ask("nano", *(("/completions", QUESTION | fields) for fields, _, _ in wanted))
    assert [(one["text"], one["finish_reason"]) for one in found] == [tuple(one[1:]) for one in wanted]


@pytest.mark.parametrize(
    "ends", [{"eos_id": TEXT, "eot_id": TURN}, {"eos_id": None, "eot_id": None}], ids=["eot", "none"]
)
def test_every_end_of_the_file_ends_a_text(tmp_path: Path, ends: dict[str, str | None]) -> None:
    """Not only the one that is named first; without any name, those that llama.cpp knows by their text."""
    with open_checkpoint("nano") as checkpoint:
        spec = checkpoint.tokenizer()
        named = {name: None if text is None else spec.tokens.index(text) for name, text in ends.items()}
        tokens = msgspec.structs.replace(spec, **named).to_gguf()
        config = checkpoint.config
        tensors = {name: checkpoint.packed(name) for name in checkpoint.matrices}
        tensors |= {name: checkpoint.vector(name) for name in checkpoint.vectors}
        path = tmp_path / "changed.gguf"
        settings = architecture(config["model_type"]).config_to_gguf(config)
        write_gguf(path, settings | tokens, stored_tensors(tensors, config))
    ((usual,), (found,)) = (ask(model, ("/chat/completions", CHAT)) for model in ("nano", path))
    assert found == usual
    assert usual["finish_reason"] == "stop"


def test_a_token_that_is_none_is_refused(serve: Ask) -> None:
    async def test(client: Client) -> None:
        for tokens in ([300], [-1], [5, 2**40]):
            assert refusal(await client.chat(stop_token_ids=tokens), 400)["param"] == "stop_token_ids"
        assert refusal(await client.chat(stop_token_ids=5), 400)["param"] == "stop_token_ids"
        tokens = (await client.complete(logprobs=0)).json()["choices"][0]["logprobs"]["tokens"]
        assert len(tokens) == 6
        streamed = events(await client.complete(stop_token_ids=[*range(300)], stream=True))
        assert [one["choices"][0]["finish_reason"] for one in streamed] == ["stop"]

    serve(test)
