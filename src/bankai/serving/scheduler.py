"""Who computes next: a bounded queue of texts in front of the one thread that uses the engine.

Contract: a text is taken when there is room for it, else refused at once (BusyError), and computed in order of arrival.
Whoever closes its stream frees its place before the next step. What fails, fails the texts that were computed then, and
no other; no text sees a piece of another. After `drain` nothing new is taken and what was taken is finished, within a
time. Streams belong to the event loop in which the scheduler was entered.
"""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from threading import Condition, Thread
from typing import Literal, Self

from transformers import PreTrainedTokenizerBase

from bankai.errors import BusyError, EngineError, StoppingError
from bankai.model.generation import Ending, Writer
from bankai.model.sampling import Choice, Logits, Sampler
from bankai.model.text_stream import TextStream
from bankai.patch import Patch
from bankai.serving.engine import Engine, Generation

__all__ = ["Finish", "Job", "Piece", "Scheduler", "Stream"]

Finish = Literal["stop", "length"]
"""Why a text ended: the model's turn or a stop string, or the most tokens."""
_FINISH: Mapping[Ending | None, Finish | None] = {
    None: None,
    "end": "stop",
    "stop": "stop",
    "length": "length",
}

_log = logging.getLogger(__name__)
_FAILED = "the engine failed at this text; the log of the server says more"
_STOPPING = "the server is stopping; try again later"
_PATIENCE = 10  # seconds, for a step that is under way when the server ends


@dataclass(frozen=True, slots=True)
class Job:
    """A text to write: at most `most` tokens after the prompt.

    `ends`: tokens that end it beside those of the model. `scored`: the tokens of the prompt are told as choices too,
    as is the token that ends the text; clients that score texts cut off the last one, whatever it is.
    """

    prompt: tuple[int, ...]
    patch: Patch
    key: str
    most: int
    sampler: Sampler
    stops: tuple[str, ...] = ()
    ends: frozenset[int] = frozenset()
    scored: bool = False


@dataclass(frozen=True, slots=True)
class Piece:
    """Text that is certain now, what was chosen since the last piece, and in the last piece why the text ended.

    `prompt`: in the first piece of a job that is scored, the tokens of its prompt; the first of them has no likelihood.
    """

    text: str
    choices: tuple[Choice, ...]
    finish: Finish | None = None
    prompt: tuple[Choice, ...] = ()


class Stream:
    """A place in the queue, and the text that takes it; `async for` gives its pieces.

    Raises EngineError where the engine fails, StoppingError where the server ends first.
    """

    def __init__(self, close: "Callable[[Stream], None]") -> None:
        self._close = close
        self._pieces: asyncio.Queue[Piece | Exception] = asyncio.Queue()

    def close(self) -> None:
        """Free the place, finished or not. Nothing happens the second time."""
        self._close(self)

    async def __aiter__(self) -> AsyncIterator[Piece]:
        while True:
            piece = await self._pieces.get()
            if isinstance(piece, Exception):
                raise piece
            yield piece
            if piece.finish:
                return

    def _put(self, piece: Piece | Exception) -> None:
        self._pieces.put_nowait(piece)


_Told = tuple[Stream, Piece | Exception]


@dataclass(eq=False)
class _Text:
    """A job in work."""

    stream: Stream
    job: Job
    writer: Writer
    generation: Generation = field(init=False)
    judged: list[Choice] = field(default_factory=list)  # of the prompt, not yet told

    def __post_init__(self) -> None:
        job = self.job
        self.generation = Generation(job.prompt, job.patch, job.key, read=[] if job.scored else None)
        self._following = iter(job.prompt)
        if job.scored:
            self.judged.append(Choice(next(self._following)))

    def judge(self) -> None:
        """Take what the engine has read of the prompt. Raises NotFiniteError."""
        blocks = self.generation.read or []
        for logits in (row for block in blocks for row in block):
            self.judged.append(self.job.sampler.judge(logits, next(self._following)))
        blocks.clear()

    def piece(self, text: str, choices: tuple[Choice, ...], finish: Finish | None) -> Piece:
        """The next one."""
        prompt, self.judged = tuple(self.judged), []
        return Piece(text, choices, finish, prompt)


