"""Patches in other forms: the models are the patched model, the adapters come with their measured drift."""

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from builders import flip_bytes
from unpacked import unpacked

from bankai.checkpoint.convert import convert
from bankai.checkpoint.model_file import open_checkpoint
from bankai.errors import AlreadyAppliedError, StoreError, UnboundPatchError, WrongBaseError
from bankai.jobs.drift import TOKENS, _adapted, drift_between
from bankai.jobs.export import export_patch
from bankai.model import load
from bankai.patch import Flip, Manifest, Patch, bind, read_patch, state, write_patch
from bankai.patching import apply_patch, status

ELICITABLE = Path(__file__).parents[1] / "nano" / "elicitable.bankai"
FLIPS = [
    Flip("model.layers.0.mlp.up_proj", 3),
    Flip("model.layers.1.mlp.gate_proj", 200),
    Flip("model.layers.1.mlp.down_proj", 7, 1),
    Flip("model.layers.1.self_attn.o_proj", 7, 0, 99),
    Flip("model.embed_tokens", 40),
    Flip("lm_head", 41),
]


@pytest.fixture
def patch(tiny_gguf: Path, tmp_path: Path) -> Path:
    with open_checkpoint(tiny_gguf) as checkpoint:
        write_patch(
            bind(Patch.of(FLIPS, Manifest(base_model="owner/tiny")), checkpoint), tmp_path / "p.bankai"
        )
    return tmp_path / "p.bankai"


@pytest.mark.parametrize("source", ["gguf", "mlx"])
def test_models_are_the_patched_model(source, tiny_gguf, patch, tmp_path) -> None:
    apply_patch(tiny_gguf, read_patch(patch), tmp_path / "wanted.gguf")
    base = tiny_gguf if source == "gguf" else convert(tiny_gguf, tmp_path / "base")
    before = {path.name for path in tmp_path.iterdir()}
    result = export_patch(patch, base, "gguf", tmp_path / "out.gguf")
    assert (tmp_path / "out.gguf").read_bytes() == (tmp_path / "wanted.gguf").read_bytes()
    assert (result.to, result.flips, result.drift, result.note) == ("gguf", len(FLIPS), None, "")
    assert result.bytes == (tmp_path / "out.gguf").stat().st_size
    export_patch(patch, base, "mlx", tmp_path / "out")
    convert(tmp_path / "out", tmp_path / "back.gguf")
    assert (tmp_path / "back.gguf").read_bytes() == (tmp_path / "wanted.gguf").read_bytes()
    for name in ("out", "out.gguf"):
        assert [entry.patch for entry in status(tmp_path / name).patches] == [read_patch(patch)]
    new = {path.name for path in tmp_path.iterdir()} - before
    assert new == {"out", "out.gguf", "out.gguf.bankai.json", "back.gguf"}


def test_a_peft_directory_comes_with_its_drift(tmp_path) -> None:
    result = export_patch(ELICITABLE, "nano", "peft", tmp_path / "peft")
    drift = result.drift
    assert drift is not None and (drift.engine, drift.tokens, drift.agreement) == ("torch", TOKENS, 1.0)
    # The order of float32 sums: 2e-5 measured; the patch changes logits by up to 14.
    assert 0 < drift.max_logit < 1e-3 and 0 <= drift.kl < 1e-7
    assert result.bytes == sum(path.stat().st_size for path in (tmp_path / "peft").iterdir())


@torch.no_grad()
def test_the_drift_is_of_what_peft_computes(tiny_gguf, patch, tmp_path) -> None:
    from peft import PeftModel

    export_patch(patch, tiny_gguf, "peft", tmp_path / "peft", measure=False)
    ids, model = torch.arange(30, 90)[None], load(tiny_gguf)[0]
    base = model(ids).logits
    with _adapted(model, tmp_path / "peft"):
        ours = model(ids).logits
    assert torch.equal(model(ids).logits, base)
    theirs = PeftModel.from_pretrained(unpacked(tiny_gguf), tmp_path / "peft")(ids).logits
    # The same float32 products in another order; logits are of magnitude 10, the patch moves them by more than 1.
    assert (ours - theirs).abs().max() < 1e-4
    assert (ours - base).abs().max() > 1


@pytest.mark.engines
def test_a_gguf_adapter_comes_with_its_drift(tmp_path) -> None:
    drift = export_patch(ELICITABLE, "nano", "gguf-lora", tmp_path / "lora.gguf").drift
    assert drift is not None and (drift.engine, drift.tokens) == ("llama", TOKENS)
    # Packed A: 0 measured. A logit of nano moves by up to 14 under this patch.
    assert drift.max_logit < 1e-4 and drift.kl < 1e-9 and drift.agreement == 1


