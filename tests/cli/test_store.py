"""apply, revert, status, model, convert: commands about model files."""

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from builders import flip_bytes

from bankai.checkpoint.model_file import open_checkpoint
from bankai.journal import journal_path
from bankai.patch import Flip, Manifest, Patch, fingerprint, read_patch, write_patch
from bankai.patching import bind_patch, sidecar_path


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_apply_and_revert_a_copy(run, gguf: Path, patch: Path) -> None:
    before = sha256(gguf)
    outcome = run("apply", gguf, patch, "-o", "on.gguf", "--json")
    assert outcome.code == 0 and outcome.document["state"] == "applied" and outcome.document["flips"] == 3
    assert sha256(gguf) == before != sha256(Path("on.gguf"))
    assert run("revert", "on.gguf", patch, "-o", "off.gguf", "--json").document["state"] == "base"
    assert sha256(Path("off.gguf")) == before


def test_apply_and_revert_in_place(run, gguf: Path, patch: Path) -> None:
    before = sha256(gguf)
    assert run("apply", gguf, patch, "--in-place").code == 0
    assert sha256(gguf) != before
    assert run("revert", gguf, patch, "--in-place").code == 0
    assert sha256(gguf) == before


def test_status_of_a_patch(run, gguf: Path, patch: Path) -> None:
    outcome = run("status", gguf, patch, "--json")
    assert (outcome.code, outcome.document["state"], outcome.document["applied"]) == (0, "base", [])
    run("apply", gguf, patch, "--in-place")
    outcome = run("status", gguf, patch, "--json")
    assert (outcome.code, outcome.document["state"]) == (0, "applied")
    assert [entry["name"] for entry in outcome.document["applied"]] == ["three"]
    assert run("status", gguf).out.startswith("applied\n  three: 3 flips")


def test_status_says_what_is_of_the_patch_and_what_of_the_model(
    run, gguf: Path, patch: Path, tiny_gguf: Path
) -> None:
    assert run("status", gguf, patch).out == "this patch: not applied\n"
    write_patch(bind_patch(tiny_gguf, Patch.of([Flip("lm_head", 5)], Manifest(name="other"))), "o.bankai")
    run("apply", gguf, "o.bankai", "--in-place")
    assert run("status", gguf, patch).out.startswith("this patch: not applied\n  other: 1 flip, applied ")
    assert run("status", gguf, "o.bankai").out.startswith("this patch: applied\n  other: ")


def test_status_without_a_record_says_so(run, gguf: Path, patch: Path) -> None:
    note = "no record of applied patches; `bankai status MODEL PATCH` checks one"
    run("apply", gguf, patch, "--in-place")
    sidecar_path(gguf).unlink()
    outcome = run("status", gguf, "--json")
    assert (outcome.code, outcome.document) == (0, {"state": "base", "applied": [], "note": note})
    assert run("status", gguf).out == f"base ({note})\n"
    assert note in run("model", gguf).out and run("model", gguf, "--json").document["note"] == note


def test_model_has_the_note_of_status(run, gguf: Path, patch: Path, tiny_gguf: Path) -> None:
    run("apply", gguf, patch, "--in-place")
    shutil.copy(tiny_gguf, gguf)  # the sidecar stays
    note = run("status", gguf, "--json").document["note"]
    assert "contradict" in note and note in run("status", gguf).out
    assert note in run("model", gguf).out
    assert run("model", gguf, "--json").document["note"] == note


def test_apply_says_where_the_record_is(run, gguf: Path, patch: Path) -> None:
    outcome = run("apply", gguf, patch, "-o", "on.gguf", "--json")
    assert outcome.document["sidecar"] == "on.gguf.bankai.json" and Path("on.gguf.bankai.json").is_file()
    assert "record: on2.gguf.bankai.json" in run("apply", gguf, patch, "-o", "on2.gguf").out
    assert f"record: {sidecar_path(gguf)}" in run("apply", gguf, patch, "--in-place").out
    assert run("revert", gguf, patch, "--in-place", "--json").document["sidecar"] is None
    assert "record" not in run("revert", "on.gguf", patch, "--in-place").out


def test_status_foreign_is_exit_code_1(run, gguf: Path, patch: Path) -> None:
    flip_bytes(gguf, Flip("model.layers.0.mlp.up_proj", 3, 0), Flip("model.layers.1.mlp.gate_proj", 200))
    outcome = run("status", gguf, patch, "--json")
    assert (outcome.code, outcome.document["state"]) == (1, "foreign")
    outcome = run("status", gguf, patch)
    assert (outcome.code, outcome.out) == (1, "this patch: foreign bits\n")


def test_unbound_needs_the_flag_and_takes_the_name_of_its_file(
    run, refused, gguf: Path, unbound: Path
) -> None:
    refused("apply", gguf, unbound, "--in-place")
    assert run("apply", gguf, unbound, "--in-place", "--unbound").code == 0
    assert run("status", gguf, "--json").document["applied"][0]["name"] == "two"
    assert run("model", gguf, "--json").document["applied"] == ["two"]


