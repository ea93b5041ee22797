"""Texts come out as if each were alone; a bounded number is taken, and who leaves or fails takes nobody along."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from watched import Watched

from bankai.errors import BusyError, EngineError, StoppingError
from bankai.model import load
from bankai.model.sampling import Sampler
from bankai.patch import Flip, Patch
from bankai.serving.scheduler import Job, Piece, Scheduler, Stream

PATCHES = [Patch(), *(Patch.of([Flip("model.layers.0.mlp.up_proj", row)]) for row in (3, 77))]


@pytest.fixture(scope="module")
def loaded(tiny_gguf: Path) -> tuple[Any, Any]:
    return load(tiny_gguf)


@asynccontextmanager
async def running(
    loaded: tuple[Any, Any], *, places: int = 2, queue: int = 2
) -> AsyncIterator[tuple[Scheduler, Watched]]:
    model, tokenizer = loaded
    engine = Watched(model, places=places, context=128)
    try:
        async with Scheduler(engine, tokenizer, [tokenizer.eos_token_id], queue=queue) as scheduler:
            yield scheduler, engine
    finally:
        engine.may_step.set()
    assert engine.closed


def job(number: int = 0, most: int = 8, **changes: Any) -> Job:
    """Another prompt for every number; each third the same patch."""
    patch = PATCHES[number % len(PATCHES)]
    settings = {"patch": patch, "key": repr(sorted(patch.flips)), "most": most, "sampler": Sampler(0.0)}
    return Job((number % 250, *range(5, 5 + number % 7)), **(settings | changes))


def begin(scheduler: Scheduler, one: Job) -> Stream:
    stream = scheduler.reserve()
    scheduler.start(stream, one)
    return stream


async def finish(stream: Stream) -> tuple[list[int], Piece]:
    """All tokens of a stream, and its last piece."""
    tokens: list[int] = []
    async for piece in stream:
        tokens += [choice.token for choice in piece.choices]
    return tokens, piece


async def until(condition: Any) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)


def run(test: Coroutine[Any, Any, None]) -> None:
    async def limited() -> None:
        async with asyncio.timeout(30):
            await test

    asyncio.run(limited())


def test_each_text_is_that_of_the_same_alone(loaded: tuple[Any, Any]) -> None:
    async def test() -> None:
        async with running(loaded, places=3, queue=40) as (scheduler, engine):
            jobs = [job(number, most=1 + number % 9) for number in range(40)]
            alone = [await finish(begin(scheduler, one)) for one in jobs]
            assert engine.crowd == 1
            together = await asyncio.gather(*[finish(begin(scheduler, one)) for one in jobs])
            assert engine.crowd == 3
            assert together == alone
            assert [last.finish for _, last in alone].count("length") > 30
            assert len({str(tokens) for tokens, _ in alone}) > 20, "or the comparison says little"
            assert engine.inside == set()
            assert [prompt for what, prompt in engine.log if what == "add"][40:] == [
                one.prompt for one in jobs
            ]

    run(test())


def test_why_a_text_ends(loaded: tuple[Any, Any]) -> None:
    async def test() -> None:
        async with running(loaded) as (scheduler, _):
            tokens, last = await finish(begin(scheduler, job(most=6)))
            assert (len(tokens), last.finish) == (6, "length")
            text = "".join([piece.text async for piece in begin(scheduler, job(most=6))])
            stop = text[2:4]
            pieces = [piece async for piece in begin(scheduler, job(most=6, stops=(stop,)))]
            assert "".join(piece.text for piece in pieces) == text[: text.index(stop)]
            assert pieces[-1].finish == "stop"

    run(test())


def test_the_token_of_the_end_is_not_shown(loaded: tuple[Any, Any]) -> None:
    model, tokenizer = loaded

    async def test() -> None:
        engine = Watched(model, places=1)
        async with Scheduler(engine, tokenizer, range(300), queue=1) as scheduler:
            assert await finish(begin(scheduler, job())) == ([], Piece("", (), "stop"))
            assert engine.inside == set()

    run(test())


def test_no_more_than_there_is_room_for(loaded: tuple[Any, Any]) -> None:
    async def test() -> None:
        async with running(loaded, places=2, queue=2) as (scheduler, engine):
            engine.may_step.clear()
            streams = [begin(scheduler, job(number)) for number in range(3)]
            reserved = scheduler.reserve()
            with pytest.raises(BusyError, match="try again"):
                scheduler.reserve()
            assert scheduler.load == (4, 4)
            reserved.close()
            reserved.close()
            assert scheduler.load == (3, 4)
            streams.append(begin(scheduler, job(3)))
            engine.may_step.set()
            await asyncio.gather(*map(finish, streams))
            assert scheduler.load == (0, 4)

    run(test())


def test_a_text_that_nobody_reads_frees_its_place(loaded: tuple[Any, Any]) -> None:
    async def test() -> None:
        async with running(loaded) as (scheduler, engine):
            stream = begin(scheduler, job(most=5))
            await until(lambda: scheduler.load[0] == 0)
            assert len((await finish(stream))[0]) == 5
            assert engine.inside == set()

    run(test())


def test_who_leaves_is_not_computed_for(loaded: tuple[Any, Any]) -> None:
    async def test() -> None:
        async with running(loaded, places=2, queue=3) as (scheduler, engine):
            engine.may_step.clear()
            streams = [begin(scheduler, job(number, most=50)) for number in range(4)]
            await until(lambda: len(engine.inside) == 2)
            for stream in (streams[0], streams[2]):  # one in work, one that waits
                stream.close()
            engine.may_step.set()
            ends = await asyncio.gather(finish(streams[1]), finish(streams[3]))
            assert [last.finish for _, last in ends] == ["length", "length"]
            prompts = [job(number).prompt for number in range(4)]
            assert [prompt for what, prompt in engine.log if what == "add"] == [prompts[n] for n in (0, 1, 3)]
            assert engine.log.index(("remove", prompts[0])) < engine.log.index(("add", prompts[3]))
            assert engine.inside == set()

    run(test())


def test_an_engine_that_fails_fails_who_is_in_work(loaded: tuple[Any, Any]) -> None:
    async def test() -> None:
        async with running(loaded, places=2, queue=9) as (scheduler, engine):
            wanted = [await finish(begin(scheduler, job(number))) for number in range(4)]
            engine.may_step.clear()
            streams = [begin(scheduler, job(number)) for number in range(4)]
            await until(lambda: len(engine.inside) == 2)
            failures = iter([True])
            engine.fails = lambda what, _: what == "step" and next(failures, False)
            engine.may_step.set()
            found = await asyncio.gather(*map(finish, streams), return_exceptions=True)
            assert [type(one) for one in found[:2]] == [EngineError, EngineError]
            assert "secret" not in str(found[0])
            assert found[2:] == wanted[2:]
            assert scheduler.load[0] == 0

    run(test())


@pytest.mark.parametrize("where", ["add", "logits"])
def test_a_text_that_fails_fails_alone(loaded: tuple[Any, Any], where: str) -> None:
    async def test() -> None:
        async with running(loaded, places=3, queue=9) as (scheduler, engine):
            wanted = [await finish(begin(scheduler, job(number))) for number in range(3)]
            bad = job(1).prompt
            if where == "add":
                engine.fails = lambda what, one: what == "add" and one is not None and one.prompt == bad
            else:
                engine.poisons = lambda one: one.prompt == bad
            streams = [begin(scheduler, job(number)) for number in range(3)]
            found = await asyncio.gather(*map(finish, streams), return_exceptions=True)
            assert [found[0], found[2]] == [wanted[0], wanted[2]]
            assert isinstance(found[1], EngineError)
            assert (engine.inside, scheduler.load[0]) == (set(), 0)

    run(test())


def test_what_was_taken_is_finished(loaded: tuple[Any, Any]) -> None:
    async def test() -> None:
        async with running(loaded, places=1, queue=5) as (scheduler, engine):
            engine.may_step.clear()
            streams = [begin(scheduler, job(number)) for number in range(3)]
            draining = asyncio.create_task(scheduler.drain(20))
            await until(lambda: scheduler.stopping)
            with pytest.raises(StoppingError, match="stopping"):
                scheduler.reserve()
            engine.may_step.set()
            ends = await asyncio.gather(*map(finish, streams))
            assert [last.finish for _, last in ends] == ["length"] * 3
            await draining

    run(test())


def test_when_the_time_is_over_texts_are_told(loaded: tuple[Any, Any]) -> None:
    async def test() -> None:
        async with running(loaded, places=1, queue=5) as (scheduler, engine):
            engine.may_step.clear()
            streams = [begin(scheduler, job(number)) for number in range(2)]
            await scheduler.drain(0.05)
            for stream in streams:
                with pytest.raises(StoppingError):
                    await finish(stream)
            engine.may_step.set()

    run(test())


def test_a_bug_leaves_nobody_waiting(loaded: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        async with running(loaded, places=1, queue=5) as (scheduler, engine):
            engine.may_step.clear()
            streams = [begin(scheduler, job(number)) for number in range(2)]
            late = scheduler.reserve()
            await until(lambda: len(engine.inside) == 1)
            monkeypatch.setattr(scheduler, "_step", lambda: 1 / 0)
            engine.may_step.set()
            for stream in streams:
                with pytest.raises(EngineError):
                    await finish(stream)
            scheduler.start(late, job())
            with pytest.raises(EngineError):
                await finish(late)
            late.close()
            await until(lambda: scheduler.stopping)

    run(test())
