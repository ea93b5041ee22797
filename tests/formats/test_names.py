"""Names: the map is one to one, and agrees with the gguf package's own."""

import gguf
import pytest

from bankai.errors import UnknownTensorError, UnsupportedModelError
from bankai.formats.names import architecture

QWEN3 = architecture("qwen3")


def test_layer_order() -> None:
    names = QWEN3.binary_names(2, tied=False)
    assert names[:3] == (
        "model.embed_tokens",
        "model.layers.0.self_attn.q_proj",
        "model.layers.0.self_attn.k_proj",
    )
    assert names[-2:] == ("model.layers.1.mlp.down_proj", "lm_head")
    assert len(names) == 2 + 2 * 7
    assert QWEN3.binary_names(2, tied=True) == names[:-1]
    assert len(QWEN3.dense_names(2)) == 1 + 2 * 4 and QWEN3.dense_names(2)[-1] == "model.norm"


def test_one_to_one_and_as_the_gguf_package_has_it() -> None:
    witness = gguf.get_tensor_name_map(gguf.MODEL_ARCH.QWEN3, 12)
    names = (*QWEN3.binary_names(12, tied=False), *QWEN3.dense_names(12))
    for name in names:
        there = QWEN3.to_gguf(name)
        assert there == f"{witness.get_name(name)}.weight"
        assert QWEN3.from_gguf(there) == name
        assert QWEN3.from_mlx(QWEN3.to_mlx(name)) == name
    assert len({QWEN3.to_gguf(name) for name in names}) == len(names)


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


def test_unknown_architectures() -> None:
    for name in ("qwen35", "llama", None, ["qwen3"]):
        with pytest.raises(UnsupportedModelError, match="qwen3"):
            architecture(name)
