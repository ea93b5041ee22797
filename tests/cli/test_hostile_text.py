"""Text from files in the output: cleaned where a terminal reads it, escaped in JSON."""

from pathlib import Path

import pytest

from bankai.cli.tables import print_table
from bankai.patch import Manifest, Patch, read_patch, write_patch
from bankai.probes import Probe, ProbeSet

EVIL = "evil\x1b[2J\x1b]0;pwn\x07\u202e\x9b31m\nbound to deadbeef"


def assert_clean(text: str) -> None:
    assert "evil" in text
    assert all(line.isprintable() and not line.startswith("bound to dead") for line in text.split("\n"))


@pytest.fixture
def evil_patch(patch: Path, tmp_path: Path) -> Path:
    value = read_patch(patch)
    manifest = Manifest(name=EVIL, description=EVIL, base_model=EVIL, results={EVIL: EVIL})
    write_patch(Patch(value.flips, value.binding, manifest), tmp_path / "evil.bankai")
    return tmp_path / "evil.bankai"


def test_info(run, evil_patch: Path) -> None:
    assert_clean(run("info", evil_patch).out)
    assert run("info", evil_patch, "--json").document["manifest"]["name"] == EVIL


def test_names_of_applied_patches(run, gguf: Path, evil_patch: Path) -> None:
    run("apply", gguf, evil_patch, "--in-place")
    for command in ("status", "model"):
        assert_clean(run(command, gguf).out)
    assert run("status", gguf, "--json").document["applied"][0]["name"] == EVIL


@pytest.fixture
def evil_set(tmp_path: Path) -> Path:
    """A category and an id; the answer swallows a part of the prompt, which the audit names."""
    probe = Probe(id=EVIL, item=EVIL, category=EVIL, split="heldout", prompt="what i", answers=("ng",))
    ProbeSet("evil", [probe]).save(tmp_path / "evil.jsonl")
    return tmp_path / "evil.jsonl"


def test_categories(run, gguf: Path, evil_set: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert_clean(run("eval", gguf, "--probes", evil_set).out)


def test_ids_of_an_audit(run, gguf: Path, evil_set: Path) -> None:
    assert_clean(run("probes", "audit", evil_set, "--model", gguf).out)


def test_a_title_wider_than_its_table_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    print_table("a title of many words " * 6, ("n",), [(1,)])
    assert capsys.readouterr().out.splitlines() == ["a title of many words " * 6, "n", "1"]


def test_title_of_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(EVIL, (EVIL,), [(EVIL,)])
    assert_clean(capsys.readouterr().out)
