"""From a file of prompts with right answers to a probe set of what a model gets wrong, in one of the engines.

Nothing here prints; progress goes to a listener. Needs the `[search]` extra.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import msgspec

from bankai.errors import AuditError, StoreError
from bankai.evaluation.engines import EngineName, open_engine
from bankai.evaluation.failures import FAILED_SHARES, PASSED_SHARES, Dropped, assign
from bankai.evaluation.known import REPLY_TOKENS, KnowledgeReport, count_known, names_answer
from bankai.jobs.checks import require_base
from bankai.jobs.patch_files import check_output
from bankai.jobs.rows import Rows, read_rows, with_splits
from bankai.model.tokenizer import choose_chat_template
from bankai.probes import Known, Probe, ProbeSet, Split, builtin_probe_sets
from bankai.probes.cases import read_cases
from bankai.probes.columns import Columns
from bankai.steps import StepListener, ignore_steps

__all__ = ["FEW_TARGETS", "Failure", "FailuresResult", "Unknown", "probes_from_failures"]

FEW_TARGETS = 20
Unknown = Literal["apart", "keep"]
"""What becomes of failures that are not known: a split of their own, or the splits of the others."""


class Failure(msgspec.Struct, frozen=True):
    """A failing row; `said` is the model's reply up to its stop or the limit of tokens, None if it was not read.

    `expected` is None where a grader alone says what is right.
    """

    id: str
    category: str
    expected: str | None
    said: str | None
    known: Known


class FailuresResult(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the rows: each is dropped or in one split.

    `counts` has rows, passed, failed, known (of the failed), dropped and the splits; `categories` the same of each
    category. `knowledge` tells how the known failures are known.
    """

    output: str
    model: str
    engine: str
    seed: int
    counts: dict[str, int]
    categories: dict[str, dict[str, int]]
    dropped: list[Dropped]
    failures: list[Failure]
    knowledge: KnowledgeReport
    warnings: list[str]


def probes_from_failures(
    file: str | Path,
    source: str | Path,
    out: Path,
    *,
    engine: EngineName = "torch",
    chat: bool = False,
    chat_template: str | None = None,
    chat_template_kwargs: Mapping[str, Any] | None = None,
    columns: Columns | None = None,
    grade: str | None = None,
    failed: Mapping[Split, int] = FAILED_SHARES,
    passed: Mapping[Split, int] = PASSED_SHARES,
    unknown: Unknown = "apart",
    max_tokens: int = REPLY_TOKENS,
    seed: int = 0,
    device: str = "cpu",
    dtype: str = "float32",
    listen: StepListener = ignore_steps,
) -> FailuresResult:
    """Run the model on every row of `file` and write a probe set, ready for a search, to `out`.

    Chats are rendered by the chat template of the name `chat_template`, None for the default, with its variables
    `chat_template_kwargs`, which go into the probes, where a row does not set them. Replies to failing rows are read
    for `max_tokens` tokens; with 0 there are none, and only examples tell what is known. `columns` and `grade` are as
    in :func:`bankai.probes.cases.read_cases`. Raises ProbeFormatError for
    the file, AuditError when nothing is left to target, StateError when the model has patches on, StoreError when
    `out` cannot be written, and what opening the model raises; nothing is written then.
    """
    _check_output(out, Path(file))
    cases = read_cases(
        file, chat=chat, chat_template_kwargs=chat_template_kwargs, columns=columns, grade=grade
    )
    require_base(source, "give")
    model = open_engine(engine, source, device=device, dtype=dtype)
    choose_chat_template(model.tokenizer, chat_template)
    rows = read_rows(model, cases.probes, reply_tokens=max_tokens, seed=seed, listen=listen)
    apart = rows.unknown_items if unknown == "apart" else set()
    splits = assign(rows.judged, failed=failed, passed=passed, unknown=apart, seed=seed)
    probes, refused = with_splits(model, rows, splits)
    dropped = [*rows.dropped, *refused]
    if not any(probe.split == "target" for probe in probes):
        raise AuditError(_nothing(rows, dropped, apart))
    ProbeSet(out.stem, probes).save(out)
    counts, categories = _counts(cases.probes, rows, dropped, probes)
    return FailuresResult(
        output=str(out),
        model=Path(source).name,
        engine=engine,
        seed=seed,
        counts=counts,
        categories=categories,
        dropped=dropped,
        failures=[_failure(probe, rows) for probe in rows.failing],
        knowledge=count_known(rows.known, rows.failing),
        warnings=[*_warnings(cases.ignored, counts), *_taken(counts, apart), *_longer(rows)],
    )


