"""A converted model keeps the list of what is applied to it."""

import shutil
from pathlib import Path

import pytest
from builders import flip_bytes

from bankai.checkpoint.convert import convert
from bankai.checkpoint.model_file import open_checkpoint
from bankai.errors import StoreError
from bankai.jobs.patch_files import convert_file
from bankai.patch import Flip, Manifest, Patch
from bankai.patching import apply_in_place, bind_patch, revert_in_place, sidecar_path, status

UP, HEAD = "model.layers.1.mlp.up_proj", "lm_head"


def bound(model: Path) -> Patch:
    return bind_patch(model, Patch.of([Flip(UP, 3)], Manifest(name="first")))


@pytest.fixture(params=["m.gguf", "m"])
def model(request: pytest.FixtureRequest, tmp_path: Path, tiny_gguf: Path) -> Path:
    path = tmp_path / str(request.param)
    (shutil.copyfile if path.suffix else convert)(tiny_gguf, path)
    return path


@pytest.fixture
def other(model: Path) -> Path:
    """A name for the model in the other format."""
    return model.with_name("other" if model.suffix else "other.gguf")


def test_a_converted_model_keeps_its_list(model: Path, other: Path) -> None:
    first, second = bound(model), Patch.of([Flip(UP, 3), Flip(HEAD, 1)])
    apply_in_place(model, first)
    apply_in_place(model, second, unbound=True)
    listed = status(model).patches
    assert convert_file(model, other) == ""
    assert status(other).patches == listed and len(listed) == 2
    for path in (model, other):
        revert_in_place(path, first)
        revert_in_place(path, second)
    with open_checkpoint(model) as old, open_checkpoint(other) as new:
        for name in old.matrices:
            assert (old.packed(name).blocks == new.packed(name).blocks).all()


def test_nothing_applied_is_nothing_to_carry(model: Path, other: Path) -> None:
    assert convert_file(model, other) == ""
    assert not sidecar_path(other).exists()


def test_a_false_list_is_not_carried(model: Path, other: Path) -> None:
    patch = bound(model)
    apply_in_place(model, patch)
    flip_bytes(model, Flip(UP, 3))
    assert "contradict" in convert_file(model, other)
    assert not sidecar_path(other).exists() and status(other, patch).state == "base"


def test_a_left_over_list_is_not_the_new_models(tmp_path: Path, tiny_gguf: Path) -> None:
    convert(tiny_gguf, tmp_path / "mlx")
    sidecar_path(tmp_path / "new.gguf").write_bytes(b"left over")
    convert_file(tmp_path / "mlx", tmp_path / "new.gguf")
    assert not sidecar_path(tmp_path / "new.gguf").exists()


def test_no_model_is_left_without_its_list(tmp_path: Path, tiny_gguf: Path) -> None:
    convert(tiny_gguf, tmp_path / "mlx")
    apply_in_place(tmp_path / "mlx", bound(tiny_gguf))
    sidecar_path(tmp_path / "new.gguf").mkdir()
    with pytest.raises(StoreError, match="cannot be written"):
        convert_file(tmp_path / "mlx", tmp_path / "new.gguf")
    assert not (tmp_path / "new.gguf").exists()


def test_an_existing_target_stays(model: Path, other: Path) -> None:
    other.write_bytes(b"precious")
    with pytest.raises(StoreError, match="exists"):
        convert_file(model, other)
    assert other.read_bytes() == b"precious"
