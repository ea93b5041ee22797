"""Arguments and options that several commands share, so that they read the same everywhere."""

import re
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

__all__ = [
    "AnswerColumn",
    "Budget",
    "ChatTemplate",
    "ChatTemplateKwargs",
    "ClusterAt",
    "Device",
    "Dtype",
    "GpusPerWorker",
    "Grade",
    "Json",
    "MaxTokens",
    "Model",
    "Output",
    "PatchFile",
    "PromptColumn",
    "Seed",
    "Threads",
    "Unbound",
    "read_budget",
    "read_chat_template_kwargs",
    "read_layers",
    "read_projections",
    "require_alone",
]

Budget = Annotated[
    str, typer.Option(metavar="N", help="What to spend: full evaluations, or minutes as in 15m.")
]
ChatTemplate = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="The chat template of that name; by default the one called default."),
]
ChatTemplateKwargs = Annotated[
    str | None,
    typer.Option(
        metavar="JSON", help="Variables of the chat template, such as '{\"enable_thinking\": false}'."
    ),
]
ClusterAt = Annotated[
    str | None,
    typer.Option(
        "--cluster",
        metavar="WHERE",
        help="Compute on Ray: local or local:N for N workers here, auto, or HOST:PORT of a cluster.",
    ),
]
Device = Annotated[Literal["cpu", "cuda", "mps"], typer.Option(help="Where torch computes.")]
Dtype = Annotated[
    Literal["float32", "bfloat16", "float16"],
    typer.Option(help="What torch computes in; the last two are quicker on a GPU, and rounder."),
]
GpusPerWorker = Annotated[
    float | None,
    typer.Option(
        min=0.01, max=1, metavar="X", help="Of a cluster with --device cuda: a GPU each, or a part of one."
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Model = Annotated[
    str, typer.Argument(metavar="MODEL", help="A .gguf file, an MLX directory or a built-in model.")
]
Output = Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="The file to write.")]
PatchFile = Annotated[Path, typer.Argument(metavar="PATCH", help="A .bankai or bankai_row_xor_v1 file.")]
Seed = Annotated[int, typer.Option(min=0, max=2**63 - 1, metavar="N", help="Seed of every random choice.")]
Threads = Annotated[
    int | None,
    typer.Option(min=1, max=1024, metavar="N", help="Of a cluster: CPU threads of each worker."),
]
Grade = Annotated[
    str | None,
    typer.Option(
        metavar="GRADER",
        help="What makes a reply right: exact, contains, starts, regex, number, choice, json or length; "
        "docs/graders.md has them all.",
    ),
]
PromptColumn = Annotated[
    str | None, typer.Option(metavar="NAME", help="The column of the prompts, when it has no usual name.")
]
AnswerColumn = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="The column of the right answers, when it has no usual name."),
]
MaxTokens = Annotated[
    int, typer.Option(min=1, metavar="N", help="The most tokens to read of a reply that is graded.")
]
Unbound = Annotated[
    bool,
    typer.Option("--unbound", help="Accept a patch that does not say which bits it expects."),
]


def read_budget(text: str) -> dict[str, Any]:
    """`budget` and `minutes` of search settings, from "300" or "15m"."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(m|min)?", text.strip())
    if not found or not float(found[1]):
        raise typer.BadParameter(
            f"{text!r} is not like 300 (evaluations) or 15m (minutes)", param_hint="--budget"
        )
    name, other = ("minutes", "budget") if found[2] else ("budget", "minutes")
    return {name: float(found[1]), other: None}


def read_chat_template_kwargs(text: str | None) -> dict[str, Any] | None:
    """Variables of a chat template from a JSON object."""
    import msgspec

    from bankai.io import quote
    from bankai.model.chat import RESERVED

    hint = "'--chat-template-kwargs'"
    if text is None:
        return None
    try:
        found = msgspec.json.decode(text, type=dict[str, Any])
    except (msgspec.MsgspecError, RecursionError):
        raise typer.BadParameter(
            f'{quote(text)} is no JSON object such as {{"enable_thinking": false}}', param_hint=hint
        ) from None
    if reserved := RESERVED & found.keys():
        raise typer.BadParameter(
            f"{min(reserved)} is no variable that can be set; leave it out", param_hint=hint
        )
    return found


def read_layers(text: str) -> tuple[int, ...]:
    """Layers from a list such as "0-3,8"; none from an empty one."""
    layers: set[int] = set()
    for piece in filter(None, text.split(",")):
        found = re.fullmatch(r"\s*(\d{1,4})(?:-(\d{1,4}))?\s*", piece)
        if not found:
            raise typer.BadParameter(f"{text!r} is not like 0-3,8", param_hint="--layers")
        layers.update(range(int(found[1]), int(found[2] or found[1]) + 1))
    return tuple(sorted(layers))


def read_projections(text: str) -> tuple[str, ...]:
    """Projections by short name, from a list such as "mlp,o_proj"."""
    from bankai.architectures import PROJECTION_FAMILIES, PROJECTIONS

    short = {path: name for name, path in PROJECTIONS.items()}
    families = {family: tuple(short[path] for path in paths) for family, paths in PROJECTION_FAMILIES.items()}
    known, found = families | {name: (name,) for name in PROJECTIONS}, dict[str, None]()
    for piece in text.split(","):
        if piece.strip() not in known:
            raise typer.BadParameter(f"{piece!r} is none of {', '.join(known)}", param_hint="--projections")
        found.update(dict.fromkeys(known[piece.strip()]))
    return tuple(found)


def require_alone(context: typer.Context, *allowed: str) -> None:
    """Refuse options beside --resume that would change work that goes on; `allowed` are harmless, as is --json."""
    for name in context.params.keys() - {"resume", "json", *allowed}:
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            raise typer.BadParameter(
                f"goes on with what was asked; give no {name.replace('_', '-')}", param_hint="--resume"
            )
