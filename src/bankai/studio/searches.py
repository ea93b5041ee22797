"""Searches that are started from a file of failures: one at a time, in a process of its own.

So a search takes nothing from those who look at the page but time of the processor. What it leaves is what `bankai
search` leaves: a probe set, a run and a patch, in one folder.
"""

import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from threading import Lock, Thread
from typing import Literal

import msgspec

from bankai.errors import StudioError
from bankai.jobs.search import Device, Dtype
from bankai.probes.tables import SUFFIXES
from bankai.search import NEUTRAL_TOKENS, SearchSettings
from bankai.studio.worker import Job, News

__all__ = ["MOST_BYTES", "MOST_EVALUATIONS", "MOST_MINUTES", "Objective", "Searches", "Status", "Wanted"]

Objective = Literal["mean", "boundary"]

MOST_BYTES = 4 * 2**20  # of a file that is given
MOST_EVALUATIONS, MOST_MINUTES = 5000, 240
LONGEST_NAME = 60
STOPPING = 60  # seconds in which a search that is told to stop has to


@dataclass(frozen=True)
class Wanted:
    """A search to start; `text` as of a `Job`."""

    file: Path
    name: str = ""
    chat: bool = False
    evaluations: int = 300
    minutes: int = 15
    objective: Objective = "mean"
    text: str | None = None
    seed: int = 0


@dataclass
class Status:
    """Of the last search that was started; `news` is the last it told."""

    name: str
    news: News = News(what="starting")
    warnings: list[str] = field(default_factory=list)

    @property
    def running(self) -> bool:
        return not self.news.ended


class Searches:
    """The searches of one model into one folder, which is made when the first one starts."""

    def __init__(
        self, source: str, folder: Path, *, device: Device = "cpu", dtype: Dtype = "float32"
    ) -> None:
        self.source, self.folder = source, folder
        self.device, self.dtype = device, dtype
        self.status: Status | None = None
        self._process: subprocess.Popen[str] | None = None
        self._lock = Lock()

    def start(self, wanted: Wanted) -> str:
        """Start a search and return its name. Raises StudioError when one is under way, or for what cannot be done."""
        with self._lock:
            if self.status is not None and self.status.running:
                raise StudioError(f"{self.status.name} is under way; wait for its end, or stop it")
            job = self._job(wanted)
            command = [sys.executable, "-m", "bankai.studio.worker", msgspec.json.encode(job).decode()]
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                start_new_session=True,  # Ctrl-C is for the page; the end of stdin stops a search
            )
            self.status = Status(Path(job.patch).stem)
            Thread(target=_listen, args=(self._process, self.status, wanted.file), daemon=True).start()
            return self.status.name

    def stop(self) -> None:
        """Tell the search that is under way to stop; it keeps the best patch so far."""
        with self._lock:
            if self._process is not None and self._process.stdin is not None:
                self._process.stdin.close()

    def close(self) -> None:
        """Stop, and wait until nothing runs any more."""
        self.stop()
        if self._process is not None:
            try:
                self._process.wait(STOPPING)
            except subprocess.TimeoutExpired:
                self._process.kill()

    def _job(self, wanted: Wanted) -> Job:
        _check(wanted)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StudioError(
                f"no search can be kept: {error.strerror}; start the studio with another --runs"
            ) from None
        name = self._free(_plain(wanted.name or wanted.file.stem))
        settings = SearchSettings(
            neutral=NEUTRAL_TOKENS,
            budget=wanted.evaluations,
            minutes=wanted.minutes,
            gain=wanted.objective,
            seed=wanted.seed,
        )
        return Job(
            source=self.source,
            file=str(wanted.file),
            chat=wanted.chat,
            probes=str(self.folder / f"{name}.jsonl"),
            patch=str(self.folder / f"{name}.bankai"),
            text=wanted.text,
            settings=settings,
            device=self.device,
            dtype=self.dtype,
        )

    def _free(self, name: str) -> str:
        """The name, with a number when something here has it."""
        names = (name if number == 1 else f"{name}-{number}" for number in count(1))
        return next(one for one in names if not any(self.folder.glob(f"{one}.*")))


def _check(wanted: Wanted) -> None:
    if wanted.file.suffix.lower() not in SUFFIXES:
        raise StudioError(f"{wanted.file.name} is neither CSV nor JSONL; give a file of prompts and answers")
    if not wanted.file.is_file():
        raise StudioError(f"{wanted.file.name} was kept for an hour and is gone; drop it again")
    if wanted.file.stat().st_size > MOST_BYTES:
        raise StudioError(
            f"{wanted.file.name} is larger than {MOST_BYTES >> 20} MiB; use `bankai probes from-failures`"
        )
    if not (1 <= wanted.evaluations <= MOST_EVALUATIONS and 1 <= wanted.minutes <= MOST_MINUTES):
        raise StudioError(f"give 1 to {MOST_EVALUATIONS} evaluations and 1 to {MOST_MINUTES} minutes")


def _plain(name: str) -> str:
    """Letters, digits and dashes: a name of files and no path."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", name)[:LONGEST_NAME].strip("-") or "search"


def _listen(process: "subprocess.Popen[str]", status: Status, file: Path) -> None:
    """Take the news of a search until its end, whatever that is."""
    for news in _news(process):
        status.warnings += news.warnings
        status.news = msgspec.structs.replace(news, error=news.error.replace(str(file), file.name))
    code = process.wait()
    if status.running:
        status.news = News(error=f"the search ended at once (exit code {code}); see the terminal", ended=True)


def _news(process: "subprocess.Popen[str]") -> Iterator[News]:
    assert process.stdout is not None
    for line in process.stdout:
        try:
            yield msgspec.json.decode(line, type=News)
        except msgspec.MsgspecError:  # something else that a library prints
            continue
