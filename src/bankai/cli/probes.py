"""`bankai probes`: commands about probe sets."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from shutil import get_terminal_size
from textwrap import fill
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from bankai.cli.evaluate import Engine
from bankai.cli.options import (
    AnswerColumn,
    ChatTemplate,
    ChatTemplateKwargs,
    Device,
    Dtype,
    Grade,
    Json,
    Output,
    PromptColumn,
    Seed,
    read_chat_template_kwargs,
)
from bankai.cli.output import clean, counted, note, print_json, print_line, tells_interrupt
from bankai.cli.steps import step_progress

if TYPE_CHECKING:
    from bankai.evaluation.audit import Finding
    from bankai.jobs.failures import FailuresResult
    from bankai.probes import Split

__all__ = ["app", "audit", "from_failures", "probes", "replies"]

BAD_PROBES = 1
SHOWN = 5
Unknown = Literal["apart", "keep"]
MaxTokens = Annotated[
    int, typer.Option(min=0, metavar="N", help="The most tokens to read of a wrong reply; 0 reads none.")
]

app = typer.Typer(add_completion=False, rich_markup_mode=None, invoke_without_command=True)


@app.callback()
def probes(context: typer.Context) -> None:
    """Look after probe sets."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command()
def audit(
    probe_set: Annotated[str, typer.Argument(metavar="SET", help="A JSONL file or a built-in set.")],
    model: Annotated[str, typer.Option(metavar="MODEL", help="The model that the probes are for.")],
    max_tokens: MaxTokens = 48,
    json: Json = False,
) -> None:
    """Name each bad probe and why (exit code 1), and tell which failures are known.

    A failure is known when the model names the answer in a longer reply of its own, as a whole word, or gives it
    right after three solved examples of the same category. A patch can be expected to help with those. What the set
    says of a probe itself (known) is taken as it is.
    """
    from bankai.cli.tables import print_knowledge
    from bankai.jobs.audit import audit_file

    with step_progress() as listen:
        audited = audit_file(model, probe_set, max_tokens=max_tokens, listen=listen)
    findings = audited.findings
    errors = sum(finding.severity == "error" for finding in findings)
    if json:
        print_json(
            {
                "errors": errors,
                "warnings": len(findings) - errors,
                "findings": findings,
                "knowledge": audited.knowledge,
            }
        )
    else:
        print_knowledge(audited.knowledge)
        _print(findings)
        typer.echo(f"{counted(errors, 'error')}, {counted(len(findings) - errors, 'warning')}")
    if errors:
        raise typer.Exit(BAD_PROBES)


def _print(findings: "Sequence[Finding]") -> None:
    """How many of each kind, then each of them, wrapped to the terminal."""
    from bankai.cli.tables import print_table

    if not findings:
        return
    counts = Counter((finding.kind, finding.severity) for finding in findings)
    rows = [(kind, severity, count) for (kind, severity), count in counts.most_common()]
    print_table("Findings", ("kind", "severity", "count"), rows)
    for finding in findings:
        _print_wrapped(f"{finding.severity}: {finding.probe_id}: {finding.kind}: {finding.message}")


def _print_wrapped(text: str) -> None:
    width = get_terminal_size().columns
    typer.echo(
        fill(clean(text), width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
    )


@app.command("from-failures")
def from_failures(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE", help="Prompts with right answers: .csv, .tsv, .jsonl, .json or .parquet."
        ),
    ],
    model: Annotated[str, typer.Option(metavar="MODEL", help="The base model to run.")],
    output: Output,
    engine: Annotated[Engine, typer.Option(help="What computes.")] = "torch",
    chat: Annotated[
        bool, typer.Option("--chat", help="Ask every prompt as a user message in the model's chat template.")
    ] = False,
    chat_template: ChatTemplate = None,
    chat_template_kwargs: ChatTemplateKwargs = None,
    prompt_column: PromptColumn = None,
    answer_column: AnswerColumn = None,
    grade: Grade = None,
    failed: Annotated[
        str, typer.Option(metavar="T/V/H", help="Percent of failing items: target, validation, held-out.")
    ] = "50/20/30",
    passed: Annotated[
        str, typer.Option(metavar="C/U", help="Percent of passing items: control, unseen.")
    ] = "60/40",
    unknown: Annotated[
        Unknown, typer.Option(help="Failures that are not known: a split apart, or targets all the same.")
    ] = "apart",
    max_tokens: MaxTokens = 48,
    seed: Seed = 0,
    device: Device = "cpu",
    dtype: Dtype = "float32",
    json: Json = False,
) -> None:
    """Make a probe set of what a model gets wrong, for a search.

    FILE has the columns prompt and answer, or what sets for fine-tuning call them (question, instruction and input;
    output, expected, completion), and may have answers (a list; in a text table separated by ||), reply (a whole
    right reply), grade, system, item, category, id, stop and prefix; JSON also messages, whose last may be the right
    reply, and chat_template_kwargs. A row passes when the model's greedy text is an accepted answer and its stop, or
    when its grader accepts what the model writes. An answer is tried as it is and with a space before it: the one that
    the model says, else the more probable one, stands. Failures become target, validation and held-out probes,
    passes controls and unseen controls, by item. A target begins where the model first goes wrong. Rows that
    the audit refuses are dropped and named.

    A failure is known when the model names the answer in a longer reply of its own, as a whole word, or gives it
    right after three solved examples of the same category; then so is its item. A patch can be expected to help with
    those. The others become the split unknown, which reports tell and no search reads.
    """
    from bankai.jobs.failures import probes_from_failures
    from bankai.probes.columns import Columns

    of_failed = _shares(failed, ("target", "validation", "heldout"), "'--failed'")
    of_passed = _shares(passed, ("control", "unseen"), "'--passed'")
    with tells_interrupt(output), step_progress() as listen:
        result = probes_from_failures(
            file,
            model,
            output,
            engine=engine,
            chat=chat,
            chat_template=chat_template,
            chat_template_kwargs=read_chat_template_kwargs(chat_template_kwargs),
            unknown=unknown,
            columns=Columns(prompt_column, answer_column),
            grade=grade,
            max_tokens=max_tokens,
            seed=seed,
            device=device,
            dtype=dtype,
            listen=listen,
            failed=of_failed,
            passed=of_passed,
        )
    for warning in result.warnings:
        note(f"warning: {warning}")
    if json:
        print_json(result)
    else:
        _print_result(result)


