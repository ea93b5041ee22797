"""Reports and the page: what a run leaves says where it ran, and tables land between their own markers."""

import json
import platform

import pytest
from benchmarks import __main__ as command
from benchmarks.results import PAGE, RESULTS, about, fill, footer, read, write

SHAPE = "head\n<!-- bench:one -->\nold\n<!-- /bench:one -->\nmiddle\n<!-- bench:two -->\nkept\n<!-- /bench:two -->\n"


def report(name, result):
    return {"bench": name, **about(), "seconds": 1.5, "quick": True, "result": result}


def test_a_report_says_where_it_ran_but_names_no_machine():
    found = about()
    assert set(found) == {"date", "commit", "dirty", "machine", "versions", "threads"}
    assert set(found["versions"]) == {"python", "bankai", "torch", "transformers", "numpy"}
    assert found["machine"]["cores"] >= 1
    assert found["machine"]["memory_gib"] > 0.5
    assert f'"{platform.node()}"' not in json.dumps(found)


def test_a_written_report_is_read_back(tmp_path):
    written = report("one", {"ratio": 2.5, r"\1": [1, 2]})
    path = write(tmp_path / "new", written)
    assert path.name == "one.json"
    assert read(tmp_path / "new", "one") == written
    assert read(tmp_path, "one") is None


def test_tables_land_between_their_markers(tmp_path):
    written = report("one", {"ratio": 2.5})
    write(tmp_path, written)
    tables = {"one": lambda result: rf"\1 | {result['ratio']} |", "two": lambda result: "never"}
    page = fill(SHAPE, tmp_path, tables)
    block = rf"\1 | 2.5 |" f"\n\n{footer(written)}\n"
    assert page == SHAPE.replace("old\n", block)
    assert fill(page, tmp_path, tables) == page


def test_the_page_has_a_place_for_every_bench():
    page = PAGE.read_text()
    for name in (*command.BENCHES, *command.ON_DEMAND):
        assert page.count(f"<!-- bench:{name} -->") == page.count(f"<!-- /bench:{name} -->") == 1


def test_the_page_shows_the_results_as_they_are():
    names = [path.stem for path in RESULTS.glob("*.json")]
    tables = {name: command._bench(name).table for name in names}
    page = PAGE.read_text()
    assert fill(page, RESULTS, tables) == page, "run: python -m benchmarks --tables"
    assert not any(read(RESULTS, name)["quick"] for name in names)


def test_an_unknown_bench_is_told_in_one_line():
    with pytest.raises(SystemExit, match="no bench 'speed'; those are: engine, reach"):
        command.main(["speed"])
