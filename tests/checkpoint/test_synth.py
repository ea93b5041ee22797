"""Random models in published shapes: the facts of the shapes without their files, and a whole small file."""

from collections import Counter
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bankai.architectures import architecture
from bankai.checkpoint.gguf import GGUFFile
from bankai.checkpoint.model_file import open_checkpoint
from bankai.checkpoint.synth import CHATML, SHAPES, synth_config, synth_size, synth_tokenizer, synthesize
from bankai.checkpoint.tokenizer_spec import CONTROL, NORMAL, USER_DEFINED
from bankai.errors import StoreError
from bankai.quantization.one_bit import scales_of, signs_of

PUBLISHED_8B = 1_158_654_496  # bytes; its tokenizer has longer words and merges than ours
# shape -> binary tensors, norms, parameters, bytes of our file
FACTS = {
    "bonsai-8b": (254, 145, 8_188_548_096, 1_157_067_648),
    "bonsai-4b": (253, 145, 4_021_784_576, 570_683_744),
    "bonsai-1.7b": (197, 113, 1_720_028_160, 246_715_392),
    "bonsai-27b": (498, 353, 26_895_998_464, 3_799_643_936),
    "tiny": (16, 9, 1_705_728, 272_448),
    "tiny-hybrid": (33, 23, 4_549_540, 738_368),
}
PUBLISHED_27B = 3_803_452_480, 10_992_704  # bytes, and those before its tensors


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthesize(tmp_path_factory.mktemp("synth") / "tiny.gguf", "tiny")


