"""The real command in this process, and files for it to work on."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from bankai.checkpoint.model_file import open_checkpoint
from bankai.cli.main import main
from bankai.patch import Flip, Manifest, Patch, bind, write_patch
from bankai.probes import Message, Probe, ProbeSet

FLIPS = (
    Flip("model.layers.0.mlp.up_proj", 3),
    Flip("model.layers.1.mlp.gate_proj", 200),
    Flip("model.layers.1.mlp.down_proj", 7, 1),
)


@dataclass(frozen=True)
class Outcome:
    """What one run of the command left behind."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """Stdout as exactly one JSON document."""
        return json.loads(self.out)


Run = Callable[..., Outcome]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """`run("info", path)`: the command, in an empty directory."""
    monkeypatch.chdir(tmp_path)

    def call(*args: object) -> Outcome:
        capsys.readouterr()
        with pytest.raises(SystemExit) as exit_:
            main([str(arg) for arg in args])
        captured = capsys.readouterr()
        return Outcome(exit_.value.code or 0, captured.out, captured.err)

    return call


@pytest.fixture
def refused(run: Run) -> Run:
    """As `run`, for what must be refused: exit code 2, one line on stderr, nothing on stdout."""

    def call(*args: object) -> Outcome:
        outcome = run(*args)
        assert (outcome.code, outcome.out) == (2, "")
        assert outcome.err.startswith("bankai: ") and outcome.err.count("\n") == 1, outcome.err
        assert len(outcome.err) > len("bankai: \n")
        return outcome

    return call


@pytest.fixture
def gguf(tiny_gguf: Path, tmp_path: Path) -> Path:
    """A model file that a test may change."""
    return Path(shutil.copy(tiny_gguf, tmp_path / "model.gguf"))


@pytest.fixture
def patch(tiny_gguf: Path, tmp_path: Path) -> Path:
    """A patch bound to the tiny model: two rows and a group."""
    with open_checkpoint(tiny_gguf) as checkpoint:
        value = bind(Patch.of(FLIPS, Manifest(name="three", seed=7)), checkpoint)
    write_patch(value, tmp_path / "three.bankai")
    return tmp_path / "three.bankai"


@pytest.fixture
def unbound(tmp_path: Path) -> Path:
    """The same flips in the earlier public JSON format, which binds to nothing."""
    write_patch(Patch.of(FLIPS[:2]), tmp_path / "two.json")
    return tmp_path / "two.json"


@pytest.fixture
def probe_file(tmp_path: Path) -> Path:
    """A probe set with all splits, a third of it chat."""
    path = tmp_path / "set.jsonl"
    ProbeSet("set", [_probe(split, n) for split in _SIZES for n in range(_SIZES[split])]).save(path)
    return path


_SIZES = {"target": 4, "validation": 2, "control": 4, "heldout": 3, "unseen": 3}


def _probe(split: str, n: int) -> Probe:
    kind: dict[str, Any] = {"prompt": f"the {split} number {n} is", "answers": (f" {n}{n + 1}",)}
    if n % 3 == 2:
        kind = {"messages": (Message("user", f"{split} {n}?"),), "answers": (f"{n + 1}",)}
    category = "even" if n % 2 == 0 else "odd"
    return Probe(id=f"{split}/{n}", item=f"{split}-{n}", category=category, split=split, **kind)
