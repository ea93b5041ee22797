"""Checkpoints: what opening checks, views that write through, and what is not a 1-bit model."""

import hashlib
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import build_tiny_gguf, byte_alphabet, tiny_config, tiny_tensors, tiny_tokenizer

from bankai.architectures.config import config_to_gguf
from bankai.architectures.names import architecture
from bankai.checkpoint import model_file as module
from bankai.checkpoint.convert import convert
from bankai.checkpoint.gguf import write_gguf
from bankai.checkpoint.model_file import open_checkpoint
from bankai.checkpoint.tokenizer_spec import NORMAL, TokenizerSpec
from bankai.errors import BankaiError, ModelFormatError, StoreError, UnknownTensorError, UnsupportedModelError
from bankai.quantization.binary import BinaryTensor, BinaryTensors

NAMES = architecture("qwen3")
YARN = {"rope_type": "yarn", "rope_theta": 1e6, "factor": 4.0, "original_max_position_embeddings": 64}


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def write(path: Path, tensors: dict[str, Any], metadata: dict[str, Any]) -> Path:
    """A GGUF model from canonical names."""
    write_gguf(path, metadata, {NAMES.to_gguf(name): tensor for name, tensor in tensors.items()})
    return path


def sound() -> tuple[dict[str, Any], dict[str, Any]]:
    config = tiny_config()
    return dict(tiny_tensors(config)), config_to_gguf(config) | tiny_tokenizer().to_gguf()


@pytest.mark.parametrize(
    "changes", [{}, {"tie_word_embeddings": True}, {"rope_parameters": YARN}, {"num_key_value_heads": 2}]
)
def test_a_file_gives_back_what_went_in(tmp_path: Path, changes: dict[str, Any]) -> None:
    path = build_tiny_gguf(tmp_path / "m.gguf", **changes)
    config = tiny_config(**changes)
    tensors = tiny_tensors(config)
    with open_checkpoint(str(path)) as checkpoint:
        assert (checkpoint.format, checkpoint.architecture, checkpoint.path) == ("gguf", "qwen3", path)
        assert checkpoint.config == config
        assert checkpoint.tokenizer() == tiny_tokenizer()
        assert checkpoint.metadata["general.file_type"] == 40
        assert set(checkpoint.binary_names()) | set(checkpoint.dense_names()) == set(tensors)
        for name in checkpoint.binary_names():
            assert checkpoint.binary(name).name == name
            assert checkpoint.binary(name).digest() == tensors[name].digest()
        for name in checkpoint.dense_names():
            assert checkpoint.dense(name).tobytes() == tensors[name].tobytes()


def test_a_checkpoint_is_binary_tensors(tiny_gguf: Path) -> None:
    with open_checkpoint(tiny_gguf) as checkpoint:
        held: BinaryTensors = checkpoint
        assert sum(held.binary(name).popcount() for name in held.binary_names()) > 0


def test_unknown_tensors(tiny_gguf: Path) -> None:
    with open_checkpoint(tiny_gguf) as checkpoint:
        for name in ("model.layers.2.mlp.up_proj", "model.norm", "blk.0.ffn_up.weight", ""):
            with pytest.raises(UnknownTensorError):
                checkpoint.binary(name)
        with pytest.raises(UnknownTensorError):
            checkpoint.dense("lm_head")


@pytest.mark.parametrize("kind", ["gguf", "mlx"])
def test_flips_reach_the_file_and_come_off_exactly(tiny_gguf: Path, tmp_path: Path, kind: str) -> None:
    if kind == "gguf":
        source = file = Path(shutil.copy(tiny_gguf, tmp_path / "m.gguf"))
    else:
        source = convert(tiny_gguf, tmp_path / "m")
        file = source / "model.safetensors"
    name, places = "model.layers.1.mlp.down_proj", {"rows": [0, 5], "groups": [(5, 1), (7, 0)]}
    before = sha256(file)
    with open_checkpoint(source) as checkpoint:
        expected = checkpoint.binary(name).to_dense()
        with pytest.raises(StoreError, match="read-only"):
            checkpoint.binary(name).flip(**places)
    expected[[0, 5]] *= -1
    expected[5, 128:] *= -1
    expected[7, :128] *= -1
    with open_checkpoint(source, writable=True) as checkpoint:
        checkpoint.binary(name).flip(**places)
        checkpoint.flush()
    assert sha256(file) != before
    with open_checkpoint(source, writable=True) as checkpoint:
        assert np.array_equal(checkpoint.binary(name).to_dense(), expected)
        checkpoint.binary(name).flip(**places)
    assert sha256(file) == before


def test_a_flip_changes_only_its_row(tiny_gguf: Path, tmp_path: Path) -> None:
    path = Path(shutil.copy(tiny_gguf, tmp_path / "m.gguf"))
    with open_checkpoint(path, writable=True) as checkpoint:
        checkpoint.binary("model.layers.0.mlp.up_proj").flip([3])
    changed = np.flatnonzero(
        np.frombuffer(tiny_gguf.read_bytes(), "u1") != np.frombuffer(path.read_bytes(), "u1")
    )
    assert len(changed) == 16 and changed[-1] - changed[0] == 15


