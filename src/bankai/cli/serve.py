"""`bankai serve`."""

import logging
import signal
from pathlib import Path
from typing import Annotated, Literal

import typer

from bankai.cli.options import (
    ChatTemplate,
    ChatTemplateKwargs,
    Device,
    Dtype,
    Json,
    Model,
    read_chat_template_kwargs,
)
from bankai.cli.output import print_json, print_line

__all__ = ["serve"]

INTERRUPTED = 130


def serve(
    model: Model,
    library: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The patches to serve; may change meanwhile.")
    ] = None,
    engine: Annotated[
        Literal["torch", "llama"],
        typer.Option(help="torch: different patches in one step; llama: llama.cpp on the CPU."),
    ] = "torch",
    host: Annotated[str, typer.Option(metavar="HOST", help="Where to listen.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, metavar="N", help="0 takes a free one.")] = 8000,
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="The model's name; by default its file's.")
    ] = None,
    api_key_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Holds the key that clients must send; or set BANKAI_API_KEY."),
    ] = None,
    places: Annotated[int, typer.Option(min=1, max=4096, metavar="N", help="Texts computed at once.")] = 16,
    queue: Annotated[
        int, typer.Option(min=0, metavar="N", help="Texts that may wait; more are told 429.")
    ] = 64,
    context: Annotated[
        int | None, typer.Option(min=2, metavar="N", help="Tokens of a text; by default the model's.")
    ] = None,
    chat_template: ChatTemplate = None,
    chat_template_kwargs: ChatTemplateKwargs = None,
    grace: Annotated[
        float, typer.Option(min=0.0, metavar="S", help="Seconds to finish requests after Ctrl-C.")
    ] = 30.0,
    device: Device = "cpu",
    dtype: Dtype = "float32",
    dense: Annotated[
        bool,
        typer.Option(
            "--dense",
            help="Keep torch's 1-bit weights expanded: faster, at up to 32 times the memory.",
        ),
    ] = False,
    json: Json = False,
) -> None:
    """Serve a model and its patches by OpenAI's API.

    A request picks patches by the model's name, such as nano+math+style. Tells where it listens, and serves until
    Ctrl-C or SIGTERM.
    """
    from bankai.serving.http.app import make_app
    from bankai.serving.http.door import Door, read_key
    from bankai.serving.http.server import is_loopback, listen, names_of, run
    from bankai.serving.service import open_service

    logging.basicConfig(level=logging.WARNING, format="bankai: %(message)s")
    logging.getLogger("asyncio").setLevel(logging.ERROR)  # it warns of clients that go away
    key, variables = read_key(api_key_file), read_chat_template_kwargs(chat_template_kwargs)
    if not is_loopback(host) and key is None:
        raise typer.BadParameter(
            "everybody who reaches this host could ask; give --api-key-file, or listen at 127.0.0.1",
            param_hint="--host",
        )
    opened = open_service(
        model,
        name=name,
        library=library,
        engine=engine,
        places=places,
        context=context,
        queue=queue,
        chat_template=chat_template,
        chat_template_kwargs=variables,
        device=device,
        dtype=dtype,
        dense=dense,
    )
    with listen(host, port) as listener, opened as service:
        address = f"[{host}]" if ":" in host else host
        patches = len(service.catalog.entries())
        about = {
            "url": f"http://{address}:{listener.getsockname()[1]}/v1",
            "model": service.catalog.base,
            "patches": patches,
            "engine": engine,
        }

        def ready() -> None:
            if json:
                print_json(about)
            else:
                known = f"{patches} patch{'' if patches == 1 else 'es'}"
                print_line(f"{about['model']} with {known} at {about['url']}, by {engine}; Ctrl-C ends it")

        door = Door(key, None if key else names_of(host))
        app = make_app(service.catalog, service.scheduler, service.tokenizer, door)
        caught = run(app, service.scheduler, listener, grace=grace, ready=ready)
    if caught == signal.SIGINT:
        raise typer.Exit(INTERRUPTED)
