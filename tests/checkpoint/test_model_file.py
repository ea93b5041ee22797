"""Checkpoints: what opening checks, the type of every tensor from the file, and arrays that nobody can write to."""

import hashlib
import inspect
import shutil
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from builders import LLAMA, build_tiny_gguf, byte_alphabet, tiny_config, tiny_tensors, tiny_tokenizer
from quantized import random_tensor

from bankai.architectures import architecture
from bankai.checkpoint import model_file as module
from bankai.checkpoint.convert import convert, stored_tensors
from bankai.checkpoint.gguf import stream_gguf, write_gguf
from bankai.checkpoint.model_file import open_checkpoint
from bankai.checkpoint.tokenizer_spec import NORMAL, TokenizerSpec
from bankai.errors import BankaiError, ModelFormatError, StoreError, UnknownTensorError, UnsupportedModelError
from bankai.patching import LiveModel
from bankai.quantization import QUANTIZATIONS, Matrices, PackedTensor, Quantization, quantization

NAMES = architecture("qwen3")
YARN = {"rope_type": "yarn", "rope_theta": 1e6, "factor": 4.0, "original_max_position_embeddings": 64}


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def write(path: Path, tensors: dict[str, Any], metadata: dict[str, Any]) -> Path:
    """A GGUF model from canonical names."""
    write_gguf(path, metadata, {NAMES.gguf_name(name): tensor for name, tensor in tensors.items()})
    return path


def sound() -> tuple[dict[str, Any], dict[str, Any]]:
    config = tiny_config()
    return dict(tiny_tensors(config)), to_gguf(config)


def to_gguf(config: dict[str, Any]) -> dict[str, Any]:
    """All metadata of a model with a tiny tokenizer."""
    return architecture(config["model_type"]).config_to_gguf(config) | tiny_tokenizer().to_gguf()


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
        assert set(checkpoint.matrices) | set(checkpoint.vectors) == set(tensors)
        for name in checkpoint.matrices:
            assert checkpoint.packed(name).name == name
            assert checkpoint.packed(name).blocks.tobytes() == tensors[name].blocks.tobytes()
        for name in checkpoint.vectors:
            assert checkpoint.vector(name).tobytes() == tensors[name].tobytes()


def test_a_checkpoint_is_matrices(tiny_gguf: Path) -> None:
    with open_checkpoint(tiny_gguf) as checkpoint:
        held: Matrices = checkpoint
        for name, info in held.matrices.items():
            assert held.packed(name).info == info
            rows = [info.rows - 1, 0]
            assert (held.packed(name, rows).blocks == held.packed(name).blocks[rows]).all()


def test_unknown_tensors(tiny_gguf: Path) -> None:
    with open_checkpoint(tiny_gguf) as checkpoint:
        for name in ("model.layers.2.mlp.up_proj", "model.norm", "blk.0.ffn_up.weight", ""):
            with pytest.raises(UnknownTensorError):
                checkpoint.packed(name)
        with pytest.raises(UnknownTensorError):
            checkpoint.vector("lm_head")


def test_readers_cannot_write(tiny_gguf: Path, hybrid_gguf: Path, tmp_path: Path) -> None:
    """By type: no way of opening asks for it. By test: every array that is handed out refuses."""
    assert list(inspect.signature(open_checkpoint).parameters) == ["source"]
    for source in (tiny_gguf, hybrid_gguf, convert(tiny_gguf, tmp_path / "mlx")):
        with open_checkpoint(source) as checkpoint:
            arrays = [checkpoint.packed(name).blocks for name in checkpoint.matrices]
            arrays += [checkpoint.packed(name, [0]).blocks for name in checkpoint.matrices]
            for array in arrays:
                with pytest.raises(ValueError, match="read-only"):
                    array[0] = 0


@pytest.mark.parametrize("kind", QUANTIZATIONS, ids=str)
@pytest.mark.parametrize("model", [{}, LLAMA], ids=["qwen3", "llama"])
def test_the_file_says_the_type_of_every_matrix(
    tmp_path: Path, kind: Quantization, model: dict[str, Any]
) -> None:
    """One tensor of another type in a 1-bit model, and all of that type but one."""
    config = tiny_config(**model)
    tensors, rng = tiny_tensors(config), np.random.default_rng(1)
    shapes = architecture(config["model_type"]).matrix_shapes(config)
    others = {name: random_tensor(name, kind, shape, rng) for name, shape in shapes.items()}
    for some in (["model.layers.1.self_attn.q_proj"], list(others)[1:]):
        mixed = tensors | {name: others[name] for name in some}
        path = tmp_path / f"{len(some)}.gguf"
        write_gguf(path, to_gguf(config), stored_tensors(mixed, config))
        with open_checkpoint(path) as checkpoint:
            for name, info in checkpoint.matrices.items():
                assert info.quantization is (kind if name in some else quantization("Q1_0"))
                assert checkpoint.packed(name).blocks.tobytes() == mixed[name].blocks.tobytes()