@pytest.mark.parametrize(
    ("name", "dtype", "reason"),
    [
        ("model.layers.0.mlp.up_proj", np.float16, "is F16, not Q1_0; single-bit flips need 1-bit codes"),
        ("model.embed_tokens", np.float32, "is F32, not Q1_0"),
        ("lm_head", np.float32, "is F32, not Q1_0"),
    ],
)
def test_a_dense_matrix_is_not_one_bit(tmp_path: Path, name: str, dtype: type, reason: str) -> None:
    tensors, metadata = sound()
    tensors[name] = tensors[name].to_dense().astype(dtype)
    with pytest.raises(UnsupportedModelError, match=reason):
        open_checkpoint(write(tmp_path / "m.gguf", tensors, metadata))


@pytest.mark.parametrize(("kind", "number"), [("Q8_0", 8), ("TQ2_0", 35), ("Q4_0", 2)])
def test_a_quantized_or_ternary_model_gets_the_true_reason(tmp_path: Path, kind: str, number: int) -> None:
    """A file of the gguf package's own quantizer."""
    import gguf
    from gguf import quants

    config = tiny_config(hidden_size=256, intermediate_size=256, num_attention_heads=4)
    path = tmp_path / "m.gguf"
    writer = gguf.GGUFWriter(path, "qwen3")
    for key, value in config_to_gguf(config).items():
        if not key.startswith("general") and isinstance(value, (int, float)):
            (writer.add_uint32 if isinstance(value, int) else writer.add_float32)(key, value)
    for name, tensor in tiny_tensors(config).items():
        if isinstance(tensor, BinaryTensor):
            raw = gguf.GGMLQuantizationType(number)
            writer.add_tensor(NAMES.to_gguf(name), quants.quantize(tensor.to_dense(), raw), raw_dtype=raw)
        else:
            writer.add_tensor(NAMES.to_gguf(name), tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(UnsupportedModelError, match=f"{kind}.*row and group flips by scale sign are planned"):
        open_checkpoint(path)


@pytest.mark.parametrize("name", ["a.gguf", "b"])
def test_released_views_stay_sound_and_flips_reach_the_file(
    tiny_gguf: Path, tmp_path: Path, name: str
) -> None:
    path = convert(tiny_gguf, tmp_path / name)
    with open_checkpoint(path, writable=True) as checkpoint:
        tensor = checkpoint.binary("lm_head")
        before = tensor.signs.copy()
        checkpoint.release()
        assert np.array_equal(tensor.signs, before)
        tensor.flip(rows=[3])
        checkpoint.release()
        assert np.array_equal(tensor.signs[3], ~before[3])
    with open_checkpoint(path) as checkpoint:
        assert np.array_equal(checkpoint.binary("lm_head").signs[3], ~before[3])


def test_a_norm_must_be_float(tmp_path: Path) -> None:
    tensors, metadata = sound()
    tensors["model.norm"] = np.ones(128, np.int32)
    with pytest.raises(UnsupportedModelError, match="output_norm.weight is I32"):
        open_checkpoint(write(tmp_path / "m.gguf", tensors, metadata))


@pytest.mark.parametrize(
    "name",
    ["model.embed_tokens", "model.norm", "model.layers.1.self_attn.q_norm", "model.layers.1.mlp.up_proj"],
)
def test_a_missing_tensor_is_named(tmp_path: Path, name: str) -> None:
    tensors, metadata = sound()
    del tensors[name]
    with pytest.raises(
        ModelFormatError, match="embedding matrix" if "embed" in name else NAMES.to_gguf(name)
    ):
        open_checkpoint(write(tmp_path / "m.gguf", tensors, metadata))


def test_shapes_must_fit_the_configuration(tmp_path: Path) -> None:
    """4 heads of 64 over 2 key-value heads want larger projections than the file has."""
    tensors, metadata = sound()
    for key in ("head_count", "head_count_kv", "key_length"):
        changed = metadata | {f"qwen3.attention.{key}": 2 * metadata[f"qwen3.attention.{key}"]}
        changed["qwen3.attention.value_length"] = changed["qwen3.attention.key_length"]
        with pytest.raises(ModelFormatError, match="configuration wants"):
            open_checkpoint(write(tmp_path / "m.gguf", tensors, changed))


def test_a_billion_layers(tmp_path: Path) -> None:
    tensors, metadata = sound()
    with pytest.raises(ModelFormatError, match="1073741824 layers"):
        open_checkpoint(write(tmp_path / "m.gguf", tensors, metadata | {"qwen3.block_count": 1 << 30}))


def test_a_tensor_too_many(tmp_path: Path) -> None:
    tensors, metadata = sound()
    named = {NAMES.to_gguf(name): tensor for name, tensor in tensors.items()}
    write_gguf(tmp_path / "m.gguf", metadata, named | {"blk.0.attn_q.bias": np.zeros(128, np.float32)})
    with pytest.raises(UnsupportedModelError, match="attn_q.bias"):
        open_checkpoint(tmp_path / "m.gguf")


def test_another_architecture(tmp_path: Path) -> None:
    tensors, metadata = sound()
    with pytest.raises(UnsupportedModelError, match="llama"):
        open_checkpoint(write(tmp_path / "m.gguf", tensors, metadata | {"general.architecture": "llama"}))


def test_more_rows_than_tokens(tmp_path: Path) -> None:
    """An embedding padded to 320 rows: the tokenizer has a token for each."""
    path = build_tiny_gguf(tmp_path / "m.gguf", vocab_size=320)
    with open_checkpoint(path) as checkpoint:
        assert checkpoint.tokenizer() == tiny_tokenizer().padded(320)


def test_no_such_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelFormatError, match="absent.gguf does not exist; give a .gguf file"):
        open_checkpoint("absent.gguf")
    for name in ("x" * 5000, "a\0b", ""):
        with pytest.raises(ModelFormatError):
            open_checkpoint(name)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelFormatError, match=r"config\.json"):
        open_checkpoint(tmp_path / "empty")
    (tmp_path / "words.txt").write_text("these are words, not a model at all")
    with pytest.raises(ModelFormatError, match="not a GGUF file"):
        open_checkpoint("words.txt")


