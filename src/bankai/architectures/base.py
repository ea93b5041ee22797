"""What an architecture is: its tensors and settings in files, and how a layer of it is computed.

`Architecture` has the ways that decoders have in common: a token embedding, layers of attention and a gated MLP, each
behind a norm and added to the residual, a norm and a head. An architecture is a subclass of its own in a file of its
own, which says what differs. Nothing else knows its name.

Computing takes the modules and tensors of transformers' own model; files are read without torch.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bankai.architectures import settings
from bankai.architectures.order import Order
from bankai.architectures.settings import Config, RopeRules
from bankai.errors import UnknownTensorError, UnsupportedModelError
from bankai.tensor_names import EMBEDDING, HEAD, NORM, layer_tensor, parse_tensor_name

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = [
    "ATTENTION",
    "FULL_ATTENTION",
    "MLP",
    "Architecture",
    "Change",
    "Changes",
    "LayerKind",
    "Positions",
    "Shapes",
    "Vector",
]

FULL_ATTENTION = "full_attention"
"""Hugging Face's word for a layer in which every token sees all before it."""

Shapes = dict[str, tuple[int, ...]]
"""Shapes of tensors, outermost dimension first, by name or by path inside a layer."""
Vector = NDArray[np.float32]
"""A tensor that no patch changes, such as a norm."""

MLP = {
    "mlp.gate_proj": "ffn_gate.weight",
    "mlp.up_proj": "ffn_up.weight",
    "mlp.down_proj": "ffn_down.weight",
}
ATTENTION = {
    "self_attn.q_proj": "attn_q.weight",
    "self_attn.k_proj": "attn_k.weight",
    "self_attn.v_proj": "attn_v.weight",
    "self_attn.o_proj": "attn_output.weight",
}
_OUTSIDE = {EMBEDDING: "token_embd.weight", NORM: "output_norm.weight", HEAD: "output.weight"}


@dataclass(frozen=True, slots=True)
class LayerKind:
    """Tensors of one kind of layer: path inside the layer -> GGUF name inside the block.

    ``family``   what a user calls the projections of the mixer, such as ``attention``
    ``mixer``    weight matrices of what lets tokens see each other
    ``vectors``  all tensors that are no weight matrices
    ``mlp``      weight matrices of the MLP
    """

    family: str
    mixer: Mapping[str, str]
    vectors: Mapping[str, str]
    mlp: Mapping[str, str] = field(default_factory=lambda: MLP)

    @property
    def matrices(self) -> dict[str, str]:
        """Those of the mixer, then those of the MLP."""
        return {**self.mixer, **self.mlp}


@dataclass(frozen=True)
class Change:
    """Flipping row r of a projection changes an activation further on, ``at[..., r]``, by exactly ``by[..., r]``.

    Both are [sequences, length, rows]; ``at`` has a gradient, ``by`` has none. Where something far from linear lies
    between, the effect of a flip is better estimated there than at the projection's own output.
    """

    at: "Tensor"
    by: "Tensor"


Changes = dict[str, Change]
"""Exact changes by the path of their projection inside a layer."""


class Positions(NamedTuple):
    """Where tokens stand in their sequences, and what they see.

    ``rotary``  cosines and sines of the positions, shared by all sequences: two [1, length, ...]
    ``sight``   whether a token sees another: bool [1, 1, length, length]; None where it sees itself and all before it
    """

    rotary: tuple["Tensor", "Tensor"]
    sight: "Tensor | None" = None


