"""The page as a whole: its head, the switches of the patches, and the views. Computes nothing."""

from pathlib import Path
from typing import Any

import gradio as gr

from bankai.studio import html
from bankai.studio.search_tab import search_tab
from bankai.studio.searches import Searches
from bankai.studio.shared import SharedModel
from bankai.studio.tabs import compare_tab, map_tab, probes_tab
from bankai.studio.wiring import QUIET, Parts, markup

__all__ = ["build"]

AT_ONCE = 4  # events of a kind that are worked at; the model itself is one visitor's at a time
WAITING = 64
MOST_BOXES = 24
LIFETIME = 3600  # seconds that uploads are kept
TABS = (("Compare", compare_tab), ("Probes", probes_tab), ("Map", map_tab), ("Search", search_tab))


def build(shared: SharedModel, searches: Searches, folder: Path) -> gr.Blocks:
    """The page for a model. `folder` is for files that visitors take away."""
    title = f"Bankai studio: {shared.name}"
    with gr.Blocks(title=title, analytics_enabled=False, delete_cache=(LIFETIME, LIFETIME)) as page:
        markup(html.header(shared.name, _facts(shared)))
        switches = _switches(shared)
        parts = Parts(page, shared, searches, switches, folder)
        with gr.Tabs():
            for name, tab in TABS:
                with gr.Tab(name):
                    tab(parts)
        page.load(
            lambda: gr.update(choices=shared.patch_names(), info=_told(shared)), None, switches, **QUIET
        )
    return page.queue(max_size=WAITING, default_concurrency_limit=AT_ONCE)


def _switches(shared: SharedModel) -> gr.CheckboxGroup | gr.Dropdown:
    """A box for each patch; for many a list in which to type and choose."""
    names = shared.patch_names()
    shown: dict[str, Any] = {"label": "Patches", "info": _told(shared), "elem_id": "patches"}
    if len(names) <= MOST_BOXES:
        return gr.CheckboxGroup(list(names), **shown)
    return gr.Dropdown(list(names), value=[], multiselect=True, **shown)


def _facts(shared: SharedModel) -> list[str]:
    shapes = [info.shape for info in shared.base.matrices.values()]
    weights = sum(rows * columns for rows, columns in shapes)
    return [f"{shared.bench.model.config.num_hidden_layers} layers", f"{weights / 1e6:,.1f} M weights"]


def _told(shared: SharedModel) -> str:
    if shared.library is None:
        return "No library: start the studio with --library FILE to switch patches."
    if not shared.patch_names():
        return "The library has no patch for this model; bankai library add puts one in."
    return "Several that are on make a stack; their order never matters."
