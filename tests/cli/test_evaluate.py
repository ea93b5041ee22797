"""`bankai eval` on text and on tasks of lm-evaluation-harness; probes are in the tests of patches and null."""

import json
from pathlib import Path

import pytest

from bankai.evaluation import measure_text
from bankai.evaluation.harness import run_harness
from bankai.model import load

TASK = """\
task: tiny
dataset_path: json
dataset_kwargs: {{data_files: {{test: {folder}/data.jsonl}}, cache_dir: {folder}/cache}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{q}}}}"
doc_to_choice: c
doc_to_target: a
"""


@pytest.fixture
def tasks(tmp_path: Path) -> Path:
    folder = tmp_path / "tasks"
    folder.mkdir()
    (folder / "data.jsonl").write_text(
        json.dumps({"q": "the answer", "c": [" is", " to", " of"], "a": 1}) + "\n"
    )
    (folder / "tiny.yaml").write_text(TASK.format(folder=folder))
    return folder


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text("the answer to the question is what the number equals")
    return path


def test_text(run, gguf, patch, text) -> None:
    found = run("eval", gguf, "--text", text, "--patch", patch, "--json").document
    direct = measure_text(*load(gguf), text.read_text())
    assert found["perplexity"] == pytest.approx(direct.perplexity, rel=1e-5)
    assert found["kl"] > 0 and found["tokens"] == direct.tokens
    plain = run("eval", gguf, "--text", text)
    assert plain.out.splitlines()[1].split() == ["perplexity", f"{direct.perplexity:.4f}"]
    assert "KL" not in plain.out
    shown = run("eval", gguf, "--text", text, "--patch", patch).out
    assert f"{found['kl']:.6f} nats per token" in shown and f"{found['patched']:.4f}" in shown


def test_harness(run, gguf, patch, tasks, tmp_path) -> None:
    command = ("eval", gguf, "--harness", "tiny", "--include-path", tasks, "--patch", patch)
    outcome = run(*command, "--limit", 1, "--cache", tmp_path / "cache", "--json")
    direct = run_harness(gguf, ["tiny"], patch, include_path=tasks)
    assert outcome.document["results"] == {"tiny": direct.results["tiny"]}
    assert outcome.document["patch_digest"] == direct.patch_digest
    assert list((tmp_path / "cache").glob(f"*{direct.patch_digest}*"))
    rows = [line.split() for line in run(*command).out.splitlines()]
    assert ["tiny", "1", "acc", "none", f"{direct.results['tiny']['acc,none']:.4f}"] in [
        row[:5] for row in rows
    ]


def test_what_does_not_fit_is_refused(refused, gguf, text, tasks) -> None:
    assert "give one of --probes, --text and --harness, not none" in refused("eval", gguf).err
    assert "not probes and text" in refused("eval", gguf, "--probes", "elicitable", "--text", text).err
    assert "--limit" in refused("eval", gguf, "--text", text, "--limit", 3).err
    assert "only --probes has it" in refused("eval", gguf, "--text", text, "--null", 3).err
    assert "--engine" in refused("eval", gguf, "--harness", "tiny", "--engine", "mlx").err
    assert (
        "only --harness has it"
        in refused("eval", gguf, "--probes", "controls", "--chat-template", "default").err
    )
    assert "No such file" in refused("eval", gguf, "--text", text.with_name("none")).err


def test_what_cannot_be_loaded_is_refused(run, gguf, tasks) -> None:
    (tasks / "lost.yaml").write_text(
        TASK.format(folder=tasks / "nowhere").replace("task: tiny", "task: lost")
    )
    outcome = run("eval", gguf, "--harness", "lost", "--include-path", tasks)
    assert (outcome.code, outcome.out) == (2, "")
    assert "lost cannot be loaded" in outcome.err and "check its file" in outcome.err