def shapes(config: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Of the matrices, and of all other tensors."""
    arch = architecture(config["model_type"])
    return arch.matrix_shapes(config), arch.vector_shapes(config)


@pytest.mark.parametrize("shape", SHAPES)
def test_facts_of_the_shapes(shape: str) -> None:
    binary, dense = shapes(synth_config(SHAPES[shape]))
    parameters = sum(out * inner for out, inner in binary.values()) + sum(map(prod, dense.values()))
    assert (len(binary), len(dense), parameters, synth_size(shape)) == FACTS[shape]


def test_8b_is_the_published_file_but_for_the_words() -> None:
    binary, dense = shapes(synth_config(SHAPES["bonsai-8b"]))
    data = sum(out * inner // 128 * 18 for out, inner in binary.values())
    data += sum(4 * size for (size,) in dense.values())
    assert data == 1_152_704_128
    assert 0 < PUBLISHED_8B - synth_size("bonsai-8b") < 0.0015 * PUBLISHED_8B
    metadata = architecture("qwen3").config_to_gguf(synth_config(SHAPES["bonsai-8b"]))
    published = {
        "general.architecture": "qwen3",
        "qwen3.attention.head_count": 32,
        "qwen3.attention.head_count_kv": 8,
        "qwen3.attention.key_length": 128,
        "qwen3.attention.layer_norm_rms_epsilon": 1e-6,
        "qwen3.attention.value_length": 128,
        "qwen3.block_count": 36,
        "qwen3.context_length": 65536,
        "qwen3.embedding_length": 4096,
        "qwen3.feed_forward_length": 12288,
        "qwen3.rope.freq_base": 1e6,
        "qwen3.rope.scaling.factor": 4.0,
        "qwen3.rope.scaling.original_context_length": 16384,
        "qwen3.rope.scaling.type": "yarn",
    }
    assert published.items() <= metadata.items()


def test_27b_has_the_tensors_of_the_published_file() -> None:
    """To the byte: what is before them is Qwen3.5's tokenizer, whose words and merges are longer than ours."""
    config = synth_config(SHAPES["bonsai-27b"])
    binary, dense = shapes(config)
    assert (len(binary), len(dense)) == (498, 353)
    data = sum(out * inner // 128 * 18 for out, inner in binary.values())
    data += sum(4 * prod(shape) for shape in dense.values())
    size, before = PUBLISHED_27B
    assert data == size - before == 3_792_459_776
    published = {
        "general.architecture": "qwen35",
        "qwen35.attention.head_count": 24,
        "qwen35.attention.head_count_kv": 4,
        "qwen35.attention.key_length": 256,
        "qwen35.attention.layer_norm_rms_epsilon": 1e-6,
        "qwen35.attention.value_length": 256,
        "qwen35.block_count": 64,
        "qwen35.context_length": 262144,
        "qwen35.embedding_length": 5120,
        "qwen35.feed_forward_length": 17408,
        "qwen35.full_attention_interval": 4,
        "qwen35.rope.dimension_count": 64,
        "qwen35.rope.dimension_sections": [11, 11, 10, 0],
        "qwen35.rope.freq_base": 1e7,
        "qwen35.ssm.conv_kernel": 4,
        "qwen35.ssm.group_count": 16,
        "qwen35.ssm.inner_size": 6144,
        "qwen35.ssm.state_size": 128,
        "qwen35.ssm.time_step_rank": 48,
    }
    assert published.items() <= architecture("qwen35").config_to_gguf(config).items()


def test_tokenizer_has_the_size_and_the_ids_of_qwen3() -> None:
    spec = synth_tokenizer(151_669)
    assert (len(spec.tokens), len(spec.merges)) == (151_669, 151_387)
    assert spec.tokens[151_643:151_646] == ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    assert (spec.eos_id, spec.pad_id, spec.bos_id, spec.add_bos) == (151_645, 151_643, None, False)
    assert Counter(spec.token_types) == {NORMAL: 151_643, CONTROL: 14, USER_DEFINED: 12}
    assert spec.chat_template == CHATML and spec.pre == "qwen2"


def test_small_file(tiny: Path) -> None:
    assert tiny.stat().st_size == synth_size("tiny")
    with GGUFFile(tiny) as file:
        assert Counter(str(info.quantization) for info in file.tensors.values()) == {"Q1_0": 16, "F32": 9}
        assert file.metadata["general.file_type"] == 41
        assert file.metadata["qwen3.rope.scaling.type"] == "yarn"
    with open_checkpoint(tiny) as checkpoint:
        assert not checkpoint.config["tie_word_embeddings"]
        assert checkpoint.config["rope_parameters"]["original_max_position_embeddings"] == 256
        assert (checkpoint.vector("model.norm") == 1).all()
        head = checkpoint.packed("lm_head").blocks
        scales, signs = scales_of(head), np.unpackbits(signs_of(head))
        assert 0.49 < signs.mean() < 0.51
        assert np.abs(scales * 16 - 1).max() <= 0.5 and scales.std() > 0


def test_small_hybrid(tmp_path: Path) -> None:
    path = synthesize(tmp_path / "hybrid.gguf", "tiny-hybrid")
    assert path.stat().st_size == synth_size("tiny-hybrid")
    with open_checkpoint(path) as checkpoint:
        assert checkpoint.architecture == "qwen35" and checkpoint.tokenizer().pre == "qwen35"
        name = "model.layers.0.linear_attn."
        assert (checkpoint.vector("model.norm") == 0).all() and (checkpoint.vector(f"{name}norm") == 1).all()
        assert (
            np.ptp(checkpoint.vector(f"{name}A_log")) > 0.5
            and np.ptp(checkpoint.vector(f"{name}dt_bias")) > 0.5
        )
        assert 0.2 < checkpoint.vector(f"{name}conv1d").std() < 0.4
    import torch

    from bankai.model import load

    model, tokenizer = load(path)
    ids = tokenizer.apply_chat_template([{"role": "user", "content": "the answer"}], return_tensors="pt")
    with torch.no_grad():
        logits = model(ids["input_ids"]).logits
    assert logits.isfinite().all() and 0.3 < logits.std() < 3


def test_seed_decides_every_byte(tiny: Path, tmp_path: Path) -> None:
    assert synthesize(tmp_path / "same.gguf", "tiny").read_bytes() == tiny.read_bytes()
    assert synthesize(tmp_path / "other.gguf", "tiny", seed=1).read_bytes() != tiny.read_bytes()


def test_progress_counts_to_the_last_tensor(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    synthesize(tmp_path / "a.gguf", "tiny", progress=lambda done, total: told.append((done, total)))
    assert told == [(done, 25) for done in range(25)]


def test_an_existing_file_is_refused(tiny: Path) -> None:
    before = tiny.read_bytes()
    with pytest.raises(StoreError, match="exists; give another name"):
        synthesize(tiny, "tiny", seed=2)
    assert tiny.read_bytes() == before


def test_a_failure_leaves_nothing_behind(tmp_path: Path) -> None:
    def fail(done: int, total: int) -> None:
        if done == 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        synthesize(tmp_path / "a.gguf", "tiny", progress=fail)
    assert list(tmp_path.iterdir()) == []


def test_it_loads_and_its_activations_are_sane(tiny: Path) -> None:
    import torch

    from bankai.model import load

    model, tokenizer = load(tiny)
    chat = tokenizer.apply_chat_template([{"role": "user", "content": "the answer"}], return_tensors="pt")
    with torch.no_grad():
        logits = model(chat["input_ids"]).logits
    assert logits.isfinite().all() and 0.3 < logits.std() < 3


@pytest.mark.engines
def test_llama_cpp_reads_it_as_we_do(tiny: Path) -> None:
    from bankai.evaluation import LlamaEngine, TorchEngine
    from bankai.model import load

    text = "the answer<|im_end|>\n<think>é 42"
    llama, ours = LlamaEngine(tiny, threads=1), TorchEngine(*load(tiny))
    ids = ours.tokenizer(text)["input_ids"]
    assert llama._llama.tokenize(text.encode(), add_bos=False, special=True) == ids
    # llama.cpp rounds activations to 8 bits.
    np.testing.assert_allclose(llama.logits(ids), ours.logits(ids), atol=0.2)
