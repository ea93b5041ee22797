"""The only map between canonical (Hugging Face), GGUF and MLX tensor names.

Canonical names are module paths without ``.weight``: ``model.layers.0.mlp.up_proj``. MLX files use the same
paths and append ``.weight``, ``.scales`` and ``.biases``; GGUF has its own (``blk.0.ffn_up.weight``).

Row ``r`` of a tensor is the same output in Hugging Face's modules and in MLX. In which order, and how, GGUF keeps
rows, columns and values is the business of ``order.py``, the only other map.

This module knows no shapes and no files.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from bankai.errors import UnknownTensorError, UnsupportedModelError
from bankai.io import quote

__all__ = [
    "ARCHITECTURES",
    "EMBEDDING",
    "FULL_ATTENTION",
    "HEAD",
    "LINEAR_ATTENTION",
    "NORM",
    "Architecture",
    "Tensors",
    "architecture",
    "check_mlx",
    "in_layer",
]

EMBEDDING = "model.embed_tokens"
HEAD = "lm_head"
NORM = "model.norm"

# Hugging Face's words for the kinds of layers.
FULL_ATTENTION, LINEAR_ATTENTION = "full_attention", "linear_attention"

_GGUF_TOP = {EMBEDDING: "token_embd.weight", NORM: "output_norm.weight", HEAD: "output.weight"}


@dataclass(frozen=True, slots=True)
class Tensors:
    """Tensors of one kind of layer: path inside a layer -> GGUF name inside a block."""

    binary: dict[str, str]
    dense: dict[str, str]

    def __or__(self, other: "Tensors") -> "Tensors":
        return Tensors(self.binary | other.binary, self.dense | other.dense)


@dataclass(frozen=True, slots=True)
class Architecture:
    """``name`` is GGUF's, ``model_type`` and ``model_class`` are Hugging Face's; ``layers`` by kind of layer.

    ``mlx``: whether MLX directories of it can be read and written.
    """

    name: str
    model_type: str
    model_class: str
    layers: dict[str, Tensors]
    mlx: bool = True

    @property
    def hybrid(self) -> bool:
        """Whether some layers have linear attention."""
        return LINEAR_ATTENTION in self.layers

    def binary_names(self, kinds: Sequence[str], tied: bool) -> tuple[str, ...]:
        """Canonical names of all binary tensors: embedding, layers of these kinds, then an untied head."""
        body = [
            f"model.layers.{at}.{path}" for at, kind in enumerate(kinds) for path in self.layers[kind].binary
        ]
        return (EMBEDDING, *body, *(() if tied else (HEAD,)))

    def dense_names(self, kinds: Sequence[str]) -> tuple[str, ...]:
        """Canonical names of all other tensors, most of them norms, in the order of the layers."""
        body = [
            f"model.layers.{at}.{path}" for at, kind in enumerate(kinds) for path in self.layers[kind].dense
        ]
        return (*body, NORM)

    def to_gguf(self, name: str) -> str:
        """GGUF name of a canonical one. Raises UnknownTensorError."""
        if name in _GGUF_TOP:
            return _GGUF_TOP[name]
        path = in_layer(name)
        if path is not None and path in self._blocks:
            return f"blk.{name.split('.')[2]}.{self._blocks[path]}"
        raise UnknownTensorError(f"{self.name} has no tensor {name!r}; `bankai model MODEL` lists the names")

    def from_gguf(self, name: str) -> str:
        """Canonical name of a GGUF one. Raises UnknownTensorError."""
        top = {gguf: canonical for canonical, gguf in _GGUF_TOP.items()}
        if name in top:
            return top[name]
        inner = {gguf: path for path, gguf in self._blocks.items()}
        match name.split(".", 2):
            case ["blk", layer, block] if block in inner and _is_index(layer):
                return f"model.layers.{layer}.{inner[block]}"
        raise UnknownTensorError(f"{self.name} has no GGUF tensor {name!r}; use a file of this architecture")

    @property
    def _blocks(self) -> dict[str, str]:
        """Path inside a layer -> GGUF name inside a block, of all kinds of layers."""
        return {
            path: gguf for kind in self.layers.values() for path, gguf in (kind.binary | kind.dense).items()
        }

    def to_mlx(self, name: str) -> str:
        """MLX name of the weight of a canonical one."""
        return f"{name}.weight"

    def from_mlx(self, name: str) -> str:
        """Canonical name of an MLX weight. Raises UnknownTensorError."""
        canonical = name.removesuffix(".weight")
        if canonical == name:
            raise UnknownTensorError(f"{self.name} has no MLX weight {name!r}; weights end in .weight")
        self.to_gguf(canonical)
        return canonical


def _is_index(text: str) -> bool:
    """True for a layer number as it is written: ASCII digits, no leading zero."""
    return text.isascii() and text.isdigit() and (text == "0" or text[0] != "0")


def in_layer(name: str) -> str | None:
    """Path inside its layer of a canonical name, such as ``mlp.up_proj``; None for a tensor of no layer."""
    match name.split(".", 3):
        case ["model", "layers", layer, path] if _is_index(layer):
            return path
    return None


_MLP = {
    "mlp.gate_proj": "ffn_gate.weight",
    "mlp.up_proj": "ffn_up.weight",
    "mlp.down_proj": "ffn_down.weight",
}
_ATTENTION = Tensors(
    binary={
        "self_attn.q_proj": "attn_q.weight",
        "self_attn.k_proj": "attn_k.weight",
        "self_attn.v_proj": "attn_v.weight",
        "self_attn.o_proj": "attn_output.weight",
        **_MLP,
    },
    dense={
        "input_layernorm": "attn_norm.weight",
        "self_attn.q_norm": "attn_q_norm.weight",
        "self_attn.k_norm": "attn_k_norm.weight",
        "post_attention_layernorm": "ffn_norm.weight",
    },
)
_LATER_NORM = Tensors({}, {"post_attention_layernorm": "post_attention_norm.weight"})
_LINEAR_ATTENTION = Tensors(
    binary={
        "linear_attn.in_proj_qkv": "attn_qkv.weight",
        "linear_attn.in_proj_z": "attn_gate.weight",
        "linear_attn.in_proj_b": "ssm_beta.weight",
        "linear_attn.in_proj_a": "ssm_alpha.weight",
        "linear_attn.out_proj": "ssm_out.weight",
        **_MLP,
    },
    dense={
        "input_layernorm": "attn_norm.weight",
        "linear_attn.conv1d": "ssm_conv1d.weight",
        "linear_attn.A_log": "ssm_a",
        "linear_attn.dt_bias": "ssm_dt.bias",
        "linear_attn.norm": "ssm_norm.weight",
    },
)

ARCHITECTURES = {
    "qwen3": Architecture("qwen3", "qwen3", "Qwen3ForCausalLM", {FULL_ATTENTION: _ATTENTION}),
    "qwen35": Architecture(
        "qwen35",
        "qwen3_5_text",
        "Qwen3_5ForCausalLM",
        {FULL_ATTENTION: _ATTENTION | _LATER_NORM, LINEAR_ATTENTION: _LINEAR_ATTENTION | _LATER_NORM},
        mlx=False,
    ),
}


def architecture(name: object) -> Architecture:
    """The architecture of that GGUF or Hugging Face name. Raises UnsupportedModelError."""
    for found in ARCHITECTURES.values():
        if isinstance(name, str) and name in (found.name, found.model_type):
            return found
    known = ", ".join(ARCHITECTURES)
    raise UnsupportedModelError(f"architecture {quote(name)} is not supported yet; use a model of: {known}")


def check_mlx(names: Architecture) -> None:
    """Raises UnsupportedModelError for an architecture whose MLX directories are not known."""
    if not names.mlx:
        raise UnsupportedModelError(
            f"MLX directories of {names.name} are not supported yet; use its GGUF file"
        )