def test_revert_never_puts_an_unbound_patch_on(run, refused, gguf: Path, unbound: Path) -> None:
    before = sha256(gguf)
    assert "bind it to the base first: bankai bind" in refused("revert", gguf, unbound, "--in-place").err
    assert "bankai bind" in refused("revert", gguf, unbound, "-o", "off.gguf").err
    assert run("revert", gguf, unbound, "--in-place", "--unbound").code == 2  # no such option
    assert sha256(gguf) == before and not Path("off.gguf").exists()
    run("apply", gguf, unbound, "--in-place", "--unbound")
    assert run("revert", gguf, unbound, "--in-place").code == 0
    assert sha256(gguf) == before


@pytest.mark.parametrize("options", [[], ["--in-place", "-o", "new.gguf"]])
def test_apply_wants_exactly_one_target(refused, gguf: Path, patch: Path, options: list[str]) -> None:
    before = sha256(gguf)
    assert "either -o OUT or --in-place" in refused("apply", gguf, patch, *options).err
    assert sha256(gguf) == before and not Path("new.gguf").exists()


def test_twice_and_not_at_all_are_refused(run, refused, gguf: Path, patch: Path) -> None:
    assert "not applied" in refused("revert", gguf, patch, "--in-place").err
    run("apply", gguf, patch, "--in-place")
    before = sha256(gguf)
    assert "already applied" in refused("apply", gguf, patch, "--in-place").err
    assert sha256(gguf) == before


def test_model_describes_the_file(run, gguf: Path) -> None:
    document = run("model", gguf, "--json").document
    with open_checkpoint(gguf) as checkpoint:
        assert document["fingerprint"] == fingerprint(checkpoint).hex()
        assert set(document["tensors"]) == set(checkpoint.matrices)
    assert document["tensors"]["model.layers.0.mlp.up_proj"] == [256, 128]
    assert (document["architecture"], document["format"], document["layers"]) == ("qwen3", "gguf", 2)
    assert document["file_bytes"] == gguf.stat().st_size and document["applied"] == []
    assert "up_proj" in run("model", gguf).out


def test_convert_there_and_back(run, gguf: Path) -> None:
    assert run("convert", gguf, "mlx", "--json").document["format"] == "mlx"
    assert run("convert", "mlx", "back.gguf").code == 0
    first, second = (run("model", name, "--json").document for name in (gguf, "back.gguf"))
    assert first["fingerprint"] == second["fingerprint"] and first["tensors"] == second["tensors"]


def test_a_patch_holds_on_the_other_format(run, gguf: Path, patch: Path) -> None:
    run("convert", gguf, "mlx")
    assert run("apply", "mlx", patch, "-o", "on").code == 0
    assert run("status", "on", patch).out.startswith("this patch: applied")


def test_convert_carries_the_record_over(run, gguf: Path, patch: Path) -> None:
    run("apply", gguf, patch, "--in-place")
    outcome = run("convert", gguf, "mlx")
    assert (outcome.out, outcome.err) == (f"{gguf} -> mlx\n  record: mlx/bankai.json\n", "")
    assert run("convert", "mlx", "back.gguf", "--json").document["applied"] == ["three"]
    assert run("status", "back.gguf").out.startswith("applied\n  three: 3 flips")


def test_convert_says_that_a_record_is_left_behind(run, gguf: Path) -> None:
    sidecar_path(gguf).write_bytes(b"{}")
    outcome = run("convert", gguf, "mlx", "--json")
    assert outcome.code == 0 and outcome.document["applied"] == []
    assert "not carried over: model.gguf.bankai.json is ignored" in outcome.err
    assert not Path("mlx/bankai.json").exists()


def test_convert_a_patch_both_ways(run, patch: Path, unbound: Path) -> None:
    outcome = run("convert", unbound, "two.bankai")
    assert (outcome.code, outcome.err) == (0, "")
    assert (
        outcome.out
        == f"{unbound} -> two.bankai: 2 flips, not bound to a model (bankai bind ties it to one)\n"
    )
    assert read_patch("two.bankai") == read_patch(unbound) and read_patch("two.bankai").manifest == Manifest()
    document = run("convert", patch, "three.json", "--json").document
    assert (document["flips"], document["bound"]) == (3, False)
    back, bound = read_patch("three.json"), read_patch(patch)
    assert back.flips == bound.flips and (back.manifest, back.binding) == (bound.manifest, None)
    assert run("convert", patch, "copy.bankai").out == f"{patch} -> copy.bankai: 3 flips, bound\n"
    assert Path("copy.bankai").read_bytes() == patch.read_bytes()


