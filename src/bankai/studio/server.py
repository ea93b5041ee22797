"""The server that shows the page, and ends when the process is told to.

Contract: nothing on the page comes from another machine, and it tells no other machine anything; browsers are told to
hold it to that. Only pages of this server may ask it for something, and on the loopback only by its own name, so that
no other site in the same browser reaches it. Uploads are bounded and kept where nobody else reads them, for an hour.
"""

import hmac
import os
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from signal import SIGINT
from tempfile import TemporaryDirectory
from types import FrameType

import gradio as gr
import uvicorn
from fastapi import FastAPI

from bankai.errors import StudioError
from bankai.serving.http.door import read_key
from bankai.serving.http.server import is_loopback, listen, names_of
from bankai.studio.guard import Guard
from bankai.studio.page import build
from bankai.studio.searches import MOST_BYTES, Searches
from bankai.studio.shared import SharedModel

__all__ = ["password", "serve"]

LAST = 2  # seconds, for answers under way at the end
FONTS = ["system-ui", "sans-serif"]
MONO = ["ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "Liberation Mono", "monospace"]


def password(host: str, file: Path | None) -> str | None:
    """What the page asks for: the key that a file or the environment holds.

    Raises StudioError when there is none and others can reach the host, ServingError for what is no key.
    """
    key = read_key(file)
    if key is None and not is_loopback(host):
        raise StudioError(
            f"everybody who reaches {host} could start searches; give --key-file, or --host 127.0.0.1"
        )
    return key


def serve(
    shared: SharedModel,
    runs: Path,
    host: str,
    port: int,
    *,
    key: str | None = None,
    ready: Callable[[str], None] = lambda address: None,
) -> int | None:
    """Show the page until a signal comes, and return it; `ready` is told the address, searches go into `runs`.

    With a `key` visitors log in by any name and that password. A search under way is stopped at the end and keeps its
    best patch so far. Raises ServingError when the address cannot be had.
    """
    with listen(host, port) as listener, TemporaryDirectory(prefix="bankai-studio-") as scratch:
        uploads, taken = Path(scratch) / "uploads", Path(scratch) / "taken"
        taken.mkdir()
        os.environ["GRADIO_TEMP_DIR"] = str(uploads)
        searches = Searches(shared.source, runs, device=shared.device, dtype=shared.dtype)
        try:
            page = build(shared, searches, taken)
            app = _app(page, taken, names_of(host) if is_loopback(host) else None, key)
            server = _Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=LAST))
            name = f"[{host}]" if ":" in host else host
            ready(f"http://{name}:{listener.getsockname()[1]}/")
            server.run([listener])
        finally:
            searches.close()
    return server.signal


class _Server(uvicorn.Server):
    """Remembers the signal instead of dying of it: there is something to clean up."""

    signal: int | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self.force_exit = self.signal == sig == SIGINT  # Ctrl-C again: somebody is in a hurry
        self.signal, self.should_exit = sig, True


def _app(page: gr.Blocks, taken: Path, hosts: frozenset[str] | None, key: str | None) -> FastAPI:
    app = gr.mount_gradio_app(
        FastAPI(docs_url=None, redoc_url=None, openapi_url=None),
        page,
        path="/",
        auth=None if key is None else lambda _, given: hmac.compare_digest(given.encode(), key.encode()),
        footer_links=[],
        run_history=False,
        allowed_paths=[str(taken)],
        show_error=False,
        max_file_size=MOST_BYTES,
        ssr_mode=False,
        enable_monitoring=False,
        pwa=False,
        mcp_server=False,
        theme=gr.themes.Default(primary_hue="blue", neutral_hue="slate", font=FONTS, font_mono=MONO),
        css=resources.files("bankai.studio").joinpath("page.css").read_text(encoding="utf-8"),
    )
    app.add_middleware(Guard, hosts=hosts)
    return app