def test_built_in_models(tiny_gguf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package of one model: its name opens it, read-only; a path of the same name does not."""
    (tmp_path / "data").mkdir()
    monkeypatch.setattr(module, "files", lambda package: tmp_path)
    assert module.builtin_models() == {}
    shutil.copy(tiny_gguf, tmp_path / "data" / "small.gguf")
    (tmp_path / "data" / "notes.md").touch()
    assert module.builtin_models() == {"small": tmp_path / "data" / "small.gguf"}
    with open_checkpoint("small") as checkpoint:
        assert checkpoint.path.name == "small.gguf"
    with pytest.raises(StoreError, match="built in"):
        open_checkpoint("small", writable=True)
    with pytest.raises(ModelFormatError, match=r"a built-in model \(small\)"):
        open_checkpoint(Path("small"))


@pytest.fixture(scope="module")
def smallest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One layer, and a vocabulary without merges, so that the header is mostly structure."""
    spec = TokenizerSpec(
        tokens=byte_alphabet()[97:107], merges=[], token_types=[NORMAL] * 10, chat_template="t"
    )
    changes = {"num_hidden_layers": 1, "vocab_size": 10, "eos_token_id": 1, "pad_token_id": 2}
    return build_tiny_gguf(tmp_path_factory.mktemp("smallest") / "s.gguf", tokenizer=spec, **changes)


def outcome(path: Path) -> str:
    """Open and read everything; the name of our error, or what was read. Other exceptions pass through."""
    try:
        with open_checkpoint(path) as checkpoint:
            checkpoint.tokenizer()
            state = hashlib.sha256(repr(checkpoint.config).encode())
            for name in checkpoint.binary_names():
                state.update(checkpoint.binary(name).digest())
            for name in checkpoint.dense_names():
                state.update(checkpoint.dense(name).tobytes())
            return state.hexdigest()
    except BankaiError as error:
        return type(error).__name__


def header_size(path: Path) -> int:
    from bankai.checkpoint.gguf import GGUFFile

    with GGUFFile(path) as file:
        return min(info.offset for info in file.tensors.values())


def test_truncated_at_every_byte(smallest: Path, tmp_path: Path) -> None:
    """Shorter copies, byte by byte through the header and then in steps: refused, or (padding) the same model."""
    data, whole = smallest.read_bytes(), outcome(smallest)
    header, path = header_size(smallest), tmp_path / "cut.gguf"
    path.write_bytes(data)
    outcomes = []
    for size in sorted(
        {*range(header + 64), *range(header, len(data), 509), *range(len(data) - 64, len(data))}
    )[::-1]:
        with open(path, "r+b") as file:
            file.truncate(size)
        outcomes.append(outcome(path))
    assert set(outcomes) <= {"ModelFormatError", whole}
    assert outcomes.count("ModelFormatError") > header


def test_every_flipped_bit_of_the_header(smallest: Path, tmp_path: Path) -> None:
    path = Path(shutil.copy(smallest, tmp_path / "flip.gguf"))
    whole = outcome(smallest)
    seen = set()
    with open(path, "r+b", buffering=0) as file:
        data = smallest.read_bytes()
        for place in range(8 * header_size(smallest)):
            file.seek(place // 8)
            file.write(bytes([data[place // 8] ^ 1 << place % 8]))
            seen.add(outcome(path))
            file.seek(place // 8)
            file.write(data[place // 8 : place // 8 + 1])
    assert outcome(path) == whole
    assert {"ModelFormatError", "UnsupportedModelError", whole} <= seen
