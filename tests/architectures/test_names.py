"""Names: the map is one to one, and agrees with the gguf package's own."""

from typing import Any

import gguf
import pytest
from builders import LLAMA, tiny_config
from hybrid import HYBRID

from bankai.architectures import ARCHITECTURES, PROJECTION_FAMILIES, PROJECTIONS, architecture
from bankai.errors import UnknownTensorError, UnsupportedModelError

QWEN3, QWEN35, LLAMA_ARCH = (architecture(name) for name in ("qwen3", "qwen35", "llama"))


def test_layer_order() -> None:
    config = tiny_config()
    names = tuple(QWEN3.matrix_shapes(config))
    assert names[:3] == (
        "model.embed_tokens",
        "model.layers.0.self_attn.q_proj",
        "model.layers.0.self_attn.k_proj",
    )
    assert names[-2:] == ("model.layers.1.mlp.down_proj", "lm_head")
    assert len(names) == 2 + 2 * 7
    assert tuple(QWEN3.matrix_shapes(tiny_config(tie_word_embeddings=True))) == names[:-1]
    vectors = tuple(QWEN3.vector_shapes(config))
    assert len(vectors) == 1 + 2 * 4 and vectors[-1] == "model.norm"


def test_layers_of_a_hybrid_have_the_tensors_of_their_kind() -> None:
    config = tiny_config(**HYBRID | {"tie_word_embeddings": True, "num_hidden_layers": 2})
    names = tuple(QWEN35.matrix_shapes(config))
    assert [name.removeprefix("model.layers.") for name in names[1:9]] == [
        "0.linear_attn.in_proj_qkv",
        "0.linear_attn.in_proj_z",
        "0.linear_attn.in_proj_b",
        "0.linear_attn.in_proj_a",
        "0.linear_attn.out_proj",
        "0.mlp.gate_proj",
        "0.mlp.up_proj",
        "0.mlp.down_proj",
    ]
    assert names[9] == "model.layers.1.self_attn.q_proj" and len(names) == 1 + 8 + 7
    assert len(QWEN35.vector_shapes(config)) == 6 + 4 + 1


@pytest.mark.parametrize(
    ("arch", "changes", "gguf_arch"),
    [
        (QWEN3, {}, gguf.MODEL_ARCH.QWEN3),
        (QWEN35, HYBRID, gguf.MODEL_ARCH.QWEN35),
        (LLAMA_ARCH, LLAMA, gguf.MODEL_ARCH.LLAMA),
    ],
    ids=["qwen3", "qwen35", "llama"],
)
def test_one_to_one_and_as_the_gguf_package_has_it(
    arch: Any, changes: dict[str, Any], gguf_arch: Any
) -> None:
    witness, config = gguf.get_tensor_name_map(gguf_arch, 12), tiny_config(**changes)
    names = (*arch.matrix_shapes(config), *arch.vector_shapes(config))
    for name in names:
        there = arch.gguf_name(name)
        # the converter calls the bias of the time steps so before it looks it up, and gives decays no suffix
        stem = witness.get_name(name.replace("dt_bias", "dt_proj"))
        assert there == {"dt_bias": f"{stem}.bias", "A_log": stem}.get(name.split(".")[-1], f"{stem}.weight")
    assert len({arch.gguf_name(name) for name in names}) == len(names)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "model",
        "model.layers.0",
        "model.layers.0.mlp.up",
        "model.layers.00.mlp.up_proj",
        "model.layers.-1.mlp.up_proj",
        "model.layers.².mlp.up_proj",
        "model.layers.x.mlp.up_proj",
        "experts.0.mlp.up_proj",
        "mlp.up_proj",
        "model.layers.0.mlp.up_proj.weight",
    ],
)
def test_unknown_canonical_names(name: str) -> None:
    with pytest.raises(UnknownTensorError):
        QWEN3.gguf_name(name)


def test_both_names_of_an_architecture() -> None:
    assert architecture("qwen3_5_text") is QWEN35 and architecture("qwen3") is QWEN3
    assert QWEN35.recurrent and not QWEN3.recurrent


def test_mlx_of_a_hybrid_is_refused() -> None:
    QWEN3.check_mlx()
    with pytest.raises(UnsupportedModelError, match="MLX directories of qwen35 .* use its GGUF file"):
        QWEN35.check_mlx()


def test_unknown_architectures() -> None:
    for name in ("qwen35moe", "qwen3_5", "gemma3", None, ["qwen3"]):
        with pytest.raises(UnsupportedModelError, match="qwen3, qwen35, llama"):
            architecture(name)


def test_projections_are_those_of_all_architectures() -> None:
    there = {path for arch in ARCHITECTURES for kind in arch.layers.values() for path in kind.matrices}
    assert (
        set(PROJECTIONS.values())
        == there
        == {path for paths in PROJECTION_FAMILIES.values() for path in paths}
    )
    assert set(PROJECTION_FAMILIES) == {"mlp", "attention", "linear-attention"}
