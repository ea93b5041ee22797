"""`bankai search`."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from bankai.cli.options import (
    Budget,
    ClusterAt,
    Device,
    Dtype,
    GpusPerWorker,
    Json,
    Seed,
    Threads,
    read_budget,
    read_layers,
    read_projections,
    require_alone,
)
from bankai.cli.output import counted, note, print_json, print_line, print_pairs, tells_interrupt

if TYPE_CHECKING:
    from bankai.cluster import Cluster
    from bankai.jobs.planning.plan import Plan
    from bankai.jobs.search import SearchResult
    from bankai.jobs.task import Task
    from bankai.probes import Probe
    from bankai.search import SearchSettings

__all__ = ["Gain", "Granularity", "Loss", "Strategy", "search"]

Strategy = Literal["guided", "relaxed", "greedy", "random"]
Gain = Literal["mean", "worst", "boundary"]
Loss = Literal["score", "margin"]
Granularity = Literal["row", "group", "bit"]
NOTHING_FOUND = 1

Source = Annotated[
    str | None,
    typer.Argument(metavar="MODEL", help="A .gguf file, an MLX directory or a built-in model."),
]
Targets = Annotated[
    list[str] | None,
    typer.Option(metavar="SET", help="Probes to improve; given several times, each set counts alike."),
]
Out = Annotated[Path | None, typer.Option("--output", "-o", metavar="FILE", help="The patch to write.")]
Control = Annotated[
    str | None, typer.Option(metavar="SET", help="Probes to preserve; the target sets' own by default.")
]
Heldout = Annotated[
    str | None, typer.Option(metavar="SET", help="Probes to report on; the target sets' own by default.")
]
Text = Annotated[
    str | None,
    typer.Option(
        metavar="TEXT",
        help="Neutral text to leave as it is: a file, neutral-en, nano-neutral, or what `bankai probes replies` wrote. "
        "Adds to a chat model's own replies, see above; none: without them.",
    ),
]
By = Annotated[
    Strategy,
    typer.Option(help="How flips are chosen: relaxed is for chat models, where many are needed at once."),
]
MostFlips = Annotated[
    int, typer.Option(min=1, metavar="N", help="The most flips that a relaxed search puts on.")
]
Objective = Annotated[
    Gain, typer.Option(help="Mean score gain, that of the worst set, or solving what is near.")
]
Preserve = Annotated[Loss, typer.Option(help="What a control may not lose.")]
Penalty = Annotated[float, typer.Option(min=0, max=1e6, metavar="X", help="Weight of what controls lose.")]
Drift = Annotated[
    float,
    typer.Option(
        min=0, max=1e6, metavar="X", help="Weight of the KL divergence on neutral text, in nats a token."
    ),
]
Projections = Annotated[
    str,
    typer.Option(
        metavar="LIST", help="Where to flip: mlp, attention, linear-attention, or names as gate_proj,o_proj."
    ),
]
Layers = Annotated[str, typer.Option(metavar="LIST", help="Where to flip, as 0-3,8; all by default.")]
Flipped = Annotated[Granularity, typer.Option(help="What to flip.")]
Run = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="The folder of the run; the patch's name with .run by default."),
]
Resume = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Go on with the run in this folder; only a cluster may be given."),
]
OnlyPlan = Annotated[bool, typer.Option("--plan", help="Say what the search would take, and stop.")]


@dataclass(frozen=True)
class _Wanted:
    """What the options ask for, but for how it is shown and who computes."""

    model: str
    output: Path
    task: "Task"
    replies: bool  # the model's own as neutral text, where a search wants them
    settings: "SearchSettings"
    run: Path
    device: Device
    dtype: Dtype


def search(
    context: typer.Context,
    model: Source = None,
    target: Targets = None,
    output: Out = None,
    control: Control = None,
    heldout: Heldout = None,
    text: Text = None,
    strategy: By = "guided",
    flips: MostFlips = 120,
    budget: Budget = "500",
    seed: Seed = 0,
    objective: Objective = "mean",
    preserve: Preserve = "score",
    penalty: Penalty = 4.0,
    drift: Drift = 3.0,
    projections: Projections = "mlp",
    layers: Layers = "",
    granularity: Flipped = "row",
    device: Device = "cpu",
    dtype: Dtype = "float32",
    cluster: ClusterAt = None,
    threads: Threads = None,
    gpus_per_worker: GpusPerWorker = None,
    run: Run = None,
    resume: Resume = None,
    plan: OnlyPlan = False,
    json: Json = False,
) -> None:
    """Search a patch that fixes targets and keeps controls.

    Reports on held-out probes and unseen controls, which the search does not read. Where a target is a chat, the
    model's own replies to everyday requests are neutral text: asked once, then kept in the user's cache. The drift is
    reported on replies that the search does not read. Ctrl-C leaves the best patch so far;
    --resume goes on from the last round to the same result. On a cluster it ends with the patch of one process with as
    many threads as a worker. Exit code 1 when no patch was found; nothing is written then.
    """
    workers = _workers(cluster, threads, gpus_per_worker)
    if resume is not None:
        require_alone(context, "cluster", "gpus_per_worker")
        _report(_resume(resume, workers), json)
        return
    if model is None or not target or output is None:
        raise typer.BadParameter("Missing MODEL, --target SET or -o FILE; or give --resume DIR")
    from bankai.jobs.replies import NO_TEXT
    from bankai.jobs.search import run_folder
    from bankai.search import NEUTRAL_TOKENS, SearchSettings, Space

    task = _task(target, control, heldout, None if text == NO_TEXT else text)
    settings = SearchSettings(
        strategy=strategy,
        flips=flips,
        seed=seed,
        gain=objective,
        loss=preserve,
        penalty=penalty,
        drift=drift,
        neutral=NEUTRAL_TOKENS,
        space=Space(
            projections=read_projections(projections), layers=read_layers(layers), granularity=granularity
        ),
        **read_budget(budget),
    )
    wanted = _Wanted(model, output, task, text != NO_TEXT, settings, run or run_folder(output), device, dtype)
    if plan:
        _print_plan(_plan(wanted), json)
    else:
        _report(_search(wanted, workers), json)


def _workers(where: str | None, threads: int | None, gpus_per_worker: float | None) -> "Cluster | None":
    """The cluster to compute on, if there is one."""
    if where is None:
        if threads or gpus_per_worker:
            raise typer.BadParameter(
                "--threads and --gpus-per-worker are of the workers of a --cluster; give one"
            )
        return None
    from bankai.cluster import Cluster

    return Cluster(where=where, threads=threads, gpus_per_worker=gpus_per_worker)


def _task(target: list[str], control: str | None, heldout: str | None, text: str | None) -> "Task":
    from bankai.jobs.task import Task
    from bankai.probes import load_probe_set

    controls, reported = (None if name is None else load_probe_set(name) for name in (control, heldout))
    texts, unread = _neutral(text)
    return Task.of([load_probe_set(name) for name in target], controls, reported, texts, unread)


def _neutral(text: str | None) -> "tuple[Sequence[str | Probe], Sequence[Probe]]":
    """What a search leaves as it is, and replies for its report alone."""
    from bankai.probes import load_neutral_texts, load_probe_set

    if text is None:
        return (), ()
    if text.lower().endswith(".jsonl"):
        replies = load_probe_set(text)
        if not replies.split("control"):
            raise typer.BadParameter(
                f"{text} has no probes to keep; make it with: bankai probes replies", param_hint="--text"
            )
        return replies.split("control"), replies.split("unseen")
    return load_neutral_texts(text), ()


def _search(wanted: _Wanted, cluster: "Cluster | None") -> "SearchResult":
    from bankai.cli.progress import search_progress
    from bankai.jobs.search import check_search, search_file

    check_search(wanted.model, wanted.output, wanted.task, wanted.run)  # before anything is asked
    if wanted.replies:
        wanted = _with_replies(wanted)
    with (
        tells_interrupt(wanted.output, _way_on(wanted.run)),
        search_progress([*_warnings(wanted)]) as display,
    ):
        return search_file(
            wanted.model,
            wanted.output,
            wanted.task,
            wanted.settings,
            display.show,
            run=wanted.run,
            device=wanted.device,
            dtype=wanted.dtype,
            cluster=cluster,
        )


def _with_replies(wanted: _Wanted) -> _Wanted:
    from bankai.cli.steps import step_progress
    from bankai.jobs.replies import with_replies

    with tells_interrupt(wanted.output), step_progress() as listen:
        task = with_replies(
            wanted.task,
            wanted.model,
            wanted.settings,
            device=wanted.device,
            dtype=wanted.dtype,
            listen=listen,
        )
    return replace(wanted, task=task)


def _resume(run: Path, cluster: "Cluster | None") -> "SearchResult":
    from bankai.cli.progress import search_progress
    from bankai.jobs.search import output_of, resume_search

    with tells_interrupt(output_of(run), _way_on(run)), search_progress() as display:
        return resume_search(run, display.show, cluster=cluster)


def _way_on(run: Path) -> str:
    return f"go on with: bankai search --resume {run}"


def _plan(wanted: _Wanted) -> "Plan":
    import msgspec

    from bankai.jobs.planning.plan import plan_search

    wanted, told = _with_expected(wanted)
    plan = plan_search(
        wanted.model,
        wanted.task,
        wanted.settings,
        device=wanted.device,
        dtype=wanted.dtype,
        run=wanted.run,
    )
    return msgspec.structs.replace(plan, warnings=(*_warnings(wanted), *told, *plan.warnings))


def _with_expected(wanted: _Wanted) -> tuple[_Wanted, list[str]]:
    """With the replies that there are, or stand-ins for those that a search would ask first, and a word on that."""
    from bankai.jobs.replies import kept_replies, longest_replies, wants_replies

    if not wanted.replies or not wants_replies(wanted.task, wanted.model, wanted.settings):
        return wanted, []
    kept = kept_replies(wanted.model, dtype=wanted.dtype)
    told = (
        []
        if kept
        else [
            "the model's own replies to everyday requests are asked first, once: counted here as texts of full length, "
            "but not their time; --text none goes without"
        ]
    )
    return replace(wanted, task=wanted.task.keeping(kept or longest_replies())), told


def _print_plan(plan: "Plan", json: bool) -> None:
    for warning in plan.warnings:
        note(f"warning: {warning}")
    if json:
        print_json(plan)
    else:
        print_pairs(plan.lines())


def _report(result: "SearchResult", json: bool) -> None:
    if json:
        print_json(result)
    elif result.patch is not None:
        _print(result)
    if result.patch is None:
        note(
            f"no patch found: {result.reason}; nothing written; more targets and validation probes "
            "or a larger --budget may help"
        )
        raise typer.Exit(NOTHING_FOUND)


def _warnings(wanted: _Wanted) -> Iterator[str]:
    """What will be lost, and what the search or its report goes without; with the remedy."""
    task = wanted.task
    if wanted.output.exists():
        yield f"{wanted.output} is there: a patch that is found replaces it; give another -o to keep it"
    if not task.searched.controls:
        yield "no controls: nothing limits what this breaks; add --control SET"
    if not task.searched.texts:
        yield (
            "no neutral text: nothing keeps what no probe asks for; add --text neutral-en, or of a chat model its own "
            "replies: bankai probes replies"
        )
    if not task.searched.validation:
        yield "no validation probes: nothing tells chance hits from learning; add some to the target set"
    if not task.whole.split("heldout"):
        yield "no held-out probes: nothing measures what this fixes; add --heldout SET"
    if not task.whole.split("unseen"):
        yield "no unseen controls: nothing measures what this breaks; add some to the control set"


def _print(result: "SearchResult") -> None:
    from bankai.cli.tables import print_comparison

    if result.warnings:
        note(f"audit: {counted(result.warnings, 'warning')}; `bankai probes audit` names them")
    print_line(f"{result.patch}: {counted(result.flips, 'flip')}, {result.payload_bytes} bytes of payload")
    print_line(
        f"fitness {result.fitness:.3f} after {result.evaluations:.0f} evaluations, {result.seconds:.0f} s"
    )
    for title, read in (("targets", result.target), ("validation", result.validation)):
        if read is not None:
            print_line(
                f"{title}: {read.base.solved} of {read.probes} solved before, {read.patched.solved} with it"
            )
    reported = {
        "held-out": result.heldout,
        "unknown failures": result.unknown,
        "unseen controls": result.control,
    }
    for title, comparison in reported.items():
        if comparison is not None:
            print_comparison(title, comparison)
    if result.drift is not None:
        print_line(f"drift on replies that were not read: {result.drift:.4f} nats a token")
