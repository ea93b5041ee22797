"""Runs as they stand in a folder: read whatever state they are in, and whoever wrote them."""

import json
import shutil
from pathlib import Path

import pytest
from msgspec.structs import replace

from bankai.errors import StoreError, StudioError
from bankai.jobs.search import search_file
from bankai.jobs.task import Task
from bankai.patch import read_patch, write_patch
from bankai.probes import ProbeSet, load_probe_set
from bankai.search import SearchSettings
from bankai.studio import html
from bankai.studio.plots import draw_run
from bankai.studio.runs import list_runs, read_run


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One search on nano with a small budget, as `bankai search` leaves it."""
    folder = tmp_path_factory.mktemp("runs")
    whole = load_probe_set("elicitable")
    some = [probe for name in whole.splits for probe in whole.split(name)[:10]]
    some += [replace(probe, split="unknown") for probe in whole.split("heldout")[10:15]]
    search_file("nano", folder / "found.bankai", Task.of([ProbeSet("some", some)]), SearchSettings(budget=30))
    return folder


@pytest.fixture
def copy(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "runs")
    path = tmp_path / "runs" / "found.run" / "run.json"
    asked = json.loads(path.read_text())
    asked["output"] = str(tmp_path / "runs" / "found.bankai")
    path.write_text(json.dumps(asked))
    return tmp_path / "runs"


def test_a_run_that_has_ended(folder):
    assert list_runs(folder) == ("found",)
    run = read_run(folder, "found")
    patch = read_patch(folder / "found.bankai")
    assert run.patch == folder / "found.bankai" and run.reason
    assert (run.targets, run.controls, run.validation, run.budget) == (10, 10, 10, 30)
    assert run.last.flips == len(patch) > 0
    assert run.last.fitness == pytest.approx(patch.manifest.results["fitness"], abs=1e-4)
    assert 0 < run.last.evaluations <= 30 and run.last.solved is not None
    told = patch.manifest.results
    assert {name: counts.counts for name, counts in run.results.items()} == {
        name: told[name] for name in ("heldout", "unknown", "control")
    }
    assert run.results["unknown"].probes == 5 and "unknown failures" in html.run(run)
    assert run.results["heldout"].fixed_interval[1] > 0
    svg = draw_run(run)
    assert svg.startswith("<svg") and "currentColor" in svg and "evaluations" in svg and "#0b0c" not in svg


def test_a_run_that_has_just_begun(copy):
    for name in ("state.json", "events.jsonl"):
        (copy / "found.run" / name).unlink()
    (copy / "found.bankai").unlink()
    run = read_run(copy, "found")
    assert (run.reason, run.patch, run.results, run.last.flips) == ("", None, {}, 0)
    assert draw_run(run).startswith("<svg")


@pytest.mark.parametrize(
    "results",
    [
        {},
        {"heldout": 3},
        {"heldout": {"probes": 1}},
        {"heldout": {"probes": -1, "base": 0, "patched": 0, "fixed": 0, "broke": 0}},
        {"heldout": {"probes": 10**12, "base": 0, "patched": 0, "fixed": 0, "broke": 0}},
        {"heldout": {"probes": 4, "base": 1, "patched": 4, "fixed": 1, "broke": 0}},
        {"heldout": {"probes": 4.0, "base": 1, "patched": 2, "fixed": 1, "broke": 0}},
        {"heldout": {"probes": "4", "base": 1, "patched": 2, "fixed": 1, "broke": 0}},
    ],
)
def test_a_patch_may_tell_anything(copy, results):
    patch = read_patch(copy / "found.bankai")
    from dataclasses import replace

    import msgspec

    manifest = msgspec.structs.replace(patch.manifest, results=results)
    write_patch(replace(patch, manifest=manifest), copy / "found.bankai")
    run = read_run(copy, "found")
    assert run.results == {} and run.patch


@pytest.mark.parametrize("name", ["../runs/found", "found.run", "", "/etc/passwd", "other"])
def test_only_names_of_the_list_are_read(copy, name):
    with pytest.raises(StudioError, match="choose one"):
        read_run(copy, name)


def test_a_damaged_run_is_refused(copy):
    (copy / "found.run" / "state.json").write_text("{}")
    with pytest.raises(StoreError, match="damaged"):
        read_run(copy, "found")


def test_an_output_that_is_no_patch_is_none(copy):
    path = copy / "found.run" / "run.json"
    asked = json.loads(path.read_text())
    path.write_text(json.dumps(asked | {"output": "/etc/passwd"}))
    assert read_run(copy, "found").patch is None
