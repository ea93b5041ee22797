"""Text from files in the output: cleaned where a terminal reads it, escaped in JSON and where it cannot be shown."""

import json
import os
import subprocess
import sys
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


def on_a_console(encoding: str, *arguments: object) -> str:
    """What the command writes where Python takes the console to be of that encoding, as Windows has them."""
    command = [sys.executable, "-m", "bankai", *map(str, arguments)]
    environment = os.environ | {"PYTHONIOENCODING": encoding, "PYTHONPATH": os.pathsep.join(sys.path)}
    result = subprocess.run(command, capture_output=True, env=environment)
    assert (result.returncode, result.stderr) == (0, b"")
    return result.stdout.decode(encoding)


@pytest.mark.parametrize("encoding", ["cp1252", "gbk", "utf-8"])
def test_what_a_console_cannot_show_is_escaped(patch: Path, tmp_path: Path, encoding: str) -> None:
    """In lines, in tables and in JSON, which stays what it is."""
    name = "naïve 😀 模型 И"
    value = read_patch(patch)
    write_patch(
        Patch(value.flips, value.binding, Manifest(name=name, description=name)), tmp_path / "p.bankai"
    )
    shown = name.encode(encoding, "backslashreplace").decode(encoding)
    assert shown in on_a_console(encoding, "info", tmp_path / "p.bankai")
    document = json.loads(on_a_console(encoding, "info", tmp_path / "p.bankai", "--json"))
    assert document["manifest"]["name"] == name


@pytest.mark.parametrize("encoding", ["cp1252", "gbk", "utf-8"])
def test_what_a_model_writes_is_escaped_too(gguf: Path, tmp_path: Path, encoding: str) -> None:
    """A model of noise writes bytes that are no text and characters of all alphabets."""
    command = ("generate", gguf, "the", "--temperature", "2", "--seed", "3", "--max-tokens", "60")
    texts = [on_a_console(one, *command).rstrip("\r\n") for one in (encoding, "utf-8")]
    assert texts[0] == texts[1].encode(encoding, "backslashreplace").decode(encoding) and "\ufffd" in texts[1]


def test_a_table_on_a_console_that_cannot_show_it(gguf: Path, tmp_path: Path) -> None:
    probe = Probe(id="a", item="a", category="模型", split="heldout", prompt="the answer is", answers=("6",))
    ProbeSet("set", [probe]).save(tmp_path / "set.jsonl")
    found = on_a_console("cp1252", "eval", gguf, "--probes", tmp_path / "set.jsonl")
    assert "\\u6a21\\u578b" in found
