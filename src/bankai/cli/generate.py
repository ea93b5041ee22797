"""`bankai generate`."""

from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer

from bankai.cli.options import (
    ChatTemplate,
    ChatTemplateKwargs,
    Device,
    Dtype,
    Json,
    Model,
    Seed,
    Unbound,
    read_chat_template_kwargs,
)
from bankai.cli.output import print_json

__all__ = ["generate"]


def generate(
    model: Model,
    prompt: Annotated[
        str, typer.Argument(metavar="PROMPT", help="The text to continue, or the message with --chat.")
    ],
    patch: Annotated[Path | None, typer.Option(metavar="PATCH", help="Put this patch on first.")] = None,
    chat: Annotated[bool, typer.Option("--chat", help="Use the model's chat template.")] = False,
    chat_template: ChatTemplate = None,
    chat_template_kwargs: ChatTemplateKwargs = None,
    max_tokens: Annotated[int, typer.Option(min=1, metavar="N", help="The most tokens to write.")] = 64,
    temperature: Annotated[
        float, typer.Option(min=0.0, metavar="X", help="0 takes the most probable token.")
    ] = 0.0,
    seed: Seed = 0,
    unbound: Unbound = False,
    device: Device = "cpu",
    dtype: Dtype = "float32",
    json: Json = False,
) -> None:
    """Continue a prompt, with or without a patch.

    The text streams to stdout.
    """
    from bankai.model import load, patched
    from bankai.model.generation import prompt_ids, stream
    from bankai.model.tokenizer import choose_chat_template
    from bankai.patch import read_patch

    variables = read_chat_template_kwargs(chat_template_kwargs)
    for option, value in (("'--chat-template'", chat_template), ("'--chat-template-kwargs'", variables)):
        if value is not None and not chat:
            raise typer.BadParameter("only a chat has a template; give --chat too", param_hint=option)
    change = read_patch(patch) if patch else None
    loaded, tokenizer = load(model, device=device, dtype=dtype)
    choose_chat_template(tokenizer, chat_template, variables)
    try:
        ids = prompt_ids(loaded, tokenizer, prompt, chat=chat)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="'PROMPT'") from None
    with patched(loaded, change, unbound=unbound) if change else nullcontext():
        pieces = stream(loaded, tokenizer, ids, max_tokens=max_tokens, temperature=temperature, seed=seed)
        if json:
            print_json({"prompt": prompt, "text": "".join(pieces), "patch": patch})
            return
        for piece in pieces:
            typer.echo(piece, nl=False)
        typer.echo()
