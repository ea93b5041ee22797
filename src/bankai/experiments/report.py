"""The report: one HTML file that needs nothing else, and the same verdicts as JSON.

Written anew from the results on disk.
"""

import base64
import io
import json
import math
from dataclasses import asdict, dataclass
from importlib import resources
from itertools import cycle
from pathlib import Path
from typing import Any

from bankai.errors import StoreError
from bankai.experiments.registry import PURPOSES, experiment
from bankai.experiments.values import Claim, Interval, Plot, Series
from bankai.experiments.verdicts import EVERYTHING, RULE, holm, verdict
from bankai.io import writing

__all__ = ["Judged", "Summary", "draw", "judged", "number", "ranged", "read_results", "write_report"]

COLORS = ("#1f5fa8", "#c8553d", "#3a7d44", "#8a5a9e", "#b08900", "#555555")
ROOM = 90  # characters beside one another under the bars of a plot


@dataclass(frozen=True)
class Judged:
    """A claim with its verdict; `corrected` is its p-value after the correction."""

    experiment: str
    claim: Claim
    corrected: float | None
    verdict: str


@dataclass(frozen=True)
class Summary:
    """What a folder of results says: the report's path and every claim, judged together."""

    report: str
    claims: tuple[Judged, ...]


def read_results(out: Path) -> dict[str, dict[str, Any]]:
    """Results in a folder by the name of their experiment, in the order of the report.

    Raises StoreError for a damaged one.
    """
    found = {}
    for name in PURPOSES:
        path = out / f"{name}.json"
        if path.exists():
            try:
                found[name] = json.loads(path.read_text(encoding="utf-8"))
                experiment(name).claims(found[name]["result"])
            except (ValueError, KeyError, TypeError) as error:
                raise StoreError(f"{path} is not a result of this version; delete it") from error
    return found


def judged(results: dict[str, dict[str, Any]]) -> list[Judged]:
    """All claims of these results; their p-values are corrected together."""
    claims = [
        (name, claim) for name, one in results.items() for claim in experiment(name).claims(one["result"])
    ]
    corrected = iter(holm([claim.p for _, claim in claims if claim.p is not None]))
    found = []
    for name, claim in claims:
        p = None if claim.p is None else next(corrected)
        found.append(Judged(name, claim, p, verdict(claim, p)))
    return found


def write_report(out: Path) -> Summary:
    """Write `report.html` and `report.json` from the results in a folder. Raises StoreError."""
    results = read_results(out)
    summary = Summary(str(out / "report.html"), tuple(judged(results)))
    with writing(out / "report.html") as temporary:
        temporary.write_text(_html(results, summary.claims), encoding="utf-8")
    document = {"rule": RULE, "claims": [asdict(one) for one in summary.claims]}
    with writing(out / "report.json") as temporary:
        temporary.write_text(json.dumps(_finite(document), indent=1) + "\n", encoding="utf-8")
    return summary


def _finite(value: Any) -> Any:
    """The same with null for infinities, which JSON does not have."""
    if isinstance(value, dict):
        return {name: _finite(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and math.isinf(value) else value


def _html(results: dict[str, dict[str, Any]], claims: tuple[Judged, ...]) -> str:
    from jinja2 import Environment

    template = resources.files("bankai.experiments").joinpath("report.html.j2").read_text(encoding="utf-8")
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"number": number, "ranged": ranged}
    sections = [
        _section(name, one, [found for found in claims if found.experiment == name])
        for name, one in results.items()
    ]
    return environment.from_string(template).render(rule=RULE, claims=claims, sections=sections)


def _section(name: str, document: dict[str, Any], claims: list[Judged]) -> dict[str, Any]:
    found = experiment(name)
    plots = [(plot.title, base64.b64encode(draw(plot)).decode()) for plot in found.plots(document["result"])]
    return {
        "name": name,
        "purpose": PURPOSES[name],
        "claims": claims,
        "tables": found.tables(document["result"]),
        "plots": plots,
        "document": document,
    }


def number(value: float | None) -> str:
    """Three significant digits, all of them before the point; an infinity in words."""
    if value is None:
        return "–"
    if math.isinf(value):
        return "no bound"
    return f"{value:,.0f}" if abs(value) >= 1_000 else f"{value:.3g}"


def ranged(interval: Interval) -> str:
    """Both ends of an interval; "not known" for one that holds everything."""
    return "not known" if interval == EVERYTHING else f"{number(interval[0])} to {number(interval[1])}"


def draw(plot: Plot) -> bytes:
    """A plot as SVG."""
    import matplotlib
    from matplotlib.figure import Figure

    # Text stays text: smaller than outlines, and the browser's own font.
    with matplotlib.rc_context({"svg.hashsalt": "bankai", "svg.fonttype": "none", "font.size": 9}):
        figure = Figure(figsize=(8, 3.6), layout="constrained")
        axes = figure.add_subplot()
        axes.set(xlabel=plot.x, ylabel=plot.y)
        axes.set_xscale("log" if plot.log_x else "linear")  # takes the labels of bars away, so it comes first
        axes.set_yscale("log" if plot.log_y else "linear")
        bars = any(isinstance(x, str) for series in plot.series for x in series.x)
        for index, (series, color) in enumerate(zip(plot.series, cycle(COLORS))):
            (_bars if bars else _line)(axes, series, color, index, len(plot.series))
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", alpha=0.25)
        if len(plot.series) > 1:
            figure.legend(loc="outside right upper", frameon=False)
        file = io.BytesIO()
        figure.savefig(file, format="svg", metadata={"Date": None})
    return file.getvalue()


def _errors(series: Series) -> tuple[list[float], list[float]] | None:
    if not series.low:
        return None
    below = [max(0.0, y - low) for y, low in zip(series.y, series.low, strict=True)]
    return below, [max(0.0, high - y) for y, high in zip(series.y, series.high, strict=True)]


def _line(axes: Any, series: Series, color: str, index: int, count: int) -> None:
    axes.errorbar(
        series.x,
        series.y,
        yerr=_errors(series),
        marker="o",
        ms=4,
        lw=1.4,
        capsize=2,
        color=color,
        label=series.name,
    )


def _bars(axes: Any, series: Series, color: str, index: int, count: int) -> None:
    """Beside those of the other series."""
    width = 0.8 / count
    places = [at + (index - (count - 1) / 2) * width for at in range(len(series.x))]
    axes.bar(places, series.y, width, yerr=_errors(series), capsize=2, color=color, label=series.name)
    wide = sum(len(str(x)) for x in series.x) > ROOM
    axes.set_xticks(
        range(len(series.x)), series.x, rotation=25 if wide else 0, ha="right" if wide else "center"
    )
