"""The last step of a fix: what the model writes without and with its patches, row by row, and what else changes."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, Literal

import msgspec

from bankai.evaluation.engines import TorchEngine
from bankai.evaluation.grading import Written, write
from bankai.evaluation.replies import judge_replies
from bankai.evaluation.report import Counts
from bankai.jobs.fix.reading import HALVES, PATCH, Reading
from bankai.jobs.workbench import Workbench
from bankai.model import patched
from bankai.patch import read_patch
from bankai.probes import Probe, Split, load_questions
from bankai.steps import StepListener

__all__ = ["Group", "Measured", "Tried", "measure"]

Group = Literal["failing", "passing", "unknown"]
GROUPS: dict[Split, Group] = {"heldout": "failing", "unseen": "passing", "unknown": "unknown"}
QUESTIONS = 400  # of general knowledge


class Tried(msgspec.Struct, frozen=True, kw_only=True):
    """A row that no search read, before and after: what the model wrote, and whether that is right."""

    id: str
    category: str
    group: Group
    prompt: str
    expected: str
    before: str
    after: str
    was_right: bool
    is_right: bool


class Measured(msgspec.Struct, frozen=True):
    """The rows, and general questions that have nothing to do with the table: was right, is right; none for a model
    without chats."""

    rows: tuple[Tried, ...]
    general: tuple[tuple[bool, bool], ...]

    def counts(self, group: Group) -> Counts:
        rows = [row for row in self.rows if row.group == group]
        return Counts.of([row.was_right for row in rows], [row.is_right for row in rows])

    @property
    def general_counts(self) -> Counts:
        return Counts.of([before for before, _ in self.general], [after for _, after in self.general])


def measure(
    bench: Workbench, reading: Reading, patches: dict[str, Path | None], listen: StepListener
) -> Measured:
    """Measure the patches of the searches, None for one that found none, on what each of them did not read."""
    engine = TorchEngine(bench.model, bench.tokenizer)
    rows: list[Tried] = []
    for name, probes in reading.searches.items():
        reported = [probe for probe in probes if _is_reported(probe, name, reading)]
        before = write(engine, reported, listen=listen)
        with _on(bench, patches[name]):
            after = write(engine, reported, listen=listen)
        rows += map(_tried, reported, before, after)
    return Measured(
        tuple(rows), tuple(_general(engine, bench, patches[PATCH], listen) if reading.chat else ())
    )


def _is_reported(probe: Probe, name: str, reading: Reading) -> bool:
    """Unknown rows are in the report of the patch alone, the others in those of the halves if there are any."""
    if probe.split == "unknown":
        return name == PATCH
    return probe.split in GROUPS and (name in HALVES or not reading.crossed)


def _on(bench: Workbench, patch: Path | None) -> AbstractContextManager[Any]:
    return nullcontext() if patch is None else patched(bench.model, read_patch(patch))


def _tried(probe: Probe, before: Written, after: Written) -> Tried:
    asked = probe.prompt or "\n".join(turn.content for turn in probe.messages or () if turn.role == "user")
    return Tried(
        id=probe.id,
        category=probe.category,
        group=GROUPS[probe.split],
        prompt=asked,
        expected=probe.answers[0].strip() if probe.answers else "",
        before=before.text.strip(),
        after=after.text.strip(),
        was_right=before.solved,
        is_right=after.solved,
    )


def _general(
    engine: TorchEngine, bench: Workbench, patch: Path | None, listen: StepListener
) -> Iterator[tuple[bool, bool]]:
    """Every so many of the built-in questions, asked without and with the patch; judged by their content."""
    every = load_questions("smol-knowledge")
    questions = every[:: max(1, len(every) // QUESTIONS)]

    def right(label: str) -> dict[str, bool]:
        found: dict[str, bool] = {}
        for reply in judge_replies(engine, questions):
            found[reply.question.id] = reply.right
            listen(label, len(found), len(questions))
        return found

    before = right("general questions, base")
    with _on(bench, patch):
        after = right("general questions, patched")
    return ((before[one.id], after[one.id]) for one in questions)
