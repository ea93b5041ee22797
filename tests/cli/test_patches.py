"""info, bind, compose: commands about patch files."""

import json
import os
import shutil
from pathlib import Path

import pytest
from builders import flip_bytes

from bankai.checkpoint.model_file import open_checkpoint
from bankai.patch import (
    Flip,
    Manifest,
    Patch,
    encode,
    entropy_bytes,
    payload_bytes,
    read_patch,
    state,
    write_patch,
)

FLIP = Flip("model.layers.0.mlp.up_proj", 3)


def test_info_tells_sizes_and_manifest(run, patch: Path) -> None:
    value = read_patch(patch)
    document = run("info", patch, "--json").document
    assert document["flips"] == 3 and document["rows"] == 2 and document["groups"] == 1
    assert document["payload_bytes"] == payload_bytes(value)
    assert document["entropy_bytes"] == pytest.approx(entropy_bytes(value), abs=1e-3)
    assert document["file_bytes"] == patch.stat().st_size == len(encode(value))
    assert document["bound"] is True and document["manifest"] == {"name": "three", "seed": 7}


def test_info_counts_bits_with_a_model_only(run, patch: Path, tiny_gguf: Path) -> None:
    # up and gate rows have 128 columns, the group of down 128 more
    assert run("info", patch, "--json").document["bits"] is None
    assert run("info", patch, "--model", tiny_gguf, "--json").document["bits"] == 3 * 128


def test_group_inside_a_flipped_row_turns_back(run, tiny_gguf: Path, tmp_path: Path) -> None:
    path = tmp_path / "p.json"
    flips = [
        {"layer": 0, "proj": "down_proj", "row": 1},
        {"layer": 0, "proj": "down_proj", "row": 1, "group": 0},
    ]
    path.write_text(json.dumps({"format": "bankai_row_xor_v1", "version": 1, "flips": flips}))
    assert run("info", path, "--model", tiny_gguf, "--json").document["bits"] == 128


def test_info_for_people(run, patch: Path) -> None:
    text = run("info", patch).out
    assert "3 (2 rows, 1 groups, 0 single bits)" in text
    assert "three" in text and "unknown (give --model)" in text


def test_info_prints_results_flat(run, tmp_path: Path) -> None:
    counts = {"probes": 400, "base": 91, "patched": 373, "fixed": 283, "broke": 1}
    results = {
        "fitness": 2.5,
        "heldout": counts,
        "control": counts,
        "times": {"first": 1, "second": {"a": 2}},
    }
    write_patch(Patch.of([FLIP], Manifest(results=results)), tmp_path / "r.bankai")
    lines = [" ".join(line.split()) for line in run("info", tmp_path / "r.bankai").out.splitlines()]
    assert "held-out 91 -> 373 of 400, fixed 283, broke 1" in lines
    assert "unseen controls 91 -> 373 of 400, fixed 283, broke 1" in lines
    assert "fitness 2.5" in lines and "times first 1, second a 2" in lines


def test_bind_ties_to_the_present_bits(run, unbound: Path, tiny_gguf: Path) -> None:
    outcome = run("bind", unbound, "--model", tiny_gguf, "-o", "bound.bankai", "--json")
    assert outcome.code == 0 and outcome.document["bound"] is True and outcome.document["bits"] == 256
    bound = read_patch("bound.bankai")
    assert bound == read_patch(unbound)
    with open_checkpoint(tiny_gguf) as checkpoint:
        assert state(checkpoint, bound) == "base"
    assert "bound.bankai" in run("bind", unbound, "--model", tiny_gguf, "-o", "bound.bankai").out


def test_compose_is_xor(run, patch: Path, unbound: Path, tiny_gguf: Path) -> None:
    document = run("compose", patch, unbound, "-o", "c.bankai", "--json").document
    assert document["flips"] == 1 and document["bound"] is False  # the two rows cancel
    assert read_patch("c.bankai") == read_patch(patch) ^ read_patch(unbound)
    run("compose", patch, unbound, patch, "-o", "d.bankai", "--model", tiny_gguf)
    assert read_patch("d.bankai") == read_patch(unbound) and read_patch("d.bankai").binding is not None


def test_compose_with_itself_is_nothing(run, patch: Path) -> None:
    assert run("compose", patch, patch, "-o", "e.bankai", "--json").document["flips"] == 0
    assert read_patch("e.bankai") == Patch.empty()


def test_compose_needs_two(refused, patch: Path) -> None:
    assert "two patches" in refused("compose", patch, "-o", "c.bankai").err
    assert not Path("c.bankai").exists()


def test_bind_refuses_places_that_the_model_lacks(refused, tiny_gguf: Path, tmp_path: Path) -> None:
    far = tmp_path / "far.json"
    write_patch(Patch.of([Flip("model.layers.0.mlp.up_proj", 4000)]), far)
    assert "4000" in refused("bind", far, "--model", tiny_gguf, "-o", "b.bankai").err
    assert not Path("b.bankai").exists()


def test_an_output_replaces_nothing_but_a_patch(refused, run, patch: Path, unbound: Path, gguf: Path) -> None:
    before = gguf.read_bytes()
    assert "exists" in refused("bind", unbound, "--model", gguf, "-o", gguf).err
    assert "exists" in refused("compose", patch, unbound, "-o", gguf).err
    assert gguf.read_bytes() == before
    os.mkfifo("pipe")
    assert "exists" in refused("compose", patch, unbound, "-o", "pipe").err
    assert run("compose", patch, unbound, "-o", patch).code == 0


def test_a_binding_is_not_written_to_json(refused, patch: Path, unbound: Path, gguf: Path) -> None:
    assert ".bankai" in refused("bind", unbound, "--model", gguf, "-o", "x.json").err
    assert ".bankai" in refused("compose", patch, unbound, "--model", gguf, "-o", "x.json").err
    assert not Path("x.json").exists()


def test_compose_refuses_a_wrong_base(refused, patch: Path, unbound: Path, gguf: Path) -> None:
    flip_bytes(gguf, Flip(FLIP.tensor, FLIP.row, 0, 0))
    assert "not made for" in refused("compose", patch, unbound, "--model", gguf, "-o", "c.bankai").err


def test_bind_on_a_model_that_has_the_patch_on(run, patch: Path, gguf: Path, tmp_path: Path) -> None:
    on = Path(shutil.copy(gguf, tmp_path / "on.gguf"))
    assert run("apply", on, patch, "--in-place").code == 0
    assert run("bind", patch, "--model", on, "-o", "again.bankai").code == 0
    assert read_patch("again.bankai").binding == read_patch(patch).binding


def test_info_of_a_pipe_does_not_block(refused) -> None:
    os.mkfifo("pipe")
    assert "regular file" in refused("info", "pipe").err