def test_a_type_that_is_not_known_is_named(tmp_path: Path) -> None:
    """A file of the gguf package's own quantizer."""
    config = tiny_config(hidden_size=256, intermediate_size=256, num_attention_heads=4)
    path = tmp_path / "m.gguf"
    writer = gguf.GGUFWriter(path, "qwen3")
    for name, tensor in tiny_tensors(config).items():
        if isinstance(tensor, PackedTensor):
            raw = gguf.GGMLQuantizationType.TQ2_0
            dense = gguf.quantize(tensor.to_dense(), raw)
            writer.add_tensor(NAMES.gguf_name(name), dense, raw_dtype=raw)
        else:
            writer.add_tensor(NAMES.gguf_name(name), tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(
        UnsupportedModelError,
        match=r"tensor '.*': ggml type TQ2_0 \(35\) is not supported yet; use a model in Q1_0",
    ):
        open_checkpoint(path)


@pytest.mark.parametrize("kind", ["F32", "F16"])
def test_rows_of_floats_must_be_whole_groups(tmp_path: Path, kind: str) -> None:
    config = tiny_config(hidden_size=144, intermediate_size=128, num_attention_heads=2)
    arch, rng = architecture("qwen3"), np.random.default_rng(0)
    dtype = {"F32": np.float32, "F16": np.float16}[kind]
    shapes = arch.matrix_shapes(config) | arch.vector_shapes(config)
    tensors = {arch.gguf_name(name): rng.normal(size=shape).astype(dtype) for name, shape in shapes.items()}
    write_gguf(tmp_path / "m.gguf", to_gguf(config), tensors)
    with pytest.raises(UnsupportedModelError, match="has 144 columns, not a multiple of the 32 of a group"):
        open_checkpoint(tmp_path / "m.gguf")


@pytest.mark.parametrize("name", ["a.gguf", "b"])
def test_released_views_stay_sound(tiny_gguf: Path, tmp_path: Path, name: str) -> None:
    path = convert(tiny_gguf, tmp_path / name)
    with open_checkpoint(path) as checkpoint:
        blocks = checkpoint.packed("lm_head").blocks
        before = blocks.copy()
        checkpoint.release()
        assert np.array_equal(blocks, before)


def test_a_norm_must_be_float(tmp_path: Path) -> None:
    tensors, metadata = sound()
    layout: dict[str, Any] = {
        NAMES.gguf_name(name): (getattr(tensor, "quantization", quantization("F32")), tensor.shape)
        for name, tensor in tensors.items()
    }
    layout["output_norm.weight"] = (quantization("Q4_0"), (128,))
    norm = random_tensor("", quantization("Q4_0"), (1, 128), np.random.default_rng(0))
    stream_gguf(tmp_path / "m.gguf", metadata, layout, (tensors | {"model.norm": norm}).values())
    with pytest.raises(
        UnsupportedModelError, match="output_norm.weight is Q4_0; use a model that keeps it in floats"
    ):
        open_checkpoint(tmp_path / "m.gguf")


@pytest.mark.parametrize(
    "name",
    ["model.embed_tokens", "model.norm", "model.layers.1.self_attn.q_norm", "model.layers.1.mlp.up_proj"],
)
def test_a_missing_tensor_is_named(tmp_path: Path, name: str) -> None:
    tensors, metadata = sound()
    del tensors[name]
    with pytest.raises(
        ModelFormatError, match="embedding matrix" if "embed" in name else NAMES.gguf_name(name)
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
    named = {NAMES.gguf_name(name): tensor for name, tensor in tensors.items()}
    write_gguf(tmp_path / "m.gguf", metadata, named | {"blk.0.attn_q.bias": np.zeros(128, np.float32)})
    with pytest.raises(UnsupportedModelError, match="attn_q.bias"):
        open_checkpoint(tmp_path / "m.gguf")


def test_another_architecture(tmp_path: Path) -> None:
    tensors, metadata = sound()
    with pytest.raises(UnsupportedModelError, match="mamba"):
        open_checkpoint(write(tmp_path / "m.gguf", tensors, metadata | {"general.architecture": "mamba"}))


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
        LiveModel("small")
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
            for name in checkpoint.matrices:
                state.update(checkpoint.packed(name).blocks.tobytes())
            for name in checkpoint.vectors:
                state.update(checkpoint.vector(name).tobytes())
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
