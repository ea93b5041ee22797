"""`bankai search --plan` on nano."""

from pathlib import Path

import pytest

from bankai.jobs.planning.plan import Plan
from bankai.probes import ProbeSet, load_probe_set


@pytest.fixture
def command(tmp_path: Path) -> tuple[object, ...]:
    """A search for 15 targets with few other probes."""
    whole = load_probe_set("elicitable")
    few = [probe for split in ("target", "control", "heldout") for probe in whole.split(split)[::20]]
    ProbeSet("few", few).save(tmp_path / "few.jsonl")
    return "search", "nano", "--target", tmp_path / "few.jsonl", "-o", "p.bankai", "--plan"


def test_json(run, command) -> None:
    outcome = run(*command, "--json", "--granularity", "group", "--layers", "1-2", "--budget", "15m")
    document, few = outcome.document, ProbeSet.load(command[3])
    assert set(document) == set(Plan.__struct_fields__) and outcome.code == 0
    assert (document["targets"], document["controls"]) == (
        len(few.split("target")),
        len(few.split("control")),
    )
    assert document["places"] == 2 * (512 * 2 + 512 * 2 + 256 * 4)
    assert document["minutes"] == 15 and document["seconds"][1] > 900 > document["seconds"][0]
    assert document["run"] == "p.run" and document["validation"] == document["texts"] == 0
    told = outcome.err.splitlines()
    assert [f"warning: {one}" for one in document["warnings"]] == told and any(
        "no neutral" in one for one in told
    )


def test_text_and_nothing_else(run, command, tmp_path: Path) -> None:
    outcome = run(*command, "--run", "here", "--text", "nano-neutral")
    lines = dict(line.split(maxsplit=1) for line in outcome.out.splitlines())
    assert outcome.code == 0 and lines["run"] == "here" and lines["model"].startswith("nano.gguf, ")
    assert {"reads", "tokens", "places", "evaluation", "budget", "time", "memory"} <= set(lines)
    assert "reference" in lines["memory"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["few.jsonl"]


def test_warnings(run, command) -> None:
    outcome = run(*command, "--budget", 5)
    assert "warning: no validation probes" in outcome.err and "warning: no unseen controls" in outcome.err
    assert "warning: 5 evaluations are too few for one round" in outcome.err and outcome.code == 0


def test_the_run_goes_into_the_folder_that_the_plan_names(run, command, tmp_path: Path) -> None:
    assert run(*command, "--json").document["run"] == "p.run"
    run(*command[:-1], "--budget", 12)
    assert (tmp_path / "p.run" / "run.json").exists()
