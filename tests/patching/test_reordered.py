"""Patches on a file that keeps rows and columns in another order than patches name them."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from hybrid import SHAPES, places
from hypothesis import given, settings
from hypothesis import strategies as st

from bankai.architectures import architecture
from bankai.checkpoint.gguf import GGUFFile
from bankai.checkpoint.model_file import open_checkpoint
from bankai.errors import AlreadyAppliedError, RowRangeError
from bankai.model import ModelMatrices, load, patched
from bankai.patch import Flip, Manifest, Patch, bind, state
from bankai.patch.places import places_by_tensor
from bankai.patching import (
    LiveModel,
    apply_in_place,
    apply_patch,
    bind_patch,
    revert_in_place,
    revert_patch,
    status,
)
from bankai.quantization.one_bit import signs_of
from bankai.tensor_names import parse_tensor_name

FLIPS = [Flip(name, rows - 1 - at, *place) for at, place in enumerate(((), (1,), (0, 77)))
         for name, (rows, _) in SHAPES.items()]  # fmt: skip


@pytest.fixture
def model(tmp_path: Path, hybrid_gguf: Path) -> Path:
    (tmp_path / "home").mkdir()
    return Path(shutil.copyfile(hybrid_gguf, tmp_path / "home" / "m.gguf"))


def expected_bits(path: Path, flips: list[Flip]) -> dict[str, bytes]:
    """Sign bits of every tensor of the file, by its names, with the flips made by hand."""
    arch, bits = architecture("qwen35"), {}
    with GGUFFile(path) as file, open_checkpoint(path) as checkpoint:
        for name in checkpoint.matrices:
            signs = signs_of(file.blocks(arch.gguf_name(name)))
            bits[name] = np.unpackbits(signs, axis=2, bitorder="little")
        for flip in flips:
            order = arch.order(parse_tensor_name(flip.tensor).path, checkpoint.config, 128)
            group = (
                slice(None)
                if flip.group is None
                else flip.group
                if order.groups is None
                else order.groups[flip.group]
            )
            bit = slice(None) if flip.bit is None else flip.bit
            bits[flip.tensor][order.row(flip.row), group, bit] ^= 1
    return {name: np.packbits(array, axis=2, bitorder="little").tobytes() for name, array in bits.items()}


def found_bits(path: Path) -> dict[str, bytes]:
    return expected_bits(path, [])


def test_apply_revert_in_place_and_live(model: Path, tmp_path: Path) -> None:
    before, wanted = model.read_bytes(), expected_bits(model, FLIPS)
    patch = bind_patch(model, Patch.of(FLIPS, Manifest(name="p")))
    apply_patch(model, patch, tmp_path / "on.gguf")
    assert found_bits(tmp_path / "on.gguf") == wanted != found_bits(model)
    assert (status(tmp_path / "on.gguf", patch).state, status(model, patch).state) == ("applied", "base")
    with pytest.raises(AlreadyAppliedError):
        apply_patch(tmp_path / "on.gguf", patch, tmp_path / "twice.gguf")
    revert_patch(tmp_path / "on.gguf", patch, tmp_path / "off.gguf")
    assert (tmp_path / "off.gguf").read_bytes() == before == model.read_bytes()
    apply_in_place(model, patch)
    assert found_bits(model) == wanted
    assert [entry.name for entry in status(model).patches] == ["p"]
    revert_in_place(model, patch)
    assert model.read_bytes() == before
    with LiveModel(model) as live:
        for volatile in (False, True, True):
            live.swap(patch, volatile=volatile)
            assert found_bits(model) == wanted
            live.swap(volatile=volatile)
            assert model.read_bytes() == before


@torch.no_grad()
def test_the_patched_file_is_the_patched_model(model: Path, tmp_path: Path) -> None:
    """Bound to the file, put on the loaded model, and the other way about; bit for bit, and off again."""
    loaded, ids = load(model)[0], torch.arange(40)[None]
    tensors, base = ModelMatrices(loaded), loaded(ids, use_cache=False).logits
    patch = bind_patch(model, Patch.of(FLIPS))
    assert bind(Patch.of(FLIPS), tensors).binding == patch.binding
    apply_patch(model, patch, tmp_path / "on.gguf")
    wanted = load(tmp_path / "on.gguf")[0](ids, use_cache=False).logits
    with patched(loaded, patch):
        assert state(tensors, patch) == "applied"
        assert torch.equal(loaded(ids, use_cache=False).logits, wanted)
    assert torch.equal(loaded(ids, use_cache=False).logits, base) and not torch.equal(base, wanted)


@settings(max_examples=15)
@given(flips=st.frozensets(places(linear=True), min_size=1, max_size=10))
def test_any_places(
    hybrid_gguf: Path, tmp_path_factory: pytest.TempPathFactory, flips: frozenset[Flip]
) -> None:
    folder = tmp_path_factory.mktemp("any")
    model = Path(shutil.copyfile(hybrid_gguf, folder / "m.gguf"))
    wanted = expected_bits(model, sorted(flips))
    patch = bind_patch(model, Patch(flips))
    apply_patch(model, patch, folder / "copy.gguf")
    apply_in_place(model, patch)
    assert found_bits(model) == found_bits(folder / "copy.gguf") == wanted
    with open_checkpoint(model) as checkpoint:
        assert set(places_by_tensor(flips)) <= set(checkpoint.matrices)
    revert_in_place(model, patch)
    assert model.read_bytes() == hybrid_gguf.read_bytes()


def test_places_outside_are_refused(model: Path) -> None:
    before = model.read_bytes()
    for flip in (
        Flip("model.layers.0.linear_attn.in_proj_z", 768),
        Flip("model.layers.0.linear_attn.out_proj", 0, 6),
    ):
        with pytest.raises(RowRangeError):
            apply_in_place(model, Patch.of([flip]), unbound=True)
    assert model.read_bytes() == before
