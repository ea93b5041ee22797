"""`bankai fix`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from bankai.cli.options import (
    AnswerColumn,
    ChatTemplateKwargs,
    Device,
    Dtype,
    Grade,
    Json,
    PromptColumn,
    Seed,
    read_budget,
    read_chat_template_kwargs,
    require_alone,
)
from bankai.cli.output import counted, note, print_json, print_line, print_pairs, tells_interrupt
from bankai.cli.steps import step_progress

if TYPE_CHECKING:
    from bankai.evaluation.report import Counts
    from bankai.jobs.fix import Fix, FixOutcome, Reading

__all__ = ["fix"]

NOT_GOOD = 1

Unknown = Literal["apart", "keep"]


def fix(
    context: typer.Context,
    model: Annotated[str | None, typer.Argument(metavar="MODEL", help="The base model to fix.")] = None,
    failures: Annotated[
        Path | None,
        typer.Argument(
            metavar="FAILURES", help="Prompts with right answers: .csv, .tsv, .jsonl, .json or .parquet."
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="The patch to write.")
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The report to write; the patch's name with .html by default."),
    ] = None,
    chat: Annotated[
        bool | None,
        typer.Option(
            "--chat/--no-chat", help="Ask in the chat template or not; by default where the model has one."
        ),
    ] = None,
    chat_template_kwargs: ChatTemplateKwargs = None,
    prompt_column: PromptColumn = None,
    answer_column: AnswerColumn = None,
    grade: Grade = None,
    unknown: Annotated[
        Unknown, typer.Option(help="Failures that are not known: reported on, or searched on all the same.")
    ] = "apart",
    budget: Annotated[
        str | None,
        typer.Option(metavar="N|MINUTES", help="Of each search: evaluations, as 70, or minutes, as 15m."),
    ] = None,
    seed: Seed = 0,
    device: Device = "cpu",
    dtype: Dtype = "float32",
    run: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="The folder of the work; the patch's name with .fix by default."),
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Go on with the work in this folder; give nothing else."),
    ] = None,
    json: Json = False,
) -> None:
    """Make a model get right what it gets wrong.

    FAILURES is a table of prompts and right answers. The model is run on it, and what it fails is sorted: known
    failures, whose answer it shows in another way, and unknown ones, which a patch cannot teach. A patch is
    searched on known ones, written, and measured on rows that the search never read: what it fixes, what it breaks,
    and how much else changes. The report is one page with a plain verdict; docs/fix.md has its rule. With fewer
    than 60 known failures two more searches on half the rows each tell what happens to the other half.

    Ctrl-C leaves the best patch so far; --resume goes on. Exit code 0 when the patch helps, 1 when it does not,
    helps at a price only, or there is nothing to fix.
    """
    from bankai.jobs.fix import Fix, FixAsked

    if resume is not None:
        require_alone(context)
        started = Fix.resume(resume)
    else:
        if model is None or failures is None or output is None:
            raise typer.BadParameter("Missing MODEL, FAILURES or -o FILE; or give --resume DIR")
        asked = FixAsked(
            model=model,
            table=str(failures),
            output=str(output),
            report=str(report or output.with_suffix(".html")),
            chat=chat,
            chat_template_kwargs=read_chat_template_kwargs(chat_template_kwargs),
            prompt_column=prompt_column,
            answer_column=answer_column,
            grade=grade,
            keep_unknown=unknown == "keep",
            seed=seed,
            device=device,
            dtype=dtype,
            **(read_budget(budget) if budget else {}),
        )
        started = Fix.start(asked, run or output.with_suffix(".fix"))
    _drive(started, json)


def _drive(fix: "Fix", json: bool) -> None:
    """Do the steps in their order, and tell each of them."""
    from bankai.cli.progress import search_progress

    with tells_interrupt(Path(fix.asked.output), f"go on with: bankai fix --resume {fix.folder.path}"):
        with step_progress() as steps:
            reading = fix.read(steps)
        for warning in reading.warnings:
            note(f"warning: {warning}")
        if not json:
            _print_reading(reading)
        if not reading.searches:
            if json:
                print_json(reading)
            note(f"{_nothing(reading)}; nothing searched")
            raise typer.Exit(NOT_GOOD)
        _note_plan(fix, reading)
        with step_progress() as steps:
            fix.ask_replies(reading, steps)
        for name in fix.left(reading):
            with search_progress() as display:
                fix.search(reading, name, display.show)
        with step_progress() as steps:
            outcome = fix.finish(reading, steps)
    if json:
        print_json(outcome)
    else:
        _print_outcome(outcome)
    if not outcome.verdict.good:
        raise typer.Exit(NOT_GOOD)


def _nothing(reading: "Reading") -> str:
    if not reading.knowledge.failed:
        return f"the model gets all {reading.passed} rows right: there is nothing to fix"
    if reading.knowledge.known:
        first = reading.dropped[0]
        return f"no known failure can be searched on; {first.id}, the first: {first.message}"
    return (
        f"the model knows the answer to none of the {reading.knowledge.failed} rows that it fails, and a patch does "
        "not teach; give rows whose answers it knows, or search all the same with --unknown keep"
    )


def _print_reading(reading: "Reading") -> None:
    from bankai.cli.tables import print_knowledge

    failed = reading.knowledge.failed
    print_line(f"{counted(reading.rows, 'row')}: the model gets {reading.passed} right and {failed} wrong")
    print_knowledge(reading.knowledge)


def _note_plan(fix: "Fix", reading: "Reading") -> None:
    """How many searches, and how long they take together."""
    names = fix.left(reading)
    if not names:
        return
    low, high = fix.expected_seconds(reading)
    why = " (the patch, and one on each half of the rows to measure what it does)" if len(names) > 1 else ""
    first, last = (max(1, round(seconds / 60)) for seconds in (low, high))
    span = f"{first} to {last}" if first < last else f"{first}"
    note(f"{counted(len(names), 'search', 'searches')}{why}: about {span} minutes")


def _print_outcome(outcome: "FixOutcome") -> None:
    rows = {
        "failing rows fixed": _fixed(outcome.failing),
        "unknown rows fixed": _fixed(outcome.unknown),
        "right rows broken": _broken(outcome.passing),
        "general questions broken": _broken(outcome.general),
        "general questions come right": _fixed(outcome.general),
        "drift, nats a token": None if outcome.drift is None else f"{outcome.drift:.3f}",
        "patch": outcome.patch
        and f"{outcome.patch}, {counted(outcome.flips, 'flip')}, {outcome.bare_bytes} bytes, {outcome.file_bytes} with "
        "its description",
        "report": outcome.report,
    }
    print_line("On what no search read:")
    print_pairs(rows)
    print_line(f"{outcome.verdict.kind}: {outcome.verdict.text}")


def _part(part: int, whole: int) -> str | None:
    return f"{part} of {whole}" if whole else None


def _fixed(counts: "Counts") -> str | None:
    return _part(counts.fixed, counts.probes - counts.base.solved)


def _broken(counts: "Counts") -> str | None:
    return _part(counts.broke, counts.base.solved)
