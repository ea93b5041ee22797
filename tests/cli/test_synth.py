"""synth: a random model, and what `model` says of it."""

from pathlib import Path
from typing import get_args

import pytest

from bankai.checkpoint.synth import SHAPES, synth_size
from bankai.cli.models import Shape


def test_choices_are_those_of_the_library() -> None:
    assert get_args(Shape) == tuple(SHAPES)


def test_synth_writes_a_model_that_model_shows(run) -> None:
    outcome = run("synth", "--shape", "tiny", "-o", "tiny.gguf", "--seed", 3)
    size = synth_size("tiny")
    assert outcome.out == f"tiny, seed 3 -> tiny.gguf, {size:,} bytes\n" and outcome.err == ""
    shown = run("model", "tiny.gguf").out
    assert "qwen3, 2 layers" in shown and f"{size:,} bytes" in shown and "1,024 tokens, qwen2" in shown


def test_synth_describes_what_it_wrote(run) -> None:
    document = run("synth", "--shape", "tiny", "-o", "tiny.gguf", "--json").document
    assert document == run("model", "tiny.gguf", "--json").document
    assert document["file_bytes"] == synth_size("tiny") and document["context"] == 1024


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("--shape", "bonsai-9b", "-o", "a.gguf"), "is not one of"),
        (("--shape", "tiny", "-o", "there.gguf"), "exists; give another name"),
        (("--shape", "tiny", "-o", "none/a.gguf"), "choose another place"),
        (("-o", "a.gguf"), "--shape"),
    ],
)
def test_synth_refuses(refused, options: tuple[str, ...], reason: str) -> None:
    Path("there.gguf").write_bytes(b"mine")
    assert reason in refused("synth", *options).err
    assert [path.name for path in Path().iterdir()] == ["there.gguf"]
    assert Path("there.gguf").read_bytes() == b"mine"
