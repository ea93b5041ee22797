"""--device and --dtype of the commands that compute with torch."""

from pathlib import Path

import pytest
import torch

from bankai.evaluation import TorchEngine, evaluate_file
from bankai.model import load
from bankai.model.generation import prompt_ids, stream
from bankai.probes import load_probe_set

# No machine has both.
ABSENT = "mps" if torch.cuda.is_available() or not torch.backends.mps.is_available() else "cuda"


def commands(gguf: Path, probe_file: Path) -> list[tuple[object, ...]]:
    return [("generate", gguf, "hello"), ("eval", gguf, "--probes", probe_file)]


def test_a_device_that_is_not_there_is_refused(refused, gguf: Path, probe_file: Path) -> None:
    for command in commands(gguf, probe_file):
        error = refused(*command, "--device", ABSENT).err
        assert f"no device {ABSENT}" in error and "cpu" in error
        gone = refused(*(part if part != gguf else "gone.gguf" for part in command), "--device", ABSENT).err
        assert gone == error  # told before the file is read


@pytest.mark.parametrize("option", [("--device", "tpu"), ("--dtype", "int8")])
def test_unknown_choices_are_refused(refused, gguf: Path, probe_file: Path, option: tuple[str, str]) -> None:
    for command in commands(gguf, probe_file):
        assert f"'{option[1]}' is not one of" in refused(*command, *option).err


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_a_dtype_is_computed_in(run, gguf: Path, probe_file: Path, dtype: str) -> None:
    model, tokenizer = load(gguf, dtype=dtype)
    assert model.dtype == getattr(torch, dtype)
    expected = "".join(stream(model, tokenizer, prompt_ids(model, tokenizer, "the answer"), max_tokens=8))
    options = ("--device", "cpu", "--dtype", dtype, "--json")
    assert run("generate", gguf, "the answer", "--max-tokens", 8, *options).document["text"] == expected
    found = run("eval", gguf, "--probes", probe_file, *options).document
    assert found["base"]["solved"] == evaluate_file(gguf, probe_file, dtype=dtype).base.solved
    probes = load_probe_set(probe_file).probes
    low, full = (TorchEngine(*load(gguf, dtype=kind)).score(probes) for kind in (dtype, "float32"))
    assert low != full
    # Log-probabilities of a few tokens of some -6 each; activations keep 8 bits or more.
    assert [s.score for s in low] == pytest.approx([s.score for s in full], rel=0.05)


@pytest.mark.parametrize("option", [("--device", "cuda"), ("--dtype", "bfloat16")])
@pytest.mark.parametrize("engine", ["llama", "mlx"])
def test_other_engines_have_no_choice(
    refused, gguf: Path, probe_file: Path, engine: str, option: tuple[str, str]
) -> None:
    error = refused("eval", gguf, "--probes", probe_file, "--engine", engine, *option).err
    assert "only the torch engine" in error and engine in error
