"""Help, version, the generated page, and the command as a process of its own."""

import importlib.util
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import get_args

import pytest

from bankai.cli.main import COMMANDS

ROOT = Path(__file__).parents[2]
GROUPS = {"probes": ["audit"], "library": ["list"], "experiment": ["list"]}  # a command of each


@pytest.mark.parametrize(
    "command",
    [[], *([name] for name in COMMANDS), ["probes", "audit"], ["probes", "from-failures"]],
    ids=" ".join,
)
def test_help(run, command: list[str]) -> None:
    outcome = run(*command, "--help")
    assert outcome.code == 0 and outcome.err == ""
    assert outcome.out.startswith(" ".join(["Usage: bankai", *command]))


@pytest.mark.parametrize("command", [[], ["info"], ["probes"], ["probes", "audit"]], ids=" ".join)
def test_short_option(run, command: list[str]) -> None:
    assert run(*command, "-h").out == run(*command, "--help").out


def test_summaries_are_whole_at_80_columns(run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    text = run("--help").out
    rows = text.split("Commands:\n")[1].splitlines()
    assert len(rows) == len(COMMANDS) and "..." not in text.split("Commands:")[1]
    assert all(len(row.split(maxsplit=1)[1]) <= 60 for row in rows)


def test_every_command_takes_json(run) -> None:
    for name in COMMANDS:
        assert "--json" in run(name, *GROUPS.get(name, []), "--help").out, name


def test_nothing_asked_shows_the_help(run) -> None:
    for command in ([], *([name] for name in GROUPS)):
        outcome = run(*command)
        assert (outcome.code, outcome.err, outcome.out) == (0, "", run(*command, "--help").out)
        assert outcome.out.count("\n") > 5


def test_version(run) -> None:
    assert run("--version").out == f"bankai {version('bankai')}\n"


def test_page_is_current() -> None:
    """`make docs` writes it."""
    spec = importlib.util.spec_from_file_location("make_cli_page", ROOT / "docs" / "make_cli_page.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.page() == module.PAGE.read_text()


def test_choices_are_those_of_the_library() -> None:
    from bankai.cli.evaluate import Engine, Split
    from bankai.cli.search import Strategy
    from bankai.evaluation.engines import EngineName
    from bankai.probes.probe import Split as LibrarySplit
    from bankai.search import STRATEGIES

    assert set(get_args(Strategy)) == set(STRATEGIES)
    assert get_args(Engine) == get_args(EngineName)
    assert set(get_args(Split)) == {*get_args(LibrarySplit), "all"}


def process(*args: object) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, "-m", "bankai", *map(str, args)], capture_output=True, text=True)


def test_as_a_process(patch: Path, tmp_path: Path) -> None:
    sound, missing = process("info", patch), process("info", tmp_path / "nothing.bankai")
    assert sound.returncode == 0 and sound.stderr == "" and "three" in sound.stdout
    assert missing.returncode == 2 and missing.stdout == ""
    assert missing.stderr.startswith("bankai: ") and missing.stderr.count("\n") == 1


def test_a_reader_that_goes_away_is_no_traceback(patch: Path) -> None:
    command = f"{sys.executable} -m bankai info {patch} --json | true"
    result = subprocess.run(command, shell=True, capture_output=True, text=True)
    assert result.stderr == ""


def test_missing_extra_names_the_remedy(gguf: Path) -> None:
    """As on a base install: torch cannot be imported."""
    code = "import sys; sys.modules['torch'] = None; from bankai.cli.main import main; main()"
    command = [sys.executable, "-c", code, "generate", str(gguf), "hello"]
    result = subprocess.run(command, capture_output=True, text=True)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == "bankai: this needs torch; run: pip install 'bankai[search]'\n"
