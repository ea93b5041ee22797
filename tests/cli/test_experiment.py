"""`bankai experiment`: the list, refusals, and one experiment to its report."""

import json

from bankai.experiments.registry import PURPOSES


def test_the_list(run) -> None:
    assert json.loads(run("experiment", "list", "--json").out) == PURPOSES
    text = run("experiment", "list").out
    assert all(name in text for name in PURPOSES)
    rows = [line for line in text.splitlines() if line.split("  ")[0] in PURPOSES]
    column = len(max(PURPOSES, key=len)) + 2
    assert len(rows) == len(PURPOSES) and all(row[column] != " " for row in rows)


def test_an_unknown_name_is_refused_before_anything_is_made(run, tmp_path) -> None:
    outcome = run("experiment", "run", "impact", "--model", "nano", "--out", tmp_path / "out")
    assert outcome.code == 2 and "impact-map" in outcome.err and not (tmp_path / "out").exists()


def test_one_experiment_to_its_report(run, tmp_path) -> None:
    outcome = run(
        "experiment", "run", "random-flips", "--model", "nano", "--out", tmp_path, "--quick", "--json"
    )
    assert outcome.code == 0 and "random-flips: What random flips" in outcome.err
    (claim,) = json.loads(outcome.out)["claims"]
    assert claim["experiment"] == "random-flips" and claim["verdict"] == "cannot tell"  # of one seed
    assert (tmp_path / "report.html").read_text().startswith("<!doctype html>")
    result = json.loads((tmp_path / "random-flips.json").read_text())
    assert (
        result["asked"]["quick"] and result["asked"]["seeds"] == [0] and result["about"]["versions"]["torch"]
    )