class Scheduler:
    """Runs an engine in a thread of its own from `async with` on, and closes it in the end.

    `ends`: tokens that end a text. `queue`: texts that may wait beside those that the engine has places for.
    """

    def __init__(
        self, engine: Engine, tokenizer: PreTrainedTokenizerBase, ends: Collection[int], *, queue: int = 64
    ) -> None:
        self._engine, self._tokenizer, self._ends = engine, tokenizer, frozenset(ends)
        self._room = engine.places + queue
        self._open: set[Stream] = set()  # of the event loop alone, as are the next two
        self._stopping = False
        self._empty = asyncio.Event()
        self._changed = Condition()  # guards the next three
        self._waiting: deque[_Text] = deque()
        self._gone: set[Stream] = set()
        self._ended = False
        self._running: dict[Generation, _Text] = {}  # of the thread alone
        self._thread = Thread(target=self._run, name="engine", daemon=True)

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._thread.start()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.drain(0)
        with self._changed:
            self._ended = True
            self._changed.notify()
        await asyncio.to_thread(self._thread.join, _PATIENCE)

    @property
    def limits(self) -> tuple[int, int]:
        """Most tokens of a text, prompt included; and how many tokens there are."""
        return self._engine.context, self._engine.vocabulary

    @property
    def stopping(self) -> bool:
        """Whether nothing new is taken."""
        return self._stopping or not self._thread.is_alive()

    @property
    def load(self) -> tuple[int, int]:
        """How many texts are in work or wait, and how many may."""
        return len(self._open), self._room

    def reserve(self) -> Stream:
        """A place for a text that `start` brings. Raises BusyError and StoppingError."""
        if self.stopping:
            raise StoppingError(_STOPPING)
        if len(self._open) >= self._room:
            raise BusyError(f"{len(self._open)} texts are in work or wait already; try again later")
        stream = Stream(self._leave)
        self._open.add(stream)
        return stream

    def start(self, stream: Stream, job: Job) -> None:
        """Let a job take a reserved place."""
        with self._changed:
            if self._ended:
                stream._put(EngineError(_FAILED))
            elif stream in self._open:
                shown = TextStream(self._tokenizer, job.stops)
                writer = Writer(job.sampler, shown, self._ends | job.ends, job.most)
                self._waiting.append(_Text(stream, job, writer))
                self._changed.notify()

    async def drain(self, seconds: float) -> None:
        """Take nothing new; return when all is finished, or end what is not when the time is over."""
        self._stopping = True
        if self._open:
            try:
                await asyncio.wait_for(self._empty.wait(), seconds)
            except TimeoutError:
                _log.warning("%d texts are not finished in %g s", len(self._open), seconds)
        for stream in tuple(self._open):
            stream._put(StoppingError(_STOPPING))
            stream.close()

    def _leave(self, stream: Stream) -> None:
        if stream in self._open:
            self._open.remove(stream)
            self._tell_if_empty()
            with self._changed:
                self._gone.add(stream)
                self._changed.notify()

    def _deliver(self, pieces: Sequence[_Told]) -> None:
        """Hand out pieces; a last one frees the place, whether or not it is read."""
        for stream, piece in pieces:
            stream._put(piece)
            if isinstance(piece, Exception) or piece.finish:
                self._open.discard(stream)
        self._tell_if_empty()

    def _tell_if_empty(self) -> None:
        if self._stopping and not self._open:
            self._empty.set()

    # From here on in the thread of the engine.

    def _run(self) -> None:
        try:
            while self._wait():
                self._tell(self._step())
        except Exception:  # a bug of ours: nobody may wait for ever because of it
            _log.exception("the scheduler failed; the server takes nothing more")
        finally:
            with self._changed:
                self._ended = True
                texts = [*self._running.values(), *self._waiting]
            self._tell([(text.stream, EngineError(_FAILED)) for text in texts])
            self._engine.close()

    def _tell(self, pieces: Sequence[_Told]) -> None:
        if pieces:
            with suppress(RuntimeError):  # the loop has ended, and with it whoever listened
                self._loop.call_soon_threadsafe(self._deliver, pieces)

    def _wait(self) -> bool:
        """Wait for something to do, let go of whoever left, and begin what there is a place for; False in the end."""
        with self._changed:
            while not (self._waiting or self._running or self._gone or self._ended):
                self._changed.wait()
            if self._ended:
                return False
            gone, self._gone = self._gone, set()
            left = [text for text in self._running.values() if text.stream in gone]
            self._waiting = deque(text for text in self._waiting if text.stream not in gone)
            free = self._engine.places - len(self._running) + len(left)
            new = [self._waiting.popleft() for _ in range(min(free, len(self._waiting)))]
        for text in left:
            self._remove(text)
        for text in new:
            self._running[text.generation] = text
            try:
                self._engine.add(text.generation)
            except Exception as error:
                self._tell([self._fail(text, error)])
        return True

    def _step(self) -> list[_Told]:
        if not self._running:
            return []
        try:
            computed = self._engine.step()
        except Exception as error:
            return [self._fail(text, error) for text in tuple(self._running.values())]
        failed = [told for text in tuple(self._running.values()) for told in self._judge(text)]
        known = ((self._running.get(generation), logits) for generation, logits in computed)
        return [*failed, *(self._advance(text, logits) for text, logits in known if text)]

    def _judge(self, text: _Text) -> list[_Told]:
        """Judge what was read of a prompt; the failure of it, if any."""
        try:
            text.judge()
        except Exception as error:
            return [self._fail(text, error)]
        return []

    def _advance(self, text: _Text, logits: Logits) -> _Told:
        """Choose the next token of a text."""
        if text.writer.ended:  # before it began: only its prompt was to be read
            self._remove(text)
            return text.stream, text.piece("", (), "length")
        try:
            written = text.writer.advance(logits)
        except Exception as error:
            return self._fail(text, error)
        text.generation.tokens.append(written.choice.token)
        if written.ending:
            self._remove(text)
        shown = written.ending != "end" or text.job.scored
        return text.stream, text.piece(
            written.text, (written.choice,) if shown else (), _FINISH[written.ending]
        )

    def _fail(self, text: _Text, error: Exception) -> _Told:
        """What the client hears of an error: nothing that may be of another text."""
        _log.error("a text failed", exc_info=error)
        self._remove(text)
        return text.stream, EngineError(_FAILED)

    def _remove(self, text: _Text) -> None:
        if self._running.pop(text.generation, None) is None:
            return
        try:
            self._engine.remove(text.generation)
        except Exception:
            _log.exception("the engine does not let go of a text")