def test_convert_refuses_what_a_patch_cannot_become(refused, patch: Path, unbound: Path) -> None:
    for name in ("patch.gguf", "mlx", "patch.JSON"):
        assert (
            f"is a patch; name the file to write .bankai or .json, not {name}"
            in refused("convert", unbound, name).err
        )
    assert f"{patch} exists" in refused("convert", unbound, patch).err
    write_patch(Patch.of([Flip("lm_head", 5)]), "head.bankai")
    assert "cannot name lm_head" in refused("convert", "head.bankai", "head.json").err
    Path("damaged.bankai").write_bytes(patch.read_bytes()[:-1])
    assert "damaged" in refused("convert", "damaged.bankai", "out.json").err
    assert sorted(path.name for path in Path().iterdir()) == sorted(
        ["damaged.bankai", "head.bankai", patch.name, unbound.name]
    )


READ_ONLY = """
import errno, os, sys

def read_only(event, arguments):
    writes = os.O_WRONLY | os.O_RDWR | os.O_CREAT
    if event in ("os.remove", "os.rename", "os.mkdir") or event == "open" and (arguments[2] or 0) & writes:
        if str(arguments[0]).startswith(sys.argv[1]):
            raise OSError(errno.EROFS, "Read-only file system", arguments[0])

from bankai.cli.main import main
sys.addaudithook(read_only)
main(sys.argv[2:])
"""


def on_a_read_only_disk(folder: Path, *arguments: object) -> tuple[int, str]:
    """The command where the system refuses to write below `folder`, to remove what is not there too."""
    command = [sys.executable, "-c", READ_ONLY, str(folder), *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True)
    return result.returncode, result.stdout + result.stderr


@pytest.mark.parametrize("options", [[], ["--volatile"]], ids=["durable", "volatile"])
def test_a_swap_that_changes_nothing_writes_nothing(
    run, gguf: Path, patch: Path, tmp_path: Path, options: list[str]
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    model = Path(shutil.move(gguf, disk / "model.gguf"))
    swap = (disk, "swap", model, *options, "--to")
    assert on_a_read_only_disk(*swap, "base") == (0, f"{model}: base (0 bytes changed)\n")
    assert (
        on_a_read_only_disk(disk, "recover", model)[0] == on_a_read_only_disk(disk, "status", model)[0] == 0
    )
    code, told = on_a_read_only_disk(*swap, patch)
    assert code == 2 and "Read-only file system" in told
    run("swap", model, "--to", patch)
    assert on_a_read_only_disk(*swap, patch) == (0, f"{model}: three (0 bytes changed)\n")
    code, told = on_a_read_only_disk(*swap, "base")
    assert code == 2 and "Read-only file system" in told


def test_swap_between_patches(run, gguf: Path, patch: Path, tiny_gguf: Path) -> None:
    before = sha256(gguf)
    write_patch(bind_patch(tiny_gguf, Patch.of([Flip("lm_head", 5)], Manifest(name="other"))), "o.bankai")
    assert run("swap", gguf, "--to", f"{patch}+o.bankai").out.startswith(f"{gguf}: three + other (")
    found = run("swap", gguf, "--to", "o.bankai", "--volatile", "--json").document
    assert found["applied"] == ["other"] and found["bytes_changed"] == 2 * 16 + 16
    assert run("status", gguf).out.startswith("applied\n  other: 1 flip")
    assert run("swap", gguf, "--to", "base").out == f"{gguf}: base (16 bytes changed)\n"
    assert sha256(gguf) == before
    outcome = run("swap", gguf, "--to", "o.bankai+absent.bankai")
    assert outcome.code == 2 and "absent.bankai" in outcome.err and sha256(gguf) == before


def test_swap_to_names_with_a_plus_and_to_many(
    run, refused, gguf: Path, unbound: Path, tiny_gguf: Path
) -> None:
    names = ["a+b.bankai", "c.bankai", *(f"patch-{number:03}.bankai" for number in range(30))]
    for row, name in enumerate(names):
        write_patch(bind_patch(tiny_gguf, Patch.of([Flip("lm_head", row)])), name)
    assert run("swap", gguf, "--to", "a+b.bankai+c.bankai").out.startswith(f"{gguf}: a+b + c (")
    assert len(run("swap", gguf, "--to", "+".join(names), "--json").document["applied"]) == len(names)
    for wrong in ("", "c.bankai+", "c.bankai++a+b.bankai"):
        assert "such as A+B" in refused("swap", gguf, "--to", wrong).err
    assert "`bankai apply` it with --unbound" in refused("swap", gguf, "--to", unbound).err


def test_recover(run, gguf: Path) -> None:
    assert run("recover", gguf).out == f"{gguf}: nothing to recover\n"
    journal_path(gguf).write_bytes(b"torn")
    outcome = run("recover", gguf)
    assert outcome.code == 2 and "is damaged; get the model again" in outcome.err
