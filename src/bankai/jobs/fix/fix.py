"""The whole path, step by step; every step is done once, and its outcome kept in the folder of the fix.

Nothing here prints: whoever drives a :class:`Fix` calls its steps in their order and shows what they tell.
"""

import time
from pathlib import Path
from typing import Any

import msgspec

from bankai.errors import AuditError, StoreError
from bankai.evaluation.engines import open_engine
from bankai.jobs.chat_settings import settings_for
from bankai.jobs.checks import fingerprint_of, require_base, require_same
from bankai.jobs.fix.folder import LAST, FixFolder
from bankai.jobs.fix.measuring import Measured, measure
from bankai.jobs.fix.outcome import FixOutcome
from bankai.jobs.fix.reading import PATCH, Reading, read_table_rows
from bankai.jobs.fix.report import MARK, write_report
from bankai.jobs.fix.verdict import Verdict, judge_patch
from bankai.jobs.patch_files import check_output
from bankai.jobs.planning.plan import plan_search
from bankai.jobs.replies import kept_replies, longest_replies, wants_replies, with_replies
from bankai.jobs.search import Device, Dtype, Listener, SearchResult, ignore, resume_search, search_file
from bankai.jobs.task import Task
from bankai.jobs.workbench import Workbench
from bankai.probes import ProbeSet, load_neutral_texts
from bankai.probes.cases import Cases, read_cases
from bankai.probes.columns import Columns
from bankai.search import NEUTRAL_TOKENS, RunFolder, SearchSettings
from bankai.steps import StepListener, ignore_steps

__all__ = ["Fix", "FixAsked"]

PLAIN_BUDGET = 300  # evaluations of a search on plain prompts
MINUTES = 30.0  # that a search may take when nothing else is asked for
NEUTRAL = "neutral-en"  # of plain prompts; a chat model's own replies are its neutral text


class FixAsked(msgspec.Struct, frozen=True, kw_only=True):
    """What a fix is asked for. `chat` None: in the chat template where the model has one.

    `budget` in evaluations and `minutes` limit each search; None for a budget by the kind of prompts, and half an hour.
    """

    model: str
    table: str
    output: str
    report: str
    chat: bool | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    prompt_column: str | None = None
    answer_column: str | None = None
    grade: str | None = None
    keep_unknown: bool = False
    budget: float | None = None
    minutes: float | None = None
    seed: int = 0
    device: Device = "cpu"
    dtype: Dtype = "float32"


class _Started(msgspec.Struct, frozen=True):
    """What was asked, and of which model."""

    asked: FixAsked
    fingerprint: str


