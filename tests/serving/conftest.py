"""A tiny model with a library, and a server of both."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from asked import Ask, Client, Test
from watched import Watched

from bankai.checkpoint.model_file import Checkpoint, open_checkpoint
from bankai.library.library import Library
from bankai.model import load
from bankai.model.tokenizer import end_tokens
from bankai.patch import Flip, Patch, bind, encode
from bankai.serving.catalog import Catalog
from bankai.serving.http.app import make_app
from bankai.serving.http.door import Door
from bankai.serving.scheduler import Scheduler

FLIPS = {"up": Flip("model.layers.0.mlp.up_proj", 3), "down": Flip("model.layers.1.mlp.down_proj", 7, 1)}


@pytest.fixture(scope="module")
def checkpoint(tiny_gguf: Path) -> Iterator[Checkpoint]:
    with open_checkpoint(tiny_gguf) as opened:
        yield opened


@pytest.fixture(scope="module")
def loaded(tiny_gguf: Path) -> tuple[Any, Any]:
    return load(tiny_gguf)


@pytest.fixture
def library(tmp_path: Path, checkpoint: Checkpoint) -> Path:
    path = tmp_path / "some.library"
    with Library(path, create=True) as opened:
        for name, flip in FLIPS.items():
            opened.put(encode(bind(Patch.of([flip]), checkpoint)), name=name)
    return path


@pytest.fixture
def serve(checkpoint: Checkpoint, loaded: tuple[Any, Any], library: Path) -> Ask:
    """`serve(test, door, queue=2)`: runs a test against a server."""

    @asynccontextmanager
    async def client(door: Door | None, queue: int) -> AsyncIterator[Client]:
        model, tokenizer = loaded
        engine = Watched(model, places=2, context=128)
        scheduler = Scheduler(engine, tokenizer, end_tokens(tokenizer), queue=queue)
        app = make_app(Catalog(checkpoint, "tiny", library), scheduler, tokenizer, door)
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://localhost") as http,
        ):
            yield Client(http, engine, scheduler)

    def run(test: Test, door: Door | None = None, queue: int = 2) -> None:
        async def limited() -> None:
            async with asyncio.timeout(30), client(door, queue) as one:
                await test(one)
                assert (one.scheduler.load[0], one.engine.inside) == (0, set()), "a place leaks"

        asyncio.run(limited())

    return run