def _check_output(out: Path, file: Path) -> None:
    """Refuse a place where no set can be written, before the work is done; only an earlier set is replaced."""
    if str(out) in builtin_probe_sets():
        raise StoreError(f"{out} is the name of a built-in set; name the file {out}.jsonl")
    if file.exists() and out.exists() and not out.is_dir() and out.samefile(file):
        raise StoreError(f"{out} is the file of prompts itself; give -o a new name")
    check_output(out, "probe set", ProbeSet.load)


def _nothing(rows: Rows, dropped: Sequence[Dropped], apart: Collection[str]) -> str:
    failing = {probe.item for probe in rows.failing}
    if rows.judged and not failing:
        return f"the model passes all {len(rows.judged)} rows; give prompts that it fails"
    if failing and failing <= {*apart}:
        return (
            "the model knows the answer to no row that it fails, and a patch does not teach; give rows whose answers "
            "it knows, or take unknown ones as targets all the same with --unknown keep"
        )
    first = f", such as {dropped[0].id}: {dropped[0].message}" if dropped else ""
    return f"no row is left as a target ({len(dropped)} dropped{first}); give more rows or a larger share"


def _counts(
    asked: Sequence[Probe],
    rows: Rows,
    dropped: Sequence[Dropped],
    probes: Sequence[Probe],
) -> tuple[dict[str, int], dict[str, dict[str, int]]]:
    """Of all rows, and by category."""
    category = {row.id: row.category for row in asked}
    tally = Counter[tuple[str, str]]()
    tally.update((name, "rows") for name in category.values())
    tally.update((case.probe.category, "passed" if case.solved else "failed") for case in rows.judged)
    tally.update((category[name], "known") for name, way in rows.known.items() if way != "no")
    tally.update((category[drop.id], "dropped") for drop in dropped)
    tally.update((probe.category, probe.split) for probe in probes)
    columns = ("rows", "passed", "failed", "known", "dropped", *get_args(Split))
    categories = {
        name: {column: tally[name, column] for column in columns} for name in sorted(set(category.values()))
    }
    return {column: sum(counts[column] for counts in categories.values()) for column in columns}, categories


def _failure(probe: Probe, rows: Rows) -> Failure:
    said = rows.replies[probe.id].text if probe.id in rows.replies else None
    expected = probe.answers[0] if probe.answers else None
    return Failure(probe.id, probe.category, expected, said, rows.known[probe.id])


def _warnings(ignored: Sequence[str], counts: Mapping[str, int]) -> Iterator[str]:
    """What a search or its report would go without, and the remedy."""
    if ignored:
        yield f"ignored {', '.join(ignored)}: no field of that name is known"
    if counts["target"] < FEW_TARGETS:
        few = f"fewer than {FEW_TARGETS} targets ({counts['target']})"
        yield f"{few}: chance can pass for learning; give more rows that fail"
    if not counts["validation"]:
        yield "no validation probes: nothing tells chance hits from learning; give more rows that fail"
    if not counts["heldout"]:
        yield "no held-out probes: nothing measures what a patch fixes; give more rows that fail"
    if not counts["control"]:
        yield "no controls: nothing limits what a patch breaks; give rows that pass, or search with --control SET"
    elif not counts["unseen"]:
        yield "no unseen controls: nothing measures what a patch breaks; give more rows that pass"


def _taken(counts: Mapping[str, int], apart: Collection[str]) -> Iterator[str]:
    """Unknown failures among the others."""
    unknown = counts["failed"] - counts["known"]
    if unknown and not apart:
        yield (
            f"{unknown} of {counts['failed']} failures are not known: the model gives their answers in no other way; "
            "a patch can only memorize what the model does not know, and that can outweigh the others"
        )


def _longer(rows: Rows) -> Iterator[str]:
    """A right answer in other words is a failure of form, which a user seldom means."""
    found = [
        (probe.answers[0].strip(), rows.replies[probe.id].text)
        for probe in rows.failing
        if probe.grade is None
        and probe.id in rows.replies
        and names_answer(probe, rows.replies[probe.id].text)
    ]
    if found:
        answer, said = found[0]
        yield (
            f"failures that hold the right answer in a longer reply: {len(found)}, such as {said!r} for {answer!r}; "
            "they would teach a form; if such replies are right, grade with --grade contains"
        )
