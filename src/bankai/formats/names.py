"""The only map between canonical (Hugging Face), GGUF and MLX tensor names.

Canonical names are module paths without ``.weight``: ``model.layers.0.mlp.up_proj``. MLX files use the same
paths and append ``.weight``, ``.scales`` and ``.biases``; GGUF has its own (``blk.0.ffn_up.weight``).

Row order: for every architecture listed here, row ``r`` of a tensor is the same output in all three. One that
reorders rows in GGUF (``llama`` interleaves the heads of q and k) would need a row map beside its names here,
used where checkpoint.py takes its views.

This module knows no shapes and no files.
"""

from dataclasses import dataclass

from bankai.errors import UnknownTensorError, UnsupportedModelError
from bankai.formats.files import quote

__all__ = ["ARCHITECTURES", "EMBEDDING", "HEAD", "NORM", "Architecture", "architecture"]

EMBEDDING = "model.embed_tokens"
HEAD = "lm_head"
NORM = "model.norm"

_GGUF_TOP = {EMBEDDING: "token_embd", NORM: "output_norm", HEAD: "output"}


@dataclass(frozen=True, slots=True)
class Architecture:
    """Tensors of one architecture: module path inside a layer -> GGUF name inside a block."""

    name: str
    model_class: str
    binary: dict[str, str]
    dense: dict[str, str]

    def binary_names(self, layers: int, tied: bool) -> tuple[str, ...]:
        """Canonical names of all binary tensors in layer order: embedding, layers, then an untied head."""
        body = [f"model.layers.{layer}.{module}" for layer in range(layers) for module in self.binary]
        return (EMBEDDING, *body, *(() if tied else (HEAD,)))

    def dense_names(self, layers: int) -> tuple[str, ...]:
        """Canonical names of all norms in layer order."""
        body = [f"model.layers.{layer}.{module}" for layer in range(layers) for module in self.dense]
        return (*body, NORM)

    def to_gguf(self, name: str) -> str:
        """GGUF name, with ``.weight``, of a canonical one. Raises UnknownTensorError."""
        if name in _GGUF_TOP:
            return f"{_GGUF_TOP[name]}.weight"
        match name.split(".", 3):
            case ["model", "layers", layer, module] if _is_index(layer):
                inner = self.binary.get(module) or self.dense.get(module)
                if inner:
                    return f"blk.{layer}.{inner}.weight"
        raise UnknownTensorError(f"{self.name} has no tensor {name!r}; `bankai model MODEL` lists the names")

    def from_gguf(self, name: str) -> str:
        """Canonical name of a GGUF one. Raises UnknownTensorError."""
        stem = name.removesuffix(".weight")
        if stem != name:
            top = {gguf: canonical for canonical, gguf in _GGUF_TOP.items()}
            if stem in top:
                return top[stem]
            inner = {gguf: module for module, gguf in (self.binary | self.dense).items()}
            match stem.split(".", 2):
                case ["blk", layer, block] if block in inner and _is_index(layer):
                    return f"model.layers.{layer}.{inner[block]}"
        raise UnknownTensorError(f"{self.name} has no GGUF tensor {name!r}; use a file of this architecture")

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


ARCHITECTURES = {
    "qwen3": Architecture(
        name="qwen3",
        model_class="Qwen3ForCausalLM",
        binary={
            "self_attn.q_proj": "attn_q",
            "self_attn.k_proj": "attn_k",
            "self_attn.v_proj": "attn_v",
            "self_attn.o_proj": "attn_output",
            "mlp.gate_proj": "ffn_gate",
            "mlp.up_proj": "ffn_up",
            "mlp.down_proj": "ffn_down",
        },
        dense={
            "input_layernorm": "attn_norm",
            "self_attn.q_norm": "attn_q_norm",
            "self_attn.k_norm": "attn_k_norm",
            "post_attention_layernorm": "ffn_norm",
        },
    )
}


def architecture(name: object) -> Architecture:
    """The architecture of that GGUF or Hugging Face name. Raises UnsupportedModelError."""
    if isinstance(name, str) and name in ARCHITECTURES:
        return ARCHITECTURES[name]
    known = ", ".join(ARCHITECTURES)
    raise UnsupportedModelError(f"architecture {quote(name)} is not supported yet; use a model of: {known}")
