"""A Qwen3 forward pass in MLX over 1-bit weights, as mlx-lm does it, for one sequence at a time.

Independent of the torch model: only the bits come from the same file. Importing this module needs mlx.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from bankai.architectures import architecture
from bankai.checkpoint.model_file import Checkpoint
from bankai.errors import UnsupportedModelError
from bankai.quantization import PackedTensor
from bankai.quantization.one_bit import Q1_0, scales_of, signs_of
from bankai.tensor_names import EMBEDDING, HEAD

__all__ = ["MlxQwen3"]

_PACKING = {"group_size": Q1_0.weights, "bits": 1}


class _Packed:
    """MLX's arrays of a 1-bit matrix: w = scale * bit + bias with scale 2d and bias -d, here in float32."""

    def __init__(self, tensor: PackedTensor) -> None:
        scales = np.array(scales_of(tensor.blocks), dtype=np.float32)
        words = np.array(signs_of(tensor.blocks)).view("<u4").reshape(len(scales), -1)  # [out, in / 32]
        self.arrays = mx.array(words), mx.array(2 * scales), mx.array(-scales)

    def product(self, x: mx.array) -> mx.array:
        """[tokens, in] to [tokens, out]."""
        return mx.quantized_matmul(x, *self.arrays, transpose=True, **_PACKING)

    def rows(self, ids: mx.array) -> mx.array:
        """[tokens] to [tokens, in]."""
        return mx.dequantize(*(array[ids] for array in self.arrays), **_PACKING)


class MlxQwen3:
    """Qwen3 of an open checkpoint; keeps its own copies of the weights. Raises UnsupportedModelError for another."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        architecture(checkpoint.architecture).check_mlx()
        if others := {info.quantization.name for info in checkpoint.matrices.values()} - {Q1_0.name}:
            raise UnsupportedModelError(
                f"the mlx engine computes 1-bit models only, not {', '.join(sorted(others))}; use torch"
            )
        self._config = checkpoint.config
        self._packed = {name: _Packed(checkpoint.packed(name)) for name in checkpoint.matrices}
        self._norms = {name: mx.array(np.array(checkpoint.vector(name))) for name in checkpoint.vectors}
        self._frequencies, self._amplitude = _rope_frequencies(self._config)

    def logits(self, ids: Sequence[int]) -> NDArray[np.float32]:
        """Next-token logits after every token: [tokens, vocab]."""
        # The CPU back end is the one that every machine has; results do not depend on the machine's GPU.
        with mx.stream(mx.cpu):
            x = self._packed[EMBEDDING].rows(mx.array(list(ids)))
            for layer in range(self._config["num_hidden_layers"]):
                x = x + self._attention(f"model.layers.{layer}", x)
                x = x + self._mlp(f"model.layers.{layer}", x)
            head = self._packed.get(HEAD, self._packed[EMBEDDING])
            return np.array(head.product(self._norm("model.norm", x)), dtype=np.float32)

    def _norm(self, name: str, x: mx.array) -> mx.array:
        return mx.fast.rms_norm(x, self._norms[name], self._config["rms_norm_eps"])

    def _mlp(self, layer: str, x: mx.array) -> mx.array:
        x = self._norm(f"{layer}.post_attention_layernorm", x)
        gate = self._packed[f"{layer}.mlp.gate_proj"].product(x)
        inner = gate * mx.sigmoid(gate) * self._packed[f"{layer}.mlp.up_proj"].product(x)
        return self._packed[f"{layer}.mlp.down_proj"].product(inner)

    def _attention(self, layer: str, x: mx.array) -> mx.array:
        x = self._norm(f"{layer}.input_layernorm", x)
        query, key, value = (self._heads(layer, name, x) for name in "qkv")  # [1, heads, tokens, head_dim]
        query = self._rotate(self._norm(f"{layer}.self_attn.q_norm", query))
        key = self._rotate(self._norm(f"{layer}.self_attn.k_norm", key))
        scale = self._config["head_dim"] ** -0.5
        y = mx.fast.scaled_dot_product_attention(query, key, value, scale=scale, mask="causal")
        y = y[0].transpose(1, 0, 2).reshape(len(x), -1)
        return self._packed[f"{layer}.self_attn.o_proj"].product(y)

    def _heads(self, layer: str, name: str, x: mx.array) -> mx.array:
        y = self._packed[f"{layer}.self_attn.{name}_proj"].product(x)
        return y.reshape(1, len(x), -1, self._config["head_dim"]).transpose(0, 2, 1, 3)

    def _rotate(self, x: mx.array) -> mx.array:
        """Rotary positions; the two halves of a head form the pairs. [1, heads, tokens, head_dim]."""
        angles = mx.arange(x.shape[2])[:, None] * self._frequencies  # [tokens, head_dim / 2]
        cos, sin = mx.cos(angles) * self._amplitude, mx.sin(angles) * self._amplitude
        left, right = mx.split(x, 2, axis=-1)
        return mx.concatenate([left * cos - right * sin, right * cos + left * sin], axis=-1)


def _rope_frequencies(config: Mapping[str, Any]) -> tuple[mx.array, float]:
    """Angle per position [head_dim / 2] and amplitude; YaRN as in Peng et al. (2023), sections 3.2 to 3.4."""
    rope, dim = config["rope_parameters"], config["head_dim"]
    base = rope["rope_theta"]
    frequencies = base ** -(np.arange(0, dim, 2) / dim)
    if rope["rope_type"] == "default":
        return mx.array(frequencies.astype(np.float32)), 1.0
    factor = rope["factor"]
    if rope["rope_type"] == "linear":
        return mx.array((frequencies / factor).astype(np.float32)), 1.0
    original = rope["original_max_position_embeddings"]

    def dimension(rotations: float) -> float:
        """The pair that turns this often over the original context."""
        return dim * math.log(original / (rotations * 2 * math.pi)) / (2 * math.log(base))

    low = max(math.floor(dimension(rope.get("beta_fast", 32.0))), 0)
    high = min(math.ceil(dimension(rope.get("beta_slow", 1.0))), dim - 1)
    slow = np.clip((np.arange(dim // 2) - low) / max(high - low, 0.001), 0, 1)  # 1: interpolate fully
    frequencies = frequencies * (1 - slow) + frequencies / factor * slow
    amplitude = 0.1 * math.log(factor) + 1 if factor > 1 else 1.0
    return mx.array(frequencies.astype(np.float32)), amplitude