@app.command()
def replies(
    model: Annotated[str, typer.Option(metavar="MODEL", help="The chat model to ask.")],
    output: Output,
    chat_template: ChatTemplate = None,
    max_tokens: Annotated[
        int, typer.Option(min=2, metavar="N", help="The most tokens to read of a reply.")
    ] = 48,
    device: Device = "cpu",
    dtype: Dtype = "float32",
    json: Json = False,
) -> None:
    """Write a chat model's own replies to everyday requests: neutral text for a search.

    A search for chats takes them by itself. Give the file to `bankai search` with --text for a search for plain
    prompts, or to have other replies than these. The search keeps the model's distribution on half of the replies and
    reports the drift on the other half, which it never reads. Replies are asked once, then kept in the user's cache.
    """
    from bankai.jobs.replies import write_replies

    with tells_interrupt(output), step_progress() as listen:
        result = write_replies(
            model,
            output,
            max_tokens=max_tokens,
            chat_template=chat_template,
            device=device,
            dtype=dtype,
            listen=listen,
        )
    if json:
        print_json(result)
    else:
        print_line(
            f"{result.output}: {result.control} replies for searches, {result.unseen} for their reports"
        )


def _shares(text: str, names: "tuple[Split, ...]", option: str) -> "dict[Split, int]":
    """Percents by split. Raises BadParameter; no share of targets or controls is none at all."""
    parts = text.split("/")
    if len(parts) != len(names) or not all(part.isascii() and part.isdigit() for part in parts):
        raise typer.BadParameter(f"give {len(names)} whole numbers, {'/'.join(names)}", param_hint=option)
    shares = dict(zip(names, map(int, parts), strict=True))
    if sum(shares.values()) != 100 or not shares[names[0]]:
        raise typer.BadParameter(f"give percents that sum to 100, some of them {names[0]}", param_hint=option)
    return shares


def _print_result(result: "FailuresResult") -> None:
    from bankai.cli.tables import print_knowledge, print_table

    kinds = {
        f"Rows, by {result.engine} on {result.model}": ("rows", "passed", "failed", "dropped"),
        "Probes": ("target", "validation", "heldout", "unknown", "control", "unseen"),
    }
    counted = [*result.categories.items(), ("all", result.counts)]
    for title, columns in kinds.items():
        print_table(title, ("", *columns), [(name, *map(counts.get, columns)) for name, counts in counted])
    print_knowledge(result.knowledge)
    if result.dropped:
        reasons = Counter(drop.kind for drop in result.dropped)
        print_table("Dropped", ("reason", "rows"), reasons.most_common())
        for drop in result.dropped:
            _print_wrapped(f"{drop.id}: {drop.kind}: {drop.message}")
    first = {failure.category: failure for failure in reversed(result.failures)}
    shown = [failure for failure in result.failures if failure is first[failure.category]][:SHOWN]
    for failure in shown:
        said = "" if failure.said is None else f"; the model says {failure.said!r}"
        known = "" if failure.known != "no" else " (unknown)"
        right = "its grader decides" if failure.expected is None else f"{failure.expected!r} is right"
        print_line(f"{failure.id}: {right}{said}{known}")
    if len(result.failures) > len(shown):
        print_line(f"and {len(result.failures) - len(shown)} more failures; --json has them")
    print_line(
        f"{result.output}: {result.counts['rows'] - result.counts['dropped']} probes, seed {result.seed}"
    )