class Fix:
    """A fix in its folder. Call :meth:`read`, then, if there is something to fix, :meth:`search` for each of the names
    in its searches, and :meth:`finish`."""

    def __init__(self, folder: FixFolder, started: _Started) -> None:
        self.folder, self.asked = folder, started.asked
        self._began = time.monotonic()

    @classmethod
    def start(cls, asked: FixAsked, folder: Path) -> "Fix":
        """Raises StoreError for an output or a folder that cannot be written, StateError for a model with patches on,
        ProbeFormatError for the table, and what opening the model raises."""
        check_output(Path(asked.output))
        _check_report(Path(asked.report))
        require_base(asked.model, "fix")
        _check_apart(Path(asked.output), Path(asked.report), folder)
        _cases(asked, chat=asked.chat is not False)  # refused before there is a folder
        started = _Started(asked, fingerprint_of(asked.model))
        return cls(FixFolder.create(folder, started), started)

    @classmethod
    def resume(cls, folder: Path) -> "Fix":
        """Go on with one that was cut off. Raises StoreError when there is none, StateError for another model."""
        found, started = FixFolder.open(folder, _Started)
        require_base(started.asked.model, "fix")
        require_same(started.asked.model, started.fingerprint, folder)
        return cls(found, started)

    def read(self, listen: StepListener = ignore_steps) -> Reading:
        """What the model makes of the table."""
        return self.folder.step("reading", Reading, lambda: self._read(listen))

    def _read(self, listen: StepListener) -> Reading:
        asked = self.asked
        engine = open_engine("torch", asked.model, device=asked.device, dtype=asked.dtype)
        chat = engine.tokenizer.chat_template is not None if asked.chat is None else asked.chat
        cases = _cases(asked, chat=chat)
        return read_table_rows(engine, cases, keep_unknown=asked.keep_unknown, seed=asked.seed, listen=listen)

    def expected_seconds(self, reading: Reading) -> tuple[float, float]:
        """About how long the searches will take: from, to. Raises what planning raises."""
        low, high = 0.0, 0.0
        for name in self.left(reading):
            task, settings = self._task(reading, name), self._settings(reading, name)
            if wants_replies(task, self.asked.model, settings):
                kept = kept_replies(self.asked.model, dtype=self.asked.dtype)
                task = task.keeping(kept or longest_replies())
            asked = self.asked
            plan = plan_search(asked.model, task, settings, device=asked.device, dtype=asked.dtype)
            low, high = low + plan.seconds[0], high + plan.seconds[1]
        return low, high

    def left(self, reading: Reading) -> list[str]:
        """The searches that are still to be done, in their order."""
        return [name for name in reading.searches if self.folder.kept(name, SearchResult) is None]

    def ask_replies(self, reading: Reading, listen: StepListener = ignore_steps) -> None:
        """The model's own replies to everyday requests, asked once and kept in the user's cache."""
        with_replies(
            self._task(reading, PATCH),
            self.asked.model,
            self._settings(reading, PATCH),
            device=self.asked.device,
            dtype=self.asked.dtype,
            listen=listen,
        )

    def search(self, reading: Reading, name: str, listen: Listener = ignore) -> SearchResult:
        """Search for a patch with the probes of that name, or go on with it.

        On KeyboardInterrupt the best flips so far are written first.
        """
        return self.folder.step(name, SearchResult, lambda: self._search(reading, name, listen))

    def _search(self, reading: Reading, name: str, listen: Listener) -> SearchResult:
        run = self.folder.file(f"{name}.run")
        if RunFolder.is_one(run):
            return resume_search(run, listen)
        asked, settings = self.asked, self._settings(reading, name)
        task = with_replies(
            self._task(reading, name), asked.model, settings, device=asked.device, dtype=asked.dtype
        )
        return search_file(
            asked.model,
            self.patch_of(name),
            task,
            settings,
            listen,
            run=run,
            device=asked.device,
            dtype=asked.dtype,
        )

    def patch_of(self, name: str) -> Path:
        """Where the patch of a search goes."""
        return Path(self.asked.output) if name == PATCH else self.folder.file(f"{name}.bankai")

    def finish(self, reading: Reading, listen: StepListener = ignore_steps) -> FixOutcome:
        """Measure, judge, and write the report. Raises AuditError before the searches have been done."""
        results: dict[str, SearchResult] = {}
        for name in reading.searches:
            found = self.folder.kept(name, SearchResult)
            if found is None:
                raise AuditError(f"the search {name} has not been done yet")
            results[name] = found
        measured = self.folder.step("measured", Measured, lambda: self._measure(reading, results, listen))
        outcome = self._outcome(reading, results[PATCH], measured)
        write_report(Path(self.asked.report), outcome, reading, measured)
        self.folder.keep(LAST, outcome)
        return outcome

    def _measure(self, reading: Reading, results: dict[str, SearchResult], listen: StepListener) -> Measured:
        bench = Workbench(self.asked.model, device=self.asked.device, dtype=self.asked.dtype)
        patches = {
            name: None if result.patch is None else self.patch_of(name) for name, result in results.items()
        }
        return measure(bench, reading, patches, listen)

    def _outcome(self, reading: Reading, result: SearchResult, measured: Measured) -> FixOutcome:
        failing, passing = measured.counts("failing"), measured.counts("passing")
        general = measured.general_counts
        verdict = (
            judge_patch(failing, [passing, general], crossed=reading.crossed)
            if result.patch
            else Verdict("do not ship this", f"no patch was found: {result.reason}")
        )
        return FixOutcome(
            verdict=verdict,
            patch=result.patch,
            report=self.asked.report,
            model=Path(self.asked.model).name,
            table=Path(self.asked.table).name,
            rows=reading.rows,
            flips=result.flips,
            bare_bytes=result.bare_bytes,
            file_bytes=result.file_bytes,
            crossed=reading.crossed,
            failing=failing,
            passing=passing,
            unknown=measured.counts("unknown"),
            general=general,
            drift=result.drift,
            seconds=time.monotonic() - self._began,
        )

    def _task(self, reading: Reading, name: str) -> Task:
        probes = ProbeSet(Path(self.asked.table).stem, reading.searches[name])
        texts = () if reading.chat else load_neutral_texts(NEUTRAL)
        return Task.of([probes], texts=texts)

    def _settings(self, reading: Reading, name: str) -> SearchSettings:
        asked = self.asked
        if reading.chat:
            usual = settings_for(reading.searches[name], asked.seed)
        else:
            usual = SearchSettings(budget=PLAIN_BUDGET, seed=asked.seed, neutral=NEUTRAL_TOKENS)
        if asked.budget or asked.minutes:
            return msgspec.structs.replace(usual, budget=asked.budget, minutes=asked.minutes)
        return msgspec.structs.replace(usual, minutes=MINUTES)


def _cases(asked: FixAsked, *, chat: bool) -> Cases:
    return read_cases(
        asked.table,
        chat=chat,
        chat_template_kwargs=asked.chat_template_kwargs,
        columns=Columns(asked.prompt_column, asked.answer_column),
        grade=asked.grade,
    )


def _check_report(path: Path) -> None:
    """Refuse what is no place for a page."""
    if path.suffix.lower() not in (".html", ".htm"):
        raise StoreError(f"{path}: the report is a page; name it {path.name}.html")
    if not path.parent.is_dir() or path.is_dir():
        raise StoreError(f"{path} is no place for a file; name one in a directory that exists")
    if path.exists() and MARK not in path.read_text(encoding="utf-8", errors="replace")[:2000]:
        raise StoreError(f"{path} exists and is not the report of a fix; give --report a new name")


def _check_apart(*paths: Path) -> None:
    """Refuse outputs that would take the place of one another."""
    places = [path.resolve() for path in paths]
    if len({*places}) < len(places):
        raise StoreError(
            "the patch, the report and the folder need a name each; give --report or --run another one"
        )
