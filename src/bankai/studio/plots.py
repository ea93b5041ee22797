"""Values as SVG, in the colors of the page: ink is the page's text, so that light and dark need no second drawing."""

import io
from collections.abc import Sequence
from threading import Lock
from typing import Any

import matplotlib
import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from bankai.studio.maps import Panel
from bankai.studio.runs import Run

__all__ = ["draw_panel", "draw_run"]

INK, MARK, LINE, SECOND = "#0b0c0d", "#0b0c0e", "#0b0c0f", "#0b0c10"  # stand for colors of the page
PAGE = {INK: "currentColor", MARK: "var(--mark)", LINE: "var(--heat)", SECOND: "var(--second)"}
HEAT = "#e08700"  # in an image, on light and on dark
BINS = 160  # places across a map
MOST_LABELS = 12  # layers that are named beside a map
DRAWING = Lock()  # the style is one for the whole process
STYLE = {
    "svg.hashsalt": "bankai",
    "svg.fonttype": "none",
    "font.size": 9,
    "font.family": "sans-serif",
    **{f"{name}.color": INK for name in ("text", "xtick", "ytick")},
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
}


def draw_panel(panel: Panel, most: float = 0.0) -> str:
    """Layers from top to bottom, rows from left to right; heat is the best value of a bin, full at `most`."""
    with DRAWING, matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(4.0, 0.75 + 0.13 * max(8, panel.layers)), layout="constrained")
        axes = figure.add_subplot()
        axes.set(xlim=(0, panel.rows), ylim=(panel.layers - 0.5, -0.5), xlabel="row", ylabel="layer")
        if panel.values is not None and most > 0:
            extent = (0, panel.rows, panel.layers - 0.5, -0.5)
            axes.imshow(_heat(panel.values, most), extent=extent, aspect="auto", interpolation="nearest")
        for layer in range(1, panel.layers):
            axes.axhline(layer - 0.5, color=INK, alpha=0.1, lw=0.6)
        if panel.flips:
            layers, rows = zip(*panel.flips, strict=True)
            axes.plot(rows, layers, "|", color=MARK, ms=9, mew=1.6)
        axes.yaxis.set_major_locator(MaxNLocator(MOST_LABELS, integer=True))
        axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        return _svg(figure, axes)


def _heat(values: NDArray[np.float32], most: float) -> NDArray[np.float64]:
    """One color, as opaque as the best value of each bin: [layers, bins, 4]."""
    layers, rows = values.shape
    bins = min(BINS, rows)
    starts = np.arange(bins) * rows // bins
    best = np.fmax.reduceat(np.nan_to_num(values, nan=0.0), starts, axis=1)
    heat = np.empty((layers, bins, 4))
    heat[..., :3], heat[..., 3] = to_rgb(HEAT), np.sqrt(np.clip(best / most, 0, 1))
    return heat


def draw_run(run: Run) -> str:
    """Fitness over evaluations; below it the validation probes solved, if there are some."""
    read = [(step.evaluations, step.solved) for step in run.steps if step.solved is not None]
    rows = 2 if read and run.validation else 1
    with DRAWING, matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(5.2, 1.1 + 1.0 * rows), layout="constrained")
        axes = figure.subplots(rows, 1, sharex=True, squeeze=False)[:, 0]
        spent = [step.evaluations for step in run.steps]
        fitness = [step.fitness for step in run.steps]
        axes[0].step(spent, fitness, where="post", color=LINE, lw=1.8)
        axes[0].plot(spent, fitness, "o", color=LINE, ms=3, clip_on=False)
        axes[0].set_ylabel("fitness")
        if rows == 2:
            _steps(axes[1], read)
            axes[1].set(ylabel=f"validation, of {run.validation}", ylim=(0, 1.05 * run.validation))
            axes[1].yaxis.set_major_locator(MaxNLocator(4, integer=True))
        axes[-1].set_xlabel("evaluations")
        axes[-1].set_xlim(0, max(spent[-1], 1))
        return _svg(figure, *axes)


def _steps(axes: Any, points: Sequence[tuple[float, int]]) -> None:
    axes.step(*zip(*points, strict=True), where="post", color=SECOND, lw=1.8, marker="o", ms=3, clip_on=False)


def _svg(figure: Figure, *axes: Any) -> str:
    for one in axes:
        one.spines[["top", "right"]].set_visible(False)
        one.patch.set_alpha(0)
    figure.patch.set_alpha(0)
    file = io.StringIO()
    figure.savefig(file, format="svg", metadata={"Date": None})
    text = file.getvalue()
    for drawn, shown in PAGE.items():
        text = text.replace(drawn, shown)
    return text[text.index("<svg") :]