def test_drift_between_known_logits() -> None:
    wanted = np.log(np.array([[0.5, 0.25, 0.25], [0.2, 0.2, 0.6]], np.float32))
    found = np.log(np.array([[0.25, 0.5, 0.25], [0.2, 0.2, 0.6]], np.float32)) + np.float32(3)
    drift = drift_between(wanted, found - np.float32(3), "torch")
    # KL of the first token: 0.5 ln 2 - 0.25 ln 2.
    assert drift.kl == pytest.approx(0.25 * np.log(2) / 2, abs=1e-6)
    assert drift.max_logit == pytest.approx(np.log(2), abs=1e-6) and drift.agreement == 0.5
    shifted = drift_between(wanted, wanted + np.float32(3), "torch")
    assert shifted.kl < 1e-6 and shifted.max_logit == pytest.approx(3, abs=1e-6) and shifted.agreement == 1


@pytest.mark.parametrize(
    ("form", "missing", "words"),
    [("gguf-lora", "llama_cpp", "bankai[llama]"), ("peft", "torch", "bankai[search]")],
)
def test_without_an_engine_the_drift_is_not_measured_and_that_is_said(
    form, missing, words, tiny_gguf, patch, tmp_path, monkeypatch
) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    out = tmp_path / ("lora.gguf" if form == "gguf-lora" else "peft")
    result = export_patch(patch, tiny_gguf, form, out)
    assert result.drift is None and words in result.note and out.exists()
    assert export_patch(patch, tiny_gguf, form, tmp_path / f"2{out.name}", measure=False).note == ""


def test_llama_cpp_does_not_read_mlx(tiny_gguf, patch, tmp_path) -> None:
    base = convert(tiny_gguf, tmp_path / "base")
    result = export_patch(patch, base, "gguf-lora", tmp_path / "a.gguf")
    assert result.drift is None and "only a GGUF copy" in result.note
    export_patch(patch, tiny_gguf, "gguf-lora", tmp_path / "b.gguf", measure=False)
    assert (tmp_path / "a.gguf").read_bytes() == (tmp_path / "b.gguf").read_bytes()


@pytest.mark.parametrize("form", ["gguf", "mlx", "peft", "gguf-lora"])
def test_another_base_is_refused(form, tiny_gguf, wide_gguf, patch, tmp_path) -> None:
    changed = Path(shutil.copy(tiny_gguf, tmp_path / "changed.gguf"))
    flip_bytes(changed, Flip("model.layers.0.mlp.up_proj", 3, 0), Flip("lm_head", 41))
    apply_patch(tiny_gguf, read_patch(patch), tmp_path / "on.gguf")
    write_patch(read_patch(patch).unbound(), tmp_path / "unbound.bankai")
    before = {path.name for path in tmp_path.iterdir()}
    out = tmp_path / ("new.gguf" if form.startswith("gguf") else "new")
    for given, base, error in [
        (patch, changed, WrongBaseError),
        (patch, wide_gguf, WrongBaseError),
        (patch, tmp_path / "on.gguf", AlreadyAppliedError),
        (tmp_path / "unbound.bankai", tiny_gguf, UnboundPatchError),
    ]:
        with pytest.raises(error):
            export_patch(given, base, form, out)
    assert {path.name for path in tmp_path.iterdir()} == before
    with open_checkpoint(tmp_path / "on.gguf") as checkpoint:
        assert state(checkpoint, read_patch(patch)) == "applied"


@pytest.mark.parametrize("form", ["gguf", "mlx", "peft", "gguf-lora"])
def test_a_place_that_does_not_fit_is_refused(form, tiny_gguf, patch, tmp_path) -> None:
    single = form.startswith("gguf")
    (tmp_path / "old.gguf").write_text("mine")
    (tmp_path / "old").mkdir()
    for name, words in [
        ("new" if single else "new.gguf", "give another"),
        ("old.gguf" if single else "old", "exists"),
        ("none/new.gguf" if single else "none/new", "place that exists"),
    ]:
        with pytest.raises(StoreError, match=words):
            export_patch(patch, tiny_gguf, form, tmp_path / name)
    assert (tmp_path / "old.gguf").read_text() == "mine" and not (tmp_path / "new").exists()
