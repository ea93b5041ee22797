"""`bankai studio`."""

import signal
from pathlib import Path
from typing import Annotated

import typer

from bankai.cli.options import Device, Dtype, Json, Model
from bankai.cli.output import print_json, print_line

__all__ = ["studio"]

INTERRUPTED = 130


def studio(
    model: Model,
    library: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The library whose patches can be switched on.")
    ] = None,
    runs: Annotated[
        Path, typer.Option(metavar="DIR", help="The folder of search runs to show and to add to.")
    ] = Path("runs"),
    host: Annotated[str, typer.Option(metavar="HOST", help="Where to listen.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, metavar="N", help="0 takes a free one.")] = 7860,
    key_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Holds the password of the page; or set BANKAI_API_KEY."),
    ] = None,
    device: Device = "cpu",
    dtype: Dtype = "float32",
    json: Json = False,
) -> None:
    """Show a page on which to try patches and search for them.

    Base and patched side by side, probes, maps of patches and of attributions, searches as they go. The page asks no
    other machine for anything. Ctrl-C ends it; a search under way keeps its best patch so far.
    """
    from bankai.studio.server import password, serve
    from bankai.studio.shared import SharedModel

    key = password(host, key_file)

    def ready(url: str) -> None:
        count = len(shared.patch_names())
        if json:
            print_json({"url": url, "model": shared.name, "patches": count})
        else:
            print_line(
                f"{shared.name} with {count} patch{'' if count == 1 else 'es'} at {url}; Ctrl-C ends it"
            )

    with SharedModel(model, library, device=device, dtype=dtype) as shared:
        caught = serve(shared, runs, host, port, key=key, ready=ready)
    if caught == signal.SIGINT:
        raise typer.Exit(INTERRUPTED)
