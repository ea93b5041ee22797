"""What the views of the page share: the switches of the patches, refusals, progress, how an event is set up.

Contract: names of patches, sets and runs come from lists, and no text of a visitor becomes a path. A refusal is shown
in the place of the answer. Computes nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any

import gradio as gr

from bankai.errors import BankaiError, StudioError
from bankai.probes import builtin_probe_sets
from bankai.steps import StepListener
from bankai.studio import html
from bankai.studio.searches import Searches
from bankai.studio.shared import SharedModel

__all__ = ["LATEST", "PROGRESS", "QUIET", "Parts", "listener", "markup", "probe_set", "refusing"]

PROGRESS = gr.Progress()
"""The default of a parameter to which Gradio gives the progress of an event."""
LATEST: dict[str, Any] = {"api_visibility": "private", "trigger_mode": "always_last"}
"""Of an event: what is asked while it works counts once, at the end."""
QUIET: dict[str, Any] = {**LATEST, "show_progress": "hidden"}
"""Of one that is over at once."""


@dataclass(frozen=True)
class Parts:
    """What every view works with; `folder` is for files that visitors take away."""

    page: gr.Blocks
    shared: SharedModel
    searches: Searches
    switches: gr.CheckboxGroup | gr.Dropdown
    folder: Path


def markup(value: str = "", name: str | None = None) -> gr.HTML:
    """A place for what `bankai.studio.html` makes."""
    return gr.HTML(value, elem_id=name, elem_classes="studio", js_on_load=None)


def refusing(place: gr.HTML) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Show a refusal of an event in this one of its outputs; the others stay as they are."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def told(*args: Any) -> Any:
            try:
                return function(*args)
            except BankaiError as error:
                return {place: html.refusal(str(error))}

        return told

    return decorate


def listener(progress: gr.Progress) -> StepListener:
    """Tells the page how far a computation is."""
    return lambda what, done, total: progress((done, total), desc=what)


def probe_set(name: str, file: str | None = None) -> str:
    """An uploaded file, else a built-in set. Raises StudioError for anything else."""
    if file is None and name not in builtin_probe_sets():
        raise StudioError(f"there is no set {name!r:.80} here; choose one of the list")
    return name if file is None else file
