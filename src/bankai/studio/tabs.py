"""Compare, probes and map: their controls, and which functions these call. Computes nothing."""

from typing import Any, get_args

import gradio as gr

from bankai.evaluation.evaluate import probes_of
from bankai.probes import Split, builtin_probe_sets, load_probe_set
from bankai.studio import html
from bankai.studio.compare import MOST_TOKENS, Asked, compare
from bankai.studio.maps import attribute, patch_places
from bankai.studio.probes import OUTCOMES, Measured, chosen, measure
from bankai.studio.wiring import LATEST, PROGRESS, QUIET, Parts, listener, markup, probe_set, refusing

__all__ = ["compare_tab", "map_tab", "probes_tab"]

EXAMPLE = "What is the derivative of 5x^5 + 2x^4? Answer:"
ALL = "all"
KEPT = 3600  # seconds that a table of probes is kept for its page


def compare_tab(parts: Parts) -> None:
    """Base and patched side by side."""
    with gr.Row(equal_height=False):
        with gr.Column(scale=3, min_width=280):
            prompt = gr.Textbox(EXAMPLE, label="Prompt", lines=3, max_lines=10, elem_id="prompt")
        with gr.Column(scale=2, min_width=280):
            with gr.Row():
                chat = gr.Checkbox(False, label="As a chat", min_width=130)
                line = gr.Checkbox(True, label="Stop at line end", min_width=130)
            with gr.Accordion("Length and sampling", open=False):
                tokens = gr.Slider(1, MOST_TOKENS, 48, step=1, label="At most so many tokens")
                temperature = gr.Slider(0, 2, 0, step=0.05, label="Temperature; 0 is greedy")
                seed = gr.Number(0, label="Seed", precision=0, minimum=0, maximum=2**31)
    go = gr.Button("Compare", variant="primary", elem_id="compare")
    shown = markup(html.nothing("Ask something, and switch a patch on to see what it changes."), "compared")

    @refusing(shown)
    def ask(
        prompt: str,
        chat: bool,
        line: bool,
        tokens: float,
        temperature: float,
        seed: float,
        names: list[str],
        progress: gr.Progress = PROGRESS,
    ) -> str:
        asked = Asked(prompt, chat, line, int(tokens), float(temperature), int(seed or 0))
        return html.compared(compare(parts.shared, asked, names, listener(progress)), names)

    inputs = [prompt, chat, line, tokens, temperature, seed, parts.switches]
    gr.on([go.click, prompt.submit, parts.switches.input], ask, inputs, shown, **LATEST)


def probes_tab(parts: Parts) -> None:
    """A probe set, probe by probe."""
    with gr.Row(equal_height=False):
        name = gr.Dropdown(list(builtin_probe_sets()), label="Probe set", min_width=200, elem_id="set")
        split = gr.Dropdown(
            list(get_args(Split)), value="heldout", label="Split", min_width=140, elem_id="split"
        )
    with gr.Accordion("Probes of your own", open=False):
        file = gr.File(label="JSONL, one probe a line", file_types=[".jsonl"], height=150, elem_id="own")
    go = gr.Button("Measure", variant="primary", elem_id="measure")
    counts = markup(html.nothing("Measure a set with patches on to see what they fix and break."), "counts")
    with gr.Row(equal_height=False):
        outcome = gr.Radio(
            [ALL, *OUTCOMES], value=ALL, label="Show", elem_id="outcome", scale=3, min_width=280
        )
        words = gr.Textbox(label="With the words", elem_id="words", min_width=180)
    rows = markup(name="rows")
    found = gr.State(None, time_to_live=KEPT)

    @refusing(counts)
    def take(
        name: str, file: str | None, split: Split, names: list[str], progress: gr.Progress = PROGRESS
    ) -> dict[Any, Any]:
        probes = probes_of(probe_set(name, file), split)
        result = measure(parts.shared, probes, names, listener(progress))
        return {counts: html.counted(result), found: result}

    def show(found: Measured | None, outcome: str, words: str) -> str:
        wanted = "" if outcome == ALL else outcome
        return "" if found is None else html.listed(chosen(found.rows, wanted, words))

    def splits(name: str) -> Any:
        found = load_probe_set(probe_set(name)).splits
        return gr.update(choices=found, value="heldout" if "heldout" in found else found[-1])

    name.input(splits, name, split, **QUIET)
    taken = go.click(take, [name, file, split, parts.switches], [counts, found], **LATEST)
    shows: dict[str, Any] = {"fn": show, "inputs": [found, outcome, words], "outputs": rows, **QUIET}
    taken.then(**shows)
    gr.on([outcome.change, words.change], **shows)


def map_tab(parts: Parts) -> None:
    """Places of the patch, and of attributions."""
    name = gr.Dropdown(list(builtin_probe_sets()), label="Targets and controls of", elem_id="goal")
    go = gr.Button("Rank rows by attribution", variant="primary", elem_id="rank")
    shown, best = markup(name="map"), markup(name="best")

    @refusing(shown)
    def places(names: list[str]) -> dict[Any, Any]:
        return {shown: html.mapped(patch_places(parts.shared, names)), best: ""}

    @refusing(shown)
    def rank(name: str, names: list[str], progress: gr.Progress = PROGRESS) -> dict[Any, Any]:
        progress((0, 1), desc="ranking every row")
        found = attribute(parts.shared, load_probe_set(probe_set(name)), names)
        return {shown: html.mapped(found.panels), best: html.ranked(found.top, found.panels)}

    gr.on([parts.page.load, parts.switches.change], places, parts.switches, [shown, best], **QUIET)
    go.click(rank, [name, parts.switches], [shown, best], **LATEST)
