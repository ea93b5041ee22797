"""Names: the map is one to one, and agrees with the gguf package's own."""

import gguf
import pytest

from bankai.architectures.names import FULL_ATTENTION, LINEAR_ATTENTION, architecture, check_mlx, in_layer
from bankai.errors import UnknownTensorError, UnsupportedModelError

QWEN3, QWEN35 = architecture("qwen3"), architecture("qwen35")
FULL = [FULL_ATTENTION] * 12
MIXED = [LINEAR_ATTENTION, LINEAR_ATTENTION, LINEAR_ATTENTION, FULL_ATTENTION] * 3


def test_layer_order() -> None:
    names = QWEN3.binary_names(FULL[:2], tied=False)
    assert names[:3] == (
        "model.embed_tokens",
        "model.layers.0.self_attn.q_proj",
        "model.layers.0.self_attn.k_proj",
    )
    assert names[-2:] == ("model.layers.1.mlp.down_proj", "lm_head")
    assert len(names) == 2 + 2 * 7
    assert QWEN3.binary_names(FULL[:2], tied=True) == names[:-1]
    assert len(QWEN3.dense_names(FULL[:2])) == 1 + 2 * 4 and QWEN3.dense_names(FULL[:2])[-1] == "model.norm"


def test_layers_of_a_hybrid_have_the_tensors_of_their_kind() -> None:
    names = QWEN35.binary_names(MIXED[2:4], tied=True)
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
    assert len(QWEN35.dense_names(MIXED[2:4])) == 6 + 4 + 1


@pytest.mark.parametrize(
    ("arch", "kinds", "gguf_arch"),
    [(QWEN3, FULL, gguf.MODEL_ARCH.QWEN3), (QWEN35, MIXED, gguf.MODEL_ARCH.QWEN35)],
    ids=["qwen3", "qwen35"],
)
def test_one_to_one_and_as_the_gguf_package_has_it(arch, kinds, gguf_arch) -> None:  # type: ignore[no-untyped-def]
    witness = gguf.get_tensor_name_map(gguf_arch, 12)
    names = (*arch.binary_names(kinds, tied=False), *arch.dense_names(kinds))
    for name in names:
        there = arch.to_gguf(name)
        # the converter calls the bias of the time steps so before it looks it up, and gives decays no suffix
        stem = witness.get_name(name.replace("dt_bias", "dt_proj"))
        assert there == {"dt_bias": f"{stem}.bias", "A_log": stem}.get(name.split(".")[-1], f"{stem}.weight")
        assert arch.from_gguf(there) == name
        assert arch.from_mlx(arch.to_mlx(name)) == name
    assert len({arch.to_gguf(name) for name in names}) == len(names)


def test_path_inside_a_layer() -> None:
    assert in_layer("model.layers.17.mlp.up_proj") == "mlp.up_proj"
    for name in ("lm_head", "model.norm", "model.layers.x.mlp.up_proj", "model.layers.01.mlp.up_proj"):
        assert in_layer(name) is None


@pytest.mark.parametrize(
    "name",
    [
        "",
        "model",
        "model.layers.0",
        "model.layers.0.mlp.up",
        "model.layers.00.mlp.up_proj",
        "model.layers.-1.mlp.up_proj",
        "model.layers.²..mlp.up_proj",
        "model.layers.x.mlp.up_proj",
        "model.layers.0.mlp.up_proj.weight",
    ],
)
def test_unknown_canonical_names(name: str) -> None:
    with pytest.raises(UnknownTensorError):
        QWEN3.to_gguf(name)
    with pytest.raises(UnknownTensorError):
        QWEN3.from_mlx(f"{name}.weight")


@pytest.mark.parametrize(
    "name", ["", "output", "rope.weight", "blk.0.weight", "blk.0.ffn_x.weight", "blk.01.ffn_up.weight"]
)
def test_unknown_file_names(name: str) -> None:
    with pytest.raises(UnknownTensorError):
        QWEN3.from_gguf(name)


def test_an_mlx_name_must_be_a_weight() -> None:
    with pytest.raises(UnknownTensorError):
        QWEN3.from_mlx("lm_head.scales")


def test_both_names_of_an_architecture() -> None:
    assert architecture("qwen3_5_text") is QWEN35 and architecture("qwen3") is QWEN3
    assert QWEN35.hybrid and not QWEN3.hybrid


def test_mlx_of_a_hybrid_is_refused() -> None:
    check_mlx(QWEN3)
    with pytest.raises(UnsupportedModelError, match="MLX directories of qwen35 .* use its GGUF file"):
        check_mlx(QWEN35)


def test_unknown_architectures() -> None:
    for name in ("qwen35moe", "qwen3_5", "llama", None, ["qwen3"]):
        with pytest.raises(UnsupportedModelError, match="qwen3, qwen35"):
            architecture(name)
