"""export: a patch in other forms."""

import json
from pathlib import Path


def test_a_model(run, gguf: Path, patch: Path) -> None:
    outcome = run("export", patch, "--base", gguf, "--to", "mlx", "-o", "on")
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.startswith("three.bankai -> on (mlx), 3 flips, ") and outcome.out.count("\n") == 1
    assert run("status", "on", patch).out.startswith("this patch: applied")


def test_a_lora_with_its_drift(run, gguf: Path, patch: Path) -> None:
    document = run("export", patch, "--base", gguf, "--to", "peft", "-o", "a", "--json").document
    assert (document["to"], document["flips"], document["note"]) == ("peft", 3, "")
    assert document["drift"]["tokens"] == 256 and document["drift"]["agreement"] == 1
    out = run("export", patch, "--base", gguf, "--to", "peft", "-o", "b").out
    assert "over 256 tokens" in out and "the same next token 100 % of the time" in out
    assert json.loads(Path("b/adapter_config.json").read_text())["peft_type"] == "LORA"
    assert "drift" not in run("export", patch, "--base", gguf, "--to", "peft", "-o", "c", "--no-drift").out


def test_what_keeps_it_from_being_measured_is_told(run, gguf: Path, patch: Path) -> None:
    run("convert", gguf, "mlx")
    outcome = run("export", patch, "--base", "mlx", "--to", "gguf-lora", "-o", "a.gguf")
    assert outcome.code == 0 and outcome.err.startswith("note: drift not measured: ")


def test_refusals(run, refused, gguf: Path, patch: Path, unbound: Path) -> None:
    assert "bankai bind" in refused("export", unbound, "--base", gguf, "--to", "peft", "-o", "a").err
    run("apply", gguf, patch, "--in-place")
    assert "on already" in refused("export", patch, "--base", gguf, "--to", "peft", "-o", "a").err
    assert run("export", patch, "--base", gguf, "--to", "onnx", "-o", "a").code == 2
    assert not Path("a").exists()
