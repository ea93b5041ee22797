"""`bankai eval`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from bankai.cli.options import (
    ChatTemplate,
    ChatTemplateKwargs,
    Device,
    Dtype,
    Grade,
    Json,
    MaxTokens,
    Model,
    Seed,
    Unbound,
    read_chat_template_kwargs,
)
from bankai.cli.output import print_json, print_line, print_pairs
from bankai.cli.steps import step_progress

if TYPE_CHECKING:
    from bankai.evaluation.harness import HarnessReport
    from bankai.evaluation.report import Comparison, Summary
    from bankai.jobs.null import NullComparison

__all__ = ["Engine", "Split", "evaluate"]

Engine = Literal["torch", "llama", "mlx"]
Split = Literal["target", "validation", "control", "heldout", "unseen", "unknown", "all"]
SHOWN = 20


def evaluate(
    model: Model,
    probes: Annotated[str | None, typer.Option(metavar="SET", help="The probes to score.")] = None,
    text: Annotated[
        str | None, typer.Option(metavar="FILE", help="Measure perplexity on this UTF-8 text instead.")
    ] = None,
    harness: Annotated[
        str | None,
        typer.Option(metavar="TASKS", help="Run these tasks of lm-evaluation-harness instead, as in a,b."),
    ] = None,
    patch: Annotated[Path | None, typer.Option(metavar="PATCH", help="Compare with this patch on.")] = None,
    split: Annotated[Split, typer.Option(help="The split of the probes to score.")] = "heldout",
    engine: Annotated[Engine, typer.Option(help="What computes probes.")] = "torch",
    grade: Grade = None,
    max_tokens: MaxTokens = 128,
    null: Annotated[
        int, typer.Option(min=0, metavar="N", help="Measure N random patches of the same size as well.")
    ] = 0,
    seed: Seed = 0,
    limit: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Only the first N questions of each task.")
    ] = None,
    include_path: Annotated[Path | None, typer.Option(metavar="DIR", help="A folder of more tasks.")] = None,
    chat: Annotated[
        bool | None,
        typer.Option("--chat/--no-chat", help="Tasks in the model's chat template; else as they ask."),
    ] = None,
    chat_template: ChatTemplate = None,
    chat_template_kwargs: ChatTemplateKwargs = None,
    cache: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Keep answers to tasks here, by model and patch.")
    ] = None,
    unbound: Unbound = False,
    device: Device = "cpu",
    dtype: Dtype = "float32",
    json: Json = False,
) -> None:
    """Measure a model and a patch: on probes, text or benchmarks.

    With --probes, counts solved ones, and what a patch fixes and breaks. A probe with a grader is judged by what the
    model writes, as are all of them with --grade. With --null, also what as many random flips of
    the same kinds in the same tensors do; p says how often they fix as many more than they break as the patch does,
    1 / (N + 1) at least.

    With --text, perplexity per token; with a patch also the KL divergence of its predictions from the base's.

    With --harness, the metrics of each task, under the patch if there is one: bankai_gsm8k, bankai_mmlu,
    bankai_mmlu_choice, any task of lm-eval or of --include-path.
    """
    options: dict[str, Any] = {"patch": patch, "unbound": unbound, "device": device, "dtype": dtype}
    tasks: dict[str, Any] = {"limit": limit, "include_path": include_path, "chat": chat, "cache": cache}
    tasks["chat_template"] = chat_template
    tasks["chat_template_kwargs"] = read_chat_template_kwargs(chat_template_kwargs)
    kind, name = _kind({"probes": probes, "text": text, "harness": harness})
    if kind != "harness":
        _refuse_foreign("harness", tasks)
    if kind != "probes":
        foreign = {"null": null or None, "engine": None if engine == "torch" else engine, "grade": grade}
        _refuse_foreign("probes", foreign)
    if kind == "harness":
        _evaluate_tasks(model, name, json, **options, **tasks)
    elif kind == "text":
        _evaluate_text(model, name, json, **options)
    else:
        options |= {"split": split, "grade": grade, "max_tokens": max_tokens}
        if null:
            _compare_with_null(model, name, json, engine, null, seed=seed, **options)
        else:
            _evaluate_probes(model, name, json, engine, **options)


def _kind(given: dict[str, str | None]) -> tuple[str, str]:
    """Which of the three, and its value. Raises BadParameter for none or several."""
    found = {kind: value for kind, value in given.items() if value is not None}
    if len(found) != 1:
        raise typer.BadParameter(
            f"give one of --probes, --text and --harness, not {' and '.join(found) or 'none'}",
            param_hint="'--probes'",
        )
    return found.popitem()


def _refuse_foreign(kind: str, given: dict[str, Any]) -> None:
    for name, value in given.items():
        if value is not None:
            option = name.replace("_", "-")
            raise typer.BadParameter(f"only --{kind} has it; leave it out", param_hint=f"'--{option}'")


def _evaluate_probes(
    model: str, probes: str, json: bool, engine: Engine, *, split: Split, **options: Any
) -> None:
    from bankai.evaluation import evaluate_file

    with step_progress() as listen:
        result = evaluate_file(model, probes, engine=engine, split=split, listen=listen, **options)
    _print_counts(_title(probes, split, engine), result, json)


def _compare_with_null(
    model: str,
    probes: str,
    json: bool,
    engine: Engine,
    count: int,
    *,
    patch: Path | None,
    split: Split,
    **options: Any,
) -> None:
    from bankai.jobs.null import compare_with_null

    found = _needed(patch, engine)
    with step_progress() as listen:
        result = compare_with_null(model, probes, found, count, split=split, listen=listen, **options)
    _print_counts(_title(probes, split, engine), result, json)
    if not json:
        _print_null(result)


def _title(probes: str, split: Split, engine: Engine) -> str:
    return f"{probes}, {split}, by {engine}"


def _print_counts(title: str, result: "Comparison | Summary", json: bool) -> None:
    from bankai.cli.tables import print_comparison

    if json:
        print_json(result)
    else:
        print_comparison(title, result)


def _evaluate_text(model: str, text: str, json: bool, **options: Any) -> None:
    from bankai.evaluation import measure_text_file

    with step_progress() as listen:
        result = measure_text_file(model, text, listen=listen, **options)
    if json:
        print_json(result)
        return
    print_pairs(
        {
            "text": f"{text}, {result.tokens} tokens in windows of {result.window}",
            "perplexity": f"{result.perplexity:.4f}",
            "with the patch": result.patched and f"{result.patched:.4f}",
            "KL to the base": None if result.kl is None else f"{result.kl:.6f} nats per token",
            "same next token": None if result.agreement is None else f"{result.agreement:.2%}",
        }
    )


def _evaluate_tasks(model: str, tasks: str, json: bool, **options: Any) -> None:
    from bankai.evaluation.harness import run_harness

    with step_progress() as listen:
        result = run_harness(
            model, [name.strip() for name in tasks.split(",") if name.strip()], listen=listen, **options
        )
    if json:
        print_json(result)
        return
    _print_tasks(result)


def _print_tasks(result: "HarnessReport") -> None:
    from bankai.cli.tables import print_table

    rows = []
    for task, numbers in result.results.items():
        for name, value in numbers.items():
            metric, _, reading = name.partition(",")
            error = numbers.get(f"{metric}_stderr,{reading}")
            if reading and not metric.endswith("_stderr"):
                shown = "" if error is None else f"{error:.4f}"
                rows.append((task, result.samples.get(task, ""), metric, reading, f"{value:.4f}", shown))
    columns = ("", "questions", "metric", "reading", "value", "std. error")
    on = f"{result.model} with {result.patch}" if result.patch else result.model
    print_table(f"{on}, lm-eval {result.lm_eval}{', chat' if result.chat else ''}", columns, rows)


def _needed(patch: Path | None, engine: Engine) -> Path:
    """The patch that random ones are like. Raises BadParameter."""
    if patch is None:
        raise typer.BadParameter("random patches are like a patch; give --patch too", param_hint="'--null'")
    if engine != "torch":
        raise typer.BadParameter(
            f"random patches are measured by the torch engine only, not by {engine}; leave --engine out",
            param_hint="'--null'",
        )
    return patch


def _print_null(result: "NullComparison") -> None:
    from bankai.cli.tables import print_table

    null, net = result.null, result.fixed - result.broke
    named = [("median", null.median), ("largest", null.max)]
    named += [(f"random {number}", one) for number, one in enumerate(null.patches[:SHOWN], start=1)]
    rows = [(name, *(f"{number:g}" for number in (one.fixed, one.broke, one.net))) for name, one in named]
    columns = ("", "fixed", "broke", "net")
    print_table(f"Null, seed {null.seed}", columns, [("patch", result.fixed, result.broke, net), *rows])
    if len(null.patches) > SHOWN:
        print_line(f"and {len(null.patches) - SHOWN} more; --json has them")
    print_line(
        f"{len(null.patches)} random patches, p = {null.p_value:.2g} that one nets as much as the patch"
    )