class Architecture:
    """``name`` is GGUF's, ``model_type`` and ``model_class`` are Hugging Face's; ``layers`` by kind of layer.

    ``fixed``     settings without a GGUF key, with the one value of each that is supported
    ``optional``  tensors outside layers that a file may have: canonical name -> GGUF name
    ``rope``      what it knows of rotary positions
    ``mlx``       whether MLX directories of it can be read and written
    ``recurrent`` whether a layer keeps a state of all tokens before instead of their keys and values
    """

    name: ClassVar[str]
    model_type: ClassVar[str]
    model_class: ClassVar[str]
    layers: ClassVar[Mapping[str, LayerKind]]
    fixed: ClassVar[Mapping[str, Any]] = {}
    optional: ClassVar[Mapping[str, str]] = {}
    rope: ClassVar[RopeRules] = RopeRules()
    mlx: ClassVar[bool] = False
    recurrent: ClassVar[bool] = False

    # Settings

    def config_from_gguf(self, metadata: Mapping[str, Any], vocab_size: int, tied: bool) -> Config:
        """Normal form of GGUF metadata. `vocab_size` is how many rows the embedding has, `tied` that there is no head.

        Raises UnsupportedModelError and ModelFormatError.
        """
        raw = self.raw_from_gguf(metadata)
        return self.config_from_hf(
            raw | {"model_type": self.model_type, "vocab_size": vocab_size, "tie_word_embeddings": tied}
        )

    def raw_from_gguf(self, metadata: Mapping[str, Any]) -> Config:
        """Hugging Face keys of GGUF metadata, not checked yet. Raises UnsupportedModelError."""
        raw = settings.settings_from_gguf(metadata, self.name)
        settings.check_rope_keys(metadata, self.name, self.rope)
        self.check_rotation(metadata, raw.get("head_dim"))
        return raw | {"rope_parameters": settings.rope_from_gguf(metadata, self.name)}

    def config_from_hf(self, raw: Mapping[str, Any]) -> Config:
        """Normal form of a Hugging Face ``config.json``. Raises UnsupportedModelError and ModelFormatError."""
        settings.check_fixed(raw, self.fixed)
        settings.check_layer_types(raw, tuple(self.layers))
        config: Config = {"model_type": self.model_type, "architectures": [self.model_class], **self.fixed}
        config |= settings.settings_from_hf(raw)
        positions = config["max_position_embeddings"]
        return config | {"rope_parameters": settings.rope_from_hf(raw, positions, self.name, self.rope)}

    def config_to_gguf(self, config: Config) -> dict[str, Any]:
        """GGUF metadata of a configuration in normal form, without the tokenizer's keys."""
        return settings.settings_to_gguf(config, self.name)

    def check_rotation(self, metadata: Mapping[str, Any], head_dim: object) -> None:
        """Refuse rotation of a part of each head only. Raises UnsupportedModelError."""
        key = f"{self.name}.rope.dimension_count"
        if head_dim is not None and metadata.get(key, head_dim) != head_dim:
            raise UnsupportedModelError(f"{key} differs from the head size; not supported yet")

    def torch_config(self, config: Config) -> dict[str, Any]:
        """The arguments of transformers' configuration class."""
        return dict(config)

    def layer_kinds(self, config: Config) -> tuple[str, ...]:
        """The kind of every layer of a configuration in normal form, in Hugging Face's words."""
        layers: int = config["num_hidden_layers"]
        return (FULL_ATTENTION,) * layers

    def one_layer(self, config: Config, layer: int) -> Config:
        """The configuration of a model that has this layer alone."""
        return config | {"num_hidden_layers": 1}

    def check_llama_cpp(self, config: Config) -> None:
        """Raises UnsupportedModelError for a model at which llama.cpp would end this process."""

    def check_mlx(self) -> None:
        """Raises UnsupportedModelError for an architecture whose MLX directories are not known."""
        if not self.mlx:
            raise UnsupportedModelError(
                f"MLX directories of {self.name} are not supported yet; use its GGUF file"
            )

    # Tensors

    def matrix_shapes(self, config: Config) -> dict[str, tuple[int, int]]:
        """``(out, in)`` of every weight matrix by canonical name: embedding, layers in order, an untied head."""
        shapes: Any = self.shapes(config)
        body = {
            layer_tensor(at, path): shapes[path]
            for at, kind in enumerate(self.layer_kinds(config))
            for path in self.layers[kind].matrices
        }
        head = {} if config["tie_word_embeddings"] else {HEAD: shapes[HEAD]}
        return {EMBEDDING: shapes[EMBEDDING], **body, **head}

    def vector_shapes(self, config: Config) -> Shapes:
        """Shapes of all other tensors, in the order of the layers; without those that are optional."""
        shapes = self.shapes(config)
        body = {
            layer_tensor(at, path): shapes[path]
            for at, kind in enumerate(self.layer_kinds(config))
            for path in self.layers[kind].vectors
        }
        return {**body, NORM: shapes[NORM]}

    def weights(self, config: Config) -> int:
        """How many weights the matrices have."""
        return sum(map(prod, self.matrix_shapes(config).values()))

    def shapes(self, config: Config) -> Shapes:
        """Shapes by path inside a layer, and by name outside layers; of optional tensors too."""
        hidden, inner, head = config["hidden_size"], config["intermediate_size"], config["head_dim"]
        queries, keys = config["num_attention_heads"] * head, config["num_key_value_heads"] * head
        return {
            EMBEDDING: (config["vocab_size"], hidden),
            HEAD: (config["vocab_size"], hidden),
            NORM: (hidden,),
            "input_layernorm": (hidden,),
            "post_attention_layernorm": (hidden,),
            "self_attn.q_proj": (queries, hidden),
            "self_attn.k_proj": (keys, hidden),
            "self_attn.v_proj": (keys, hidden),
            "self_attn.o_proj": (hidden, queries),
            "mlp.gate_proj": (inner, hidden),
            "mlp.up_proj": (inner, hidden),
            "mlp.down_proj": (hidden, inner),
        }

    def gguf_name(self, name: str) -> str:
        """GGUF name of a canonical one. Raises UnknownTensorError."""
        outside, parsed = {**_OUTSIDE, **self.optional}, parse_tensor_name(name)
        if name in outside:
            return outside[name]
        if parsed.layer is not None and name == layer_tensor(parsed.layer, parsed.path):
            for kind in self.layers.values():
                for paths in (kind.matrices, kind.vectors):
                    if parsed.path in paths:
                        return f"blk.{parsed.layer}.{paths[parsed.path]}"
        raise UnknownTensorError(f"{self.name} has no tensor {name!r}; `bankai model MODEL` lists the names")

    def order(self, path: str, config: Config, group: int) -> Order:
        """The order in which GGUF keeps the tensor of that path, whose groups have `group` columns.

        Raises UnsupportedModelError where GGUF moves columns by less than whole groups.
        """
        return Order()

    def stored_shape(self, path: str, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape that a tensor of that path, canonically of `shape`, has in GGUF."""
        return shape

    def canonical_vector(self, path: str, stored: Vector, config: Config) -> Vector:
        """A vector from what GGUF keeps of it. Raises ModelFormatError for a value that no vector leads to."""
        return stored

    def stored_vector(self, path: str, vector: NDArray[Any], config: Config) -> NDArray[Any]:
        """What GGUF keeps of a vector."""
        return vector

    # Computing

    def kind_of(self, block: "nn.Module") -> LayerKind:
        """The kind of a layer of a loaded model."""
        return self.layers[FULL_ATTENTION]

    def mix(
        self, block: "nn.Module", hidden: "Tensor", positions: Positions, changes: Changes | None = None
    ) -> "Tensor":
        """The residual after the mixer of a layer: [sequences, length, hidden] to the same.

        Exact changes, where they are known, are noted in `changes` by path of the projection.
        """
        x = block.input_layernorm(hidden)
        output, _ = block.self_attn(
            hidden_states=x, position_embeddings=positions.rotary, attention_mask=positions.sight
        )
        return hidden + output

    def normed(self, block: "nn.Module", hidden: "Tensor") -> "Tensor":
        """What the MLP of a layer reads: [..., hidden] to the same."""
        return block.post_attention_layernorm(hidden)

    def transform(self, block: "nn.Module", hidden: "Tensor", changes: Changes | None = None) -> "Tensor":
        """What the MLP of a layer adds to the residual: [..., hidden] to the same, position by position."""
        mlp, x = block.mlp, self.normed(block, hidden)
        gate, up = mlp.gate_proj(x), mlp.up_proj(x)
        inner = mlp.act_fn(gate) * up
        if changes is not None:
            changes["mlp.gate_proj"] = Change(inner, -(gate * up).detach())  # silu(-g) = silu(g) - g
        return mlp.down_proj(inner)

    def prepare(self, model: "nn.Module", optional: Mapping[str, Vector]) -> None:
        """Finish a model whose weights are set, from the optional tensors of its file."""

    # Memory, from the elements that are alive together

    def layer_bytes(self, config: Config, sequences: int, length: int, item: int) -> int:
        """Bytes of activations in the heaviest kind of layer, without a gradient; numbers have `item` bytes."""
        hidden, inner, head = config["hidden_size"], config["intermediate_size"], config["head_dim"]
        queries, keys = config["num_attention_heads"] * head, config["num_key_value_heads"] * head
        # Gate, up and their product; or queries and keys before and after the rotation, and values, each with its copy.
        token: int = 4 * hidden + max(3 * inner, 6 * (queries + keys))
        return sequences * length * item * token

    def step_bytes(self, config: Config, sequences: int, length: int, item: int) -> int:
        """Bytes of a step of attribution through the heaviest kind of layer: gradients, and activations kept for them.

        Numbers have `item` bytes.
        """
        queries: int = config["num_attention_heads"] * config["head_dim"]
        return sequences * length * item * (self._mlp_step(config) + 6 * queries)

    @staticmethod
    def _mlp_step(config: Config) -> int:
        """Elements of one token that the MLP and the residual keep in a step of attribution."""
        elements: int = 16 * config["hidden_size"] + 8 * config["intermediate_size"]
        return elements
