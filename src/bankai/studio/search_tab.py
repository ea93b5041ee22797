"""Search: a file of failures goes in, a patch comes out, and runs can be watched. Computes nothing."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from bankai.errors import BankaiError, StudioError
from bankai.io import writing
from bankai.jobs.replies import NO_TEXT
from bankai.patch.files import read_patch_bytes
from bankai.probes.neutral import builtin_neutral_texts
from bankai.probes.tables import SUFFIXES
from bankai.studio import html
from bankai.studio.runs import Run, list_runs, read_run
from bankai.studio.searches import MOST_MINUTES, Objective, Searches, Wanted
from bankai.studio.wiring import LATEST, QUIET, Parts, markup, refusing

__all__ = ["Look", "search_tab"]

OBJECTIVES = [("mean score", "mean"), ("nearly solved", "boundary")]
OWN_REPLIES = "a chat model's own replies"
EVERY = 2.0  # seconds between two looks at a run
KEPT = 3600  # seconds that the last look is kept for its page


@dataclass(frozen=True)
class Look:
    """What there is to see at a moment: the state of the search under way, the runs, and the chosen one."""

    status: str
    names: tuple[str, ...]
    name: str | None
    run: Run | None
    refusal: str

    @classmethod
    def at(cls, searches: Searches, name: str | None) -> "Look":
        """`name` may be of a search that has no run yet."""
        status, names, run, refusal = html.status(searches.status), list_runs(searches.folder), None, ""
        try:
            run = read_run(searches.folder, name) if name in names else None
        except BankaiError as error:
            refusal = str(error)
        return cls(status, names, name, run, refusal)

    @property
    def markup(self) -> str:
        """The chosen run."""
        if self.refusal:
            return html.refusal(self.refusal)
        if self.run is not None:
            return html.run(self.run)
        waiting = "The run begins when the model has read the file."
        return html.nothing(waiting if self.name else "Drop a file to start a search, or choose a run.")


def search_tab(parts: Parts) -> None:
    """A search from a file of failures, and the runs of the folder."""
    searches = parts.searches
    with gr.Row(equal_height=False):
        with gr.Column(scale=2, min_width=280):
            asked = _form()
            with gr.Row():
                go = gr.Button("Start", variant="primary", elem_id="start", min_width=110)
                stop = gr.Button("Stop", elem_id="stop", min_width=110)
        with gr.Column(scale=3, min_width=280):
            status = markup(name="status")
            run = gr.Dropdown([], label="Run", elem_id="run", visible=False)
            shown = markup(name="shown")
            with gr.Row():
                download = gr.DownloadButton(visible=False, elem_id="download", min_width=200)
                keep = gr.Button("Put it into the library", visible=False, elem_id="keep", min_width=200)
    seen = gr.State(None, time_to_live=KEPT)

    @refusing(status)
    def start(*values: Any) -> dict[Any, Any]:
        name = searches.start(_wanted(*values))
        return {status: html.status(searches.status), run: _choices(list_runs(searches.folder), name)}

    def look(name: str | None, before: Look | None) -> Any:
        now = Look.at(searches, name)
        if now == before:
            return gr.skip()
        changed: dict[Any, Any] = {seen: now, status: now.status}
        if before is None or now.names != before.names:
            changed[run] = _choices(now.names, name)
        if before is None or (now.name, now.run) != (before.name, before.run):
            changed |= {shown: now.markup, **_offers(parts, now.run, download, keep)}
        return changed

    @refusing(status)
    def put(name: str | None) -> dict[Any, Any]:
        patch = read_run(searches.folder, name or "").patch
        if patch is None:
            raise StudioError("this run has no patch; wait for its end")
        kept = parts.shared.keep(patch)
        told = html.nothing(f"{kept} is in the library: switch it on above.")
        return {status: told, parts.switches: gr.update(choices=parts.shared.patch_names())}

    go.click(start, asked, [status, run], **LATEST)
    stop.click(searches.stop, **QUIET)
    keep.click(put, run, [status, parts.switches], **QUIET)
    looks = [gr.Timer(EVERY).tick, run.change, parts.page.load]
    gr.on(looks, look, [run, seen], [seen, status, run, shown, download, keep], **QUIET)


def _form() -> list[Any]:
    """The controls that `_wanted` reads, in its order."""
    file = gr.File(
        label="Failures, CSV or JSONL",
        file_types=[*SUFFIXES],
        height=150,
        elem_id="failures",
    )
    name = gr.Textbox(
        label="Name of the patch", placeholder="that of the file", max_length=60, elem_id="name"
    )
    objective = gr.Dropdown(OBJECTIVES, label="Targets to raise")
    evaluations = gr.Slider(10, 2000, 300, step=10, label="Evaluations", elem_id="budget")
    minutes = gr.Slider(1, MOST_MINUTES, 15, step=1, label="Minutes at most")
    with gr.Accordion("More", open=False):
        text = gr.Dropdown(
            [OWN_REPLIES, NO_TEXT, *builtin_neutral_texts()], label="Neutral text to leave as it is"
        )
        chat = gr.Checkbox(False, label="Prompts are chat messages")
        seed = gr.Number(0, label="Seed", precision=0, minimum=0, maximum=2**31)
    return [file, name, objective, evaluations, minutes, text, chat, seed]


def _wanted(
    file: str | None,
    name: str,
    objective: Objective,
    evaluations: float,
    minutes: float,
    text: str,
    chat: bool,
    seed: float,
) -> Wanted:
    if file is None:
        raise StudioError("drop a file of failures first: a CSV with the columns prompt and answer")
    return Wanted(
        file=Path(file),
        name=name,
        chat=chat,
        evaluations=int(evaluations),
        minutes=int(minutes),
        objective=objective,
        text=text if text in (NO_TEXT, *builtin_neutral_texts()) else None,
        seed=int(seed or 0),
    )


def _choices(names: Sequence[str], name: str | None) -> Any:
    """The runs to choose from, with one that is about to begin."""
    first = () if name is None or name in names else (name,)
    return gr.update(choices=[*first, *names], value=name, visible=bool(first or names))


def _offers(parts: Parts, run: Run | None, download: Any, keep: Any) -> dict[Any, Any]:
    """What can be done with the patch of a run.

    It is taken away as a file of its own: whole, whatever becomes of the run.
    """
    if run is None or run.patch is None:
        return dict.fromkeys((download, keep), gr.update(visible=False))
    copy = parts.folder / f"{run.name}.bankai"
    with writing(copy) as temporary:
        temporary.write_bytes(read_patch_bytes(run.patch))
    return {
        download: gr.update(visible=True, value=str(copy), label=f"Download {copy.name}"),
        keep: gr.update(visible=parts.shared.library is not None),
    }
