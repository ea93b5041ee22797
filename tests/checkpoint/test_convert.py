"""Conversion: GGUF -> MLX -> GGUF gives the same bytes, with everything a model needs carried along."""

import shutil
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from builders import build_tiny_gguf, tiny_tokenizer, written

from bankai.checkpoint.convert import convert
from bankai.checkpoint.model_file import open_checkpoint
from bankai.checkpoint.tokenizer_spec import UNUSED
from bankai.errors import BankaiError, ModelFormatError, StoreError, UnsupportedModelError
from bankai.patch.binding import content_digest
from bankai.quantization.one_bit import scales_of

YARN = {"rope_type": "yarn", "rope_theta": 1e6, "factor": 4.0, "original_max_position_embeddings": 64}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"tie_word_embeddings": True},
        {"rope_parameters": YARN},
        {"seed": 7},
        {"vocab_size": 333},
        {"head_dim": 128},
    ],
)
def test_there_and_back_is_the_same_file(tmp_path: Path, changes: dict[str, Any]) -> None:
    """Rows beyond the tokens come back as named unused tokens, so that file grows; all others are equal."""
    source = build_tiny_gguf(tmp_path / "a.gguf", **changes)
    mlx = convert(source, tmp_path / "b")
    back = convert(str(mlx), str(tmp_path / "c.gguf"))
    if changes != {"vocab_size": 333}:
        assert back.read_bytes() == source.read_bytes()
    with open_checkpoint(source) as a, open_checkpoint(mlx) as b, open_checkpoint(back) as c:
        assert a.config == b.config == c.config
        assert a.tokenizer() == b.tokenizer() == c.tokenizer()
        assert a.matrices == b.matrices == c.matrices and a.vectors == b.vectors == c.vectors
        assert content_digest(a) == content_digest(b) == content_digest(c)
        for name in a.vectors:
            assert a.vector(name).tobytes() == b.vector(name).tobytes() == c.vector(name).tobytes()


def test_mlx_there_and_back_is_the_same_directory(tiny_gguf: Path, tmp_path: Path) -> None:
    first = convert(tiny_gguf, tmp_path / "a")
    second = convert(convert(first, tmp_path / "b.gguf"), tmp_path / "c")
    files = {path.name for path in first.iterdir()}
    assert files == {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json",
                     "generation_config.json"}  # fmt: skip
    for name in files:
        assert (first / name).read_bytes() == (second / name).read_bytes(), name


def test_ends_and_templates_survive(tmp_path: Path) -> None:
    spec = tiny_tokenizer(
        eos_id=None, eot_id=260, eom_id=261, chat_template=None, other_templates={"tool use / é": "{{ 1 }}"}
    )
    source = build_tiny_gguf(tmp_path / "a.gguf", tokenizer=spec)
    mlx = convert(source, tmp_path / "b")
    assert convert(mlx, tmp_path / "c.gguf").read_bytes() == source.read_bytes()
    with open_checkpoint(mlx) as checkpoint:
        assert checkpoint.tokenizer() == spec and checkpoint.tokenizer().ends == {260, 261, 297, 299}


def test_more_ends_than_gguf_has_keys_for_stay_in_mlx(tiny_gguf: Path, tmp_path: Path) -> None:
    mlx = convert(tiny_gguf, tmp_path / "a")
    (mlx / "generation_config.json").write_text('{"eos_token_id": [299, 260, 261, 262]}')
    with open_checkpoint(convert(mlx, tmp_path / "b")) as checkpoint:
        assert checkpoint.tokenizer().ends == {260, 261, 262, 297, 299}
    with pytest.raises(UnsupportedModelError, match="GGUF cannot hold this tokenizer"):
        convert(mlx, tmp_path / "c.gguf")
    assert not (tmp_path / "c.gguf").exists()


def test_extreme_scales_survive(tiny_gguf: Path, tmp_path: Path) -> None:
    """Zero of either sign, subnormals, negatives and the largest scale with a finite double."""
    source = Path(shutil.copy(tiny_gguf, tmp_path / "a.gguf"))
    extremes = np.array([0.0, -0.0, 6e-8, -6e-8, 6.1e-5, -1.5, 32752, -32752], np.float16)
    with written(source, "lm_head") as blocks:
        scales_of(blocks)[:8, 0] = extremes
    back = convert(convert(source, tmp_path / "b"), tmp_path / "c.gguf")
    assert back.read_bytes() == source.read_bytes()
    with written(source, "lm_head") as blocks:
        scales_of(blocks)[9, 0] = 40000
    with pytest.raises(UnsupportedModelError, match="keep GGUF"):
        convert(source, tmp_path / "d")
    assert not (tmp_path / "d").exists()


def test_an_existing_target_is_refused(tiny_gguf: Path, tmp_path: Path) -> None:
    for name in ("a.gguf", "b"):
        convert(tiny_gguf, tmp_path / name)
        with pytest.raises(StoreError, match="exists; give another name"):
            convert(tiny_gguf, tmp_path / name)
    (tmp_path / "link.gguf").symlink_to("nowhere")
    with pytest.raises(StoreError, match="exists"):
        convert(tiny_gguf, tmp_path / "link.gguf")


@pytest.mark.parametrize("name", ["none/a.gguf", "none/b"])
def test_nowhere_to_write(tiny_gguf: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(StoreError, match="cannot be written"):
        convert(tiny_gguf, tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_source_writes_nothing(tiny_gguf: Path, tmp_path: Path) -> None:
    (tmp_path / "cut.gguf").write_bytes(tiny_gguf.read_bytes()[:-1000])
    with pytest.raises(ModelFormatError):
        convert(tmp_path / "cut.gguf", tmp_path / "b")
    with pytest.raises(BankaiError):
        convert(tmp_path / "absent.gguf", tmp_path / "b")
    assert [path.name for path in tmp_path.iterdir()] == ["cut.gguf"]


def test_a_tokenizer_that_json_cannot_hold_is_refused(tmp_path: Path) -> None:
    """An unused token by another name would come back as a normal one."""
    spec = tiny_tokenizer()
    odd = msgspec.structs.replace(spec, token_types=[UNUSED, *spec.token_types[1:]])
    source = build_tiny_gguf(tmp_path / "a.gguf", tokenizer=odd)
    with pytest.raises(UnsupportedModelError, match="tokenizer"):
        convert(source, tmp_path / "b")
    assert convert(source, tmp_path / "c.gguf").read_bytes() == source.read_bytes()
