"""Commands on a hybrid: those that know it, and those that say that they do not."""

import shutil
from pathlib import Path

import pytest
from hybrid import SHAPES

from bankai.checkpoint.model_file import open_checkpoint
from bankai.checkpoint.synth import synth_size
from bankai.cli.options import read_projections
from bankai.patch import Flip, Patch, bind, write_patch


@pytest.fixture
def model(hybrid_gguf: Path, tmp_path: Path) -> Path:
    return Path(shutil.copyfile(hybrid_gguf, tmp_path / "hybrid.gguf"))


def test_synth_and_model(run) -> None:
    size = synth_size("tiny-hybrid")
    assert f"{size:,} bytes" in run("synth", "--shape", "tiny-hybrid", "-o", "h.gguf").out
    shown = run("model", "h.gguf").out
    assert "qwen35, 4 layers" in shown and "1,024 tokens, qwen35" in shown
    assert "in_proj_qkv   3 x 1280 x 256" in shown and "q_proj        1 x 512 x 256" in shown


def test_model_names_every_projection(run, model: Path) -> None:
    tensors = run("model", model, "--json").document["tensors"]
    assert {name: tuple(shape) for name, shape in tensors.items() if ".layers." in name} == SHAPES


def test_apply_status_eval_export_revert(run, model: Path, probe_file: Path) -> None:
    before = model.read_bytes()
    with open_checkpoint(model) as checkpoint:
        patch = bind(Patch.of(Flip(name, 5, *place) for name in SHAPES for place in ((), (1,))), checkpoint)
    write_patch(patch, "p.bankai")
    exported = run(
        "export", "p.bankai", "--base", model, "--to", "gguf-lora", "-o", "lora.gguf", "--no-drift"
    )
    assert exported.code == 0, exported.err
    assert run("apply", model, "p.bankai", "--in-place").code == 0
    assert model.read_bytes() != before
    assert run("status", model, "p.bankai").out.startswith("this patch: applied")
    found = run("eval", model, "--probes", probe_file, "--json")
    assert found.document["probes"] == 3 and found.err == ""
    assert run("revert", model, "p.bankai", "--in-place").code == 0
    assert model.read_bytes() == before


def test_projections_of_linear_attention_may_be_named() -> None:
    assert read_projections("linear-attention,up_proj") == (
        "in_proj_qkv", "in_proj_z", "in_proj_b", "in_proj_a", "out_proj", "up_proj",
    )  # fmt: skip
    assert read_projections("in_proj_z,o_proj") == ("in_proj_z", "o_proj")


def test_a_search_is_planned(run, model: Path, probe_file: Path) -> None:
    told = run("search", model, "--target", probe_file, "-o", "p.bankai", "--plan", "--json")
    assert told.code == 0, told.err
    assert told.document["memory"]["peak"] > told.document["memory"]["working"] > 0
    assert not Path("p.bankai").exists()


def test_what_does_not_know_it_says_so(refused, model: Path) -> None:
    assert "MLX directories of qwen35 are not supported yet" in refused("convert", model, "mlx").err
