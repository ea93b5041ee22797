"""What users have from before quantizations were values is read, verified, applied and taken off as it was.

The files beside this one were made on commit 2a18b07 by the script in `make.txt`, which uses modules of that commit and
does not run on later ones. Everything here goes through the command and through names of `bankai` itself, so that no
move of a module can be taken for a change.
"""

import hashlib
import json
import shutil
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

import bankai
from bankai.cli.main import main

HERE = Path(__file__).parent
FACTS = json.loads((HERE / "facts.json").read_text())
DOCUMENTS: list[Any] = json.loads((HERE / "documents.json").read_text())
Run = Callable[..., str]


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """The command, in an empty folder, with settings of its own; gives what it printed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "settings"))

    def call(*args: object) -> str:
        capsys.readouterr()
        with pytest.raises(SystemExit) as exit_:
            main([str(arg) for arg in args])
        captured = capsys.readouterr()
        assert not exit_.value.code, captured.err
        return captured.out

    return call


@pytest.fixture
def nano(tmp_path: Path) -> Path:
    """A copy of the built-in model."""
    with bankai.open_checkpoint("nano") as checkpoint:
        return Path(shutil.copy(checkpoint.path, tmp_path / "nano.gguf"))


@pytest.mark.parametrize("name", ["rows", "mixed"])
def test_a_patch_has_the_same_bytes_when_it_is_written_again(name: str, tmp_path: Path) -> None:
    bankai.write_patch(bankai.read_patch(HERE / f"{name}.bankai"), tmp_path / "again.bankai")
    assert (tmp_path / "again.bankai").read_bytes() == (HERE / f"{name}.bankai").read_bytes()


@pytest.mark.parametrize("name", ["rows", "mixed"])
def test_a_patch_goes_on_and_comes_off_to_the_same_bytes(name: str, nano: Path, run: Run) -> None:
    assert digest(nano) == FACTS["nano"]
    run("apply", nano, HERE / f"{name}.bankai", "-o", "copy.gguf")
    run("apply", nano, HERE / f"{name}.bankai", "--in-place")
    assert digest(Path("copy.gguf")) == digest(nano) == FACTS[name]
    run("revert", "copy.gguf", HERE / f"{name}.bankai", "-o", "base.gguf")
    run("swap", nano, "--to", "base")
    assert digest(Path("base.gguf")) == digest(nano) == FACTS["nano"]


def test_a_patch_of_a_hybrid_touches_the_same_bytes(run: Run, tmp_path: Path) -> None:
    run("synth", "--shape", "tiny-hybrid", "--seed", 1, "-o", "hybrid.gguf")
    assert digest(tmp_path / "hybrid.gguf") == FACTS["hybrid base"]
    run("apply", "hybrid.gguf", HERE / "hybrid.bankai", "-o", "patched.gguf")
    assert digest(tmp_path / "patched.gguf") == FACTS["hybrid"]
    run("apply", "hybrid.gguf", HERE / "hybrid.bankai", "--in-place")
    assert digest(tmp_path / "hybrid.gguf") == FACTS["hybrid"]


def test_a_sidecar_is_believed(nano: Path, run: Run) -> None:
    run("apply", nano, HERE / "rows.bankai", "-o", "patched.gguf")
    shutil.copy(HERE / "rows.sidecar.json", "patched.gguf.bankai.json")
    status = json.loads(run("status", "patched.gguf", "--json"))
    assert status["state"] == "applied" and status["applied"][0]["name"] == "rows" and not status["note"]


def test_a_journal_is_undone(nano: Path, run: Run) -> None:
    run("apply", nano, HERE / "rows.bankai", "-o", "torn.gguf")
    shutil.copy(HERE / "rows.bankai-journal", "torn.gguf.bankai-journal")
    assert json.loads(run("recover", "torn.gguf", "--json"))["recovered"]
    assert digest(Path("torn.gguf")) == FACTS["nano"]


def test_a_patch_fits_an_mlx_directory_of_the_same_model(run: Run) -> None:
    run("convert", "nano", "nano-mlx")
    for name in ("rows", "mixed"):
        assert json.loads(run("status", "nano-mlx", HERE / f"{name}.bankai", "--json"))["state"] == "base"


def test_a_signature_and_a_library_are_good(run: Run) -> None:
    run("trust", HERE / "author.pub")
    assert json.loads(run("verify", HERE / "rows.bankai", "--json"))["state"] == "signed"
    shutil.copy(HERE / "patches.db", "patches.db")
    checked = json.loads(run("library", "check", "patches.db", "--json"))
    assert (checked["patches"], checked["verified"], checked["findings"]) == (2, 1, [])
    run("library", "export", "patches.db", "mixed", "-o", "mixed.bankai")
    assert Path("mixed.bankai").read_bytes() == (HERE / "mixed.bankai").read_bytes()


def test_a_run_that_was_cut_off_goes_on(run: Run, tmp_path: Path) -> None:
    shutil.copytree(HERE / "run", tmp_path / "cut.run")
    saved = json.loads((HERE / "run" / "state.json").read_text())
    result = json.loads(run("search", "--resume", "cut.run", "--json"))
    assert result["evaluations"] > saved["state"]["evaluations"]
    before = (HERE / "run" / "events.jsonl").read_bytes().splitlines()[: saved["events"]]
    assert (tmp_path / "cut.run" / "events.jsonl").read_bytes().splitlines()[: saved["events"]] == before
    assert json.loads(run("status", "nano", "cut.bankai", "--json"))["state"] == "base"


def lost(before: Any, now: Any, path: str = "") -> list[str]:
    """The fields of a document of before that are not in the one of now, or hold another type."""
    if isinstance(before, dict) and isinstance(now, dict):
        missing = [f"{path}.{key}" for key in before if key not in now]
        return missing + [
            found
            for key in before.keys() & now.keys()
            for found in lost(before[key], now[key], f"{path}.{key}")
        ]
    if isinstance(before, list) and isinstance(now, list):
        return lost(before[0], now[0], f"{path}[]") if before and now else []
    kind = type(now).__name__
    return [] if before == kind or {before, kind} <= {"int", "float"} else [f"{path}: {before} is {kind}"]


@pytest.fixture
def files(run: Run, nano: Path, tmp_path: Path) -> Path:
    """A folder with all that the commands of `documents.json` name."""
    for name in ("rows.bankai", "rows.bankai.minisig", "mixed.bankai", "author.pub"):
        shutil.copy(HERE / name, tmp_path / name)
    asked = json.loads((HERE / "run" / "run.json").read_text())
    probes = {probe["id"]: probe for probe in asked["whole"]}.values()
    (tmp_path / "few.jsonl").write_bytes(b"\n".join(msgspec.json.encode(probe) for probe in probes))
    rows = "prompt,answer\nWhat is 3 + 4?,7\nWhat is 2 + 2?,4\nThe capital of France is,Paris\n"
    (tmp_path / "rows.csv").write_text(rows)
    return tmp_path


def test_documents_keep_their_fields(files: Path, run: Run) -> None:
    found = {}
    for arguments, before in DOCUMENTS:
        found[" ".join(arguments)] = lost(before, json.loads(run(*arguments, "--json")))
    assert not any(found.values()), {key: value for key, value in found.items() if value}


def test_the_codec_writes_no_other_version_for_a_true_1_bit_model() -> None:
    """Mark, version 1, flags, body, CRC: the head and the end of a file that older readers take."""
    data = (HERE / "rows.bankai").read_bytes()
    assert data[:5] == b"\xb1XOR\x01" and zlib.crc32(data[:-4]).to_bytes(4, "little") == data[-4:]
