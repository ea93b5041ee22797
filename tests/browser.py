"""Pages in Debian's Chromium, headless and driven by Playwright, which downloads nothing.

A page is watched from its first byte: what it asks for and what it complains of are kept. Needs the `[browser]` extra
when called, not when imported. While a browser is open its thread counts as one with a running event loop, so keep it
open for one module of tests at most.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
).split()


@dataclass(frozen=True)
class Visit:
    """An open page; `asked`: addresses, its own first; `complaints`: errors and warnings of its console and scripts."""

    page: "Page"
    asked: list[str]
    complaints: list[str]


@contextmanager
def chromium() -> Iterator["Browser"]:
    """A running browser. Raises RuntimeError when Chromium is not installed."""
    path = shutil.which("chromium")
    if path is None:
        raise RuntimeError("no chromium on the PATH; run: apt install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def visit(browser: "Browser", address: str, width: int = 1280, dark: bool = False) -> Iterator[Visit]:
    """A page in a profile of its own, once it has loaded."""
    page = browser.new_page(
        viewport={"width": width, "height": 900}, color_scheme="dark" if dark else "light"
    )
    seen = Visit(page, [], [])
    page.on("request", lambda request: seen.asked.append(request.url))
    page.on("pageerror", lambda error: seen.complaints.append(str(error)))
    page.on(
        "console",
        lambda message: message.type in ("error", "warning") and seen.complaints.append(message.text),
    )
    try:
        page.goto(address)
        yield seen
    finally:
        page.close()
