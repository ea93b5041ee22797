"""A folder of results: what is kept, what goes on, and a report that holds everything it shows."""

import json
import math
import re
from html.parser import HTMLParser

import pytest

import bankai.experiments
from bankai.errors import StoreError
from bankai.experiments.context import Context
from bankai.experiments.registry import PURPOSES, experiment
from bankai.experiments.report import Summary, draw, number, ranged, read_results
from bankai.experiments.run import run_experiments
from bankai.experiments.values import Claim, Experiment, Plot, Series, Table


def run_it(context: Context) -> dict:
    runs.append(context.seeds)
    return {"values": [0.5 + seed for seed in context.seeds]}


runs: list[tuple[int, ...]] = []
TOY = Experiment(
    run_it,
    lambda result: [
        Claim("<b>a</b>", "12", str(len(result["values"])), 1, (0.9, 1.1), above=0, p=0.04),
        Claim("b", "1", "2", 1, (0.9, 1.1), below=0),
    ],
    lambda result: [Table("Values", ["seed", "value"], [["0", str(result["values"][0])]], "a note")],
    lambda result: [Plot("A line", "x", "y", [Series("s", [1, 2], [3, 4], [2, 3], [4, 5])])],
)


@pytest.fixture
def toys(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """Two experiments that take no time, in place of all others."""
    from bankai.experiments import registry, report, run

    for module in (registry, report, run):
        monkeypatch.setattr(module, "PURPOSES", {"one": "The first.", "two": "The second."})
        monkeypatch.setattr(module, "experiment", lambda name: TOY)
    runs.clear()
    return runs


class _Links(HTMLParser):
    """What a page would fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attributes) -> None:
        self.found += [value for name, value in attributes if name in ("src", "href") and value]
        assert tag not in ("script", "link", "iframe")

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def test_what_is_done_is_not_done_again(toys, tiny_gguf, tmp_path) -> None:
    run_experiments(["one"], tiny_gguf, tmp_path, seeds=2)
    lines: list[str] = []
    summary = run_experiments(["one", "two"], tiny_gguf, tmp_path, seeds=2, tell=lines.append)
    assert toys == [(0, 1)] * 2 and lines == ["one: done before", "two: The second."]
    run_experiments(["one"], tiny_gguf, tmp_path, seeds=1)
    run_experiments(["one"], tiny_gguf, tmp_path, seeds=1, again=True)
    assert toys[2:] == [(0,)] * 2
    assert (
        isinstance(summary, Summary)
        and [one.experiment for one in summary.claims] == ["one"] * 2 + ["two"] * 2
    )


def test_p_values_are_corrected_together(toys, tiny_gguf, tmp_path) -> None:
    first = run_experiments(["one"], tiny_gguf, tmp_path)
    assert [one.verdict for one in first.claims] == ["replicates", "does not"]
    both = run_experiments(["two"], tiny_gguf, tmp_path)
    assert both.claims[0].corrected == pytest.approx(0.08) and both.claims[0].verdict == "cannot tell"
    written = json.loads((tmp_path / "report.json").read_text())
    assert [one["verdict"] for one in written["claims"]] == [one.verdict for one in both.claims]


def test_the_page_holds_all_it_shows(toys, tiny_gguf, tmp_path) -> None:
    run_experiments(["one", "two"], tiny_gguf, tmp_path)
    page = (tmp_path / "report.html").read_text()
    links = _Links()
    links.feed(page)
    assert len([link for link in links.found if link.startswith("data:image/svg+xml;base64,")]) == 2
    assert all(re.match(r"data:|#(one|two)$", link) for link in links.found)
    text = " ".join(links.text)
    for shown in ("<b>a</b>", "The first.", "Values", "a note", "does not", "Holm"):
        assert shown in text


def test_a_plot_says_what_it_shows() -> None:
    words = ["first", "second"]
    bars = draw(
        Plot("", "layer", "nats", [Series("gate", words, [1, 2]), Series("up", words, [3, 4])])
    ).decode()
    for text in (*words, "gate", "up", "layer", "nats"):
        assert f">{text}<" in bars
    line = draw(
        Plot("", "flips", "%", [Series("alone", [1, 10], [3, 4], [2, 3], [4, 5])], log_x=True)
    ).decode()
    assert ">flips<" in line and ">alone<" not in line  # a single line needs no legend


def test_a_damaged_result_is_refused(tmp_path) -> None:
    (tmp_path / "impact-map.json").write_text('{"result": {}}')
    with pytest.raises(StoreError, match="delete it"):
        read_results(tmp_path)


def test_every_experiment_has_its_module() -> None:
    assert all(isinstance(experiment(name), Experiment) and purpose for name, purpose in PURPOSES.items())


def test_every_public_name_is_there() -> None:
    assert all(getattr(bankai.experiments, name) is not None for name in bankai.experiments.__all__)
    with pytest.raises(AttributeError, match="nothing"):
        _ = bankai.experiments.nothing


def test_numbers_are_written_as_people_write_them() -> None:
    assert [number(value) for value in (1024.0, 0.0123456, -2.5, None, math.inf)] == [
        "1,024",
        "0.0123",
        "-2.5",
        "–",
        "no bound",
    ]
    assert ranged((-math.inf, math.inf)) == "not known" and ranged((0.5, math.inf)) == "0.5 to no bound"
