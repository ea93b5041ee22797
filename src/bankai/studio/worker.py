"""The process in which a search of the studio runs: `python -m bankai.studio.worker JOB`.

Contract: writes a line of JSON for every piece of news, the last one tells how it ended. Whoever started it holds its
stdin open: when that is closed, or its holder dies, the search stops as on Ctrl-C and keeps the best patch so far.
Leaves nothing half-written.
"""

import os
import signal
import sys
from _thread import interrupt_main
from pathlib import Path
from threading import Thread

import msgspec

from bankai.errors import BankaiError
from bankai.jobs.failures import probes_from_failures
from bankai.jobs.replies import NO_TEXT, with_replies
from bankai.jobs.search import Device, Dtype, Listener, search_file
from bankai.jobs.task import Task
from bankai.probes import load_neutral_texts, load_probe_set
from bankai.search import Event, Finished, SearchProgress, SearchSettings

__all__ = ["Job", "News", "main", "task_of"]

NICER = 5  # to those who look at the page


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """From a file of prompts that a model fails to a patch: `probes` and `patch` are the files to write.

    `text`: the name of a neutral text beside a chat model's own replies, None for these alone, NO_TEXT for nothing.
    """

    source: str
    file: str
    chat: bool
    probes: str
    patch: str
    text: str | None
    settings: SearchSettings
    device: Device
    dtype: Dtype


class News(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is being done, how many are done and of how many; warnings; at last how it `ended`."""

    what: str = ""
    done: int = 0
    total: int = 0
    warnings: list[str] = []
    error: str = ""
    ended: bool = False


def main() -> None:
    """Do the job of the command line."""
    if hasattr(os, "nice"):
        os.nice(NICER)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a page in the background may have it ignored
    job = msgspec.json.decode(sys.argv[1], type=Job)
    Thread(target=_watch, daemon=True).start()
    try:
        _tell(_search(job))
    except KeyboardInterrupt:
        _tell(News(what="stopped", ended=True))
    except (BankaiError, OSError) as error:
        _tell(News(error=str(error), ended=True))


def _watch() -> None:
    """Stop when nobody listens any more. Reads past Python's buffers, whose locks must be free at exit."""
    while os.read(0, 1):
        pass
    interrupt_main()


def _search(job: Job) -> News:
    made = probes_from_failures(
        job.file,
        job.source,
        Path(job.probes),
        chat=job.chat,
        unknown="keep",  # told in the warnings
        device=job.device,
        dtype=job.dtype,
        listen=_step,
    )
    _tell(News(what="reading the base", warnings=made.warnings))
    task = task_of(job)
    listen = _follow(SearchProgress(Path(job.patch).stem, job.settings))
    result = search_file(
        job.source, Path(job.patch), task, job.settings, listen, device=job.device, dtype=job.dtype
    )
    what = "patch found" if result.patch else f"no patch found: {result.reason}"
    return News(what=what, ended=True)


def task_of(job: Job) -> Task:
    """What to search for with the probes that were made, and the neutral text; a chat model may be asked for it."""
    probes = [load_probe_set(job.probes)]
    if job.text == NO_TEXT:
        return Task.of(probes)
    texts = () if job.text is None else load_neutral_texts(job.text)
    return with_replies(
        Task.of(probes, texts=texts),
        job.source,
        job.settings,
        device=job.device,
        dtype=job.dtype,
        listen=_step,
    )


def _step(what: str, done: int, total: int) -> None:
    _tell(News(what=what, done=done, total=total))


def _follow(progress: SearchProgress) -> Listener:
    """Tells how far a search is."""

    def listen(label: str, settings: SearchSettings, event: Event) -> None:
        progress.take(event)
        if isinstance(event, Finished):
            _tell(News(what="measuring what the search did not read"))
        else:
            _tell(News(what=str(progress), done=int(progress.evaluations), total=int(settings.budget or 0)))

    return listen


def _tell(news: News) -> None:
    print(msgspec.json.encode(news).decode(), flush=True)


if __name__ == "__main__":
    main()
