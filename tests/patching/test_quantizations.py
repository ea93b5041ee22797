"""Files of every quantization: on and off, by copy, in place and live, to the byte."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from builders import LLAMA, build_tiny_gguf, tiny_config
from hypothesis import given, settings
from hypothesis import strategies as st
from quantized import NAMES

from bankai.architectures import architecture
from bankai.checkpoint.model_file import open_checkpoint
from bankai.errors import RowRangeError
from bankai.model import load, patched
from bankai.patch import Flip, Patch, decode, encode
from bankai.patching import (
    LiveModel,
    apply_in_place,
    apply_patch,
    bind_patch,
    revert_in_place,
    revert_patch,
    status,
)
from bankai.quantization import quantization

CONFIG = tiny_config(**LLAMA)
SHAPES = architecture("llama").matrix_shapes(CONFIG)
KINDS = pytest.mark.parametrize("kind", NAMES)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A random Llama in each quantization."""
    folder = tmp_path_factory.mktemp("kinds")
    return {kind: build_tiny_gguf(folder / f"{kind}.gguf", seed=2, kind=kind, **LLAMA) for kind in NAMES}


@st.composite
def flips(draw: st.DrawFn, kind: str) -> frozenset[Flip]:
    """Rows, groups and, where weights have signs of their own, single weights of any matrix."""
    known = quantization(kind)

    def place(name: str) -> st.SearchStrategy[Flip]:
        rows, columns = SHAPES[name]
        row, group = st.integers(0, rows - 1), st.integers(0, columns // known.weights - 1)
        single = st.builds(Flip, st.just(name), row, group, st.integers(0, known.weights - 1))
        wider = st.builds(Flip, st.just(name), row, st.none() | group)
        return wider | single if known.own_signs else wider

    return draw(st.frozensets(st.sampled_from(sorted(SHAPES)).flatmap(place), min_size=1, max_size=8))


def weights(path: Path) -> dict[str, Any]:
    with open_checkpoint(path) as checkpoint:
        return {name: checkpoint.packed(name).to_dense().copy() for name in checkpoint.matrices}


@KINDS
@settings(max_examples=8)
@given(data=st.data())
def test_on_and_off_to_the_byte(
    models: dict[str, Path], tmp_path_factory: pytest.TempPathFactory, kind: str, data: st.DataObject
) -> None:
    folder, before = tmp_path_factory.mktemp("change"), models[kind].read_bytes()
    model = Path(shutil.copyfile(models[kind], folder / "m.gguf"))
    patch = bind_patch(model, Patch(data.draw(flips(kind))))
    assert decode(encode(patch)) == patch
    apply_patch(model, patch, folder / "on.gguf")
    on = (folder / "on.gguf").read_bytes()
    assert (status(folder / "on.gguf", patch).state, status(model, patch).state) == ("applied", "base")
    revert_patch(folder / "on.gguf", patch, folder / "off.gguf")
    assert (folder / "off.gguf").read_bytes() == before == model.read_bytes() != on
    apply_in_place(model, patch)
    assert model.read_bytes() == on and [entry.name for entry in status(model).patches] == [""]
    revert_in_place(model, patch)
    assert model.read_bytes() == before
    with LiveModel(model) as live:
        for volatile in (False, True, True):
            live.swap(patch, volatile=volatile)
            assert model.read_bytes() == on
            live.swap(volatile=volatile)
            assert model.read_bytes() == before


@KINDS
def test_the_weights_that_a_patch_names_change_sign_and_no_others(
    models: dict[str, Path], tmp_path: Path, kind: str
) -> None:
    known, name = (
        quantization(kind),
        "model.layers.1.self_attn.q_proj",
    )  # whose rows a file keeps in another order
    chosen = [Flip(name, 70), Flip(name, 9, 0)] + [Flip(name, 12, 0, 17)] * known.own_signs
    apply_patch(models[kind], bind_patch(models[kind], Patch.of(chosen)), tmp_path / "on.gguf")
    wanted, found = weights(models[kind]), weights(tmp_path / "on.gguf")
    wanted[name][70] *= -1
    wanted[name][9, : known.weights] *= -1
    wanted[name][12, 17] *= -1 if known.own_signs else 1
    assert all((wanted[tensor] == found[tensor]).all() for tensor in SHAPES)


@KINDS
def test_the_patched_file_is_the_patched_model(models: dict[str, Path], tmp_path: Path, kind: str) -> None:
    patch = bind_patch(models[kind], Patch.of([Flip(name, 5) for name in SHAPES] + [Flip("lm_head", 9, 0)]))
    apply_patch(models[kind], patch, tmp_path / "on.gguf")
    (model, _), (other, _), ids = load(models[kind]), load(tmp_path / "on.gguf"), torch.arange(50)[None]
    with torch.no_grad():
        base, wanted = model(ids, use_cache=False).logits, other(ids, use_cache=False).logits
        with patched(model, patch):
            assert torch.equal(model(ids, use_cache=False).logits, wanted)
        assert torch.equal(model(ids, use_cache=False).logits, base) and not torch.equal(base, wanted)


@pytest.mark.parametrize("kind", [kind for kind in NAMES if not quantization(kind).own_signs])
def test_weights_without_a_sign_of_their_own_are_refused(
    models: dict[str, Path], tmp_path: Path, kind: str
) -> None:
    patch = Patch.of([Flip("lm_head", 0, 0, 0)])
    with pytest.raises(RowRangeError, match=f"lm_head is {kind}, in which no weight has a sign of its own"):
        apply_patch(models[kind], patch, tmp_path / "on.gguf", unbound=True)
    assert not (tmp_path / "on.gguf").exists()
