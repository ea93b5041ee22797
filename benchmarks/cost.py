"""What the steps of a search cost on a model of a given shape: operations, weights unpacked, tokens drawn.

Counted from the shapes of the matrices and from what `bankai.search` does at each step. Left out as small: attention
scores and the state of linear attention, norms, and the rank-1 change of the flipped row itself.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from bankai.architectures import architecture
from bankai.checkpoint.synth import SHAPES, synth_config
from bankai.quantization.one_bit import Q1_0
from bankai.search.parts import LOGITS
from bankai.tensor_names import EMBEDDING, HEAD

__all__ = ["Machine", "Model", "Work", "fitted"]


@dataclass(frozen=True)
class Work:
    """Floating-point operations, weights expanded from their bits, layers run, numbers that a draw looks at."""

    flops: float = 0.0
    unpacked: float = 0.0
    layers: float = 0.0
    drawn: float = 0.0

    def __add__(self, other: "Work") -> "Work":
        return Work(
            self.flops + other.flops,
            self.unpacked + other.unpacked,
            self.layers + other.layers,
            self.drawn + other.drawn,
        )


@dataclass(frozen=True)
class Machine:
    """What computes, per second; `unpack` is infinite where expanded weights are kept. `call` are seconds per layer."""

    name: str
    flops: float
    unpack: float = math.inf
    draw: float = math.inf
    call: float = 0.0

    def times(self, ratio: float) -> "Machine":
        """One that computes and expands so many times as fast."""
        return replace(self, flops=self.flops * ratio, unpack=self.unpack * ratio)

    def seconds(self, work: Work) -> float:
        """One step after the other; nothing overlaps."""
        return (
            work.flops / self.flops
            + work.unpacked / self.unpack
            + work.drawn / self.draw
            + work.layers * self.call
        )


@dataclass(frozen=True)
class Model:
    """Weights of all matrices of each layer, of one MLP, of the head, and of everything that is stored."""

    name: str
    layers: tuple[int, ...]
    mlp: int
    head: int
    stored: int
    hidden: int
    inner: int
    vocabulary: int

    @classmethod
    def of(cls, name: str) -> "Model":
        """One of the shapes of `bankai.checkpoint.synth`."""
        return cls.of_config(name, synth_config(SHAPES[name]))

    @classmethod
    def of_config(cls, name: str, config: Mapping[str, Any]) -> "Model":
        """From a configuration in normal form."""
        sizes = {
            tensor: math.prod(shape)
            for tensor, shape in architecture(config["model_type"]).matrix_shapes(config).items()
        }
        layers = [0] * config["num_hidden_layers"]
        for tensor, size in sizes.items():
            if tensor.startswith("model.layers."):
                layers[int(tensor.split(".")[2])] += size
        return cls(
            name,
            tuple(layers),
            sum(size for tensor, size in sizes.items() if tensor.startswith("model.layers.0.mlp.")),
            sizes.get(HEAD, sizes[EMBEDDING]),
            sum(sizes.values()),
            config["hidden_size"],
            config["intermediate_size"],
            config["vocab_size"],
        )

    @property
    def packed_bytes(self) -> int:
        """18 bytes for 128 weights."""
        return self.stored // Q1_0.weights * Q1_0.nbytes

    @property
    def rows(self) -> int:
        """Of gate, up and down in all layers."""
        return len(self.layers) * (2 * self.inner + self.hidden)

    @property
    def groups(self) -> int:
        """Of 128 weights, in the same matrices."""
        return len(self.layers) * self.mlp // Q1_0.weights

    def cached(self, tokens: int, item: int) -> int:
        """Bytes of a stream that is cached: two residuals per layer and token, of so many bytes a number."""
        return 2 * len(self.layers) * self.hidden * item * tokens

    def reading(self, positions: int, *, passes: int = 1) -> Work:
        """Head and softmax at so many positions; as many logits at once as fit, each time with the whole head."""
        at_once = max(1, LOGITS // self.vocabulary)
        unpacked = passes * math.ceil(positions / passes / at_once) * self.head
        return Work(2.0 * self.head * positions, unpacked)

    def refreshing(self, tokens: int) -> Work:
        """The cached stream of a new state: all layers."""
        weights = sum(self.layers)
        return Work(2.0 * weights * tokens, weights, len(self.layers))

    def plainly(self, tokens: int, positions: int) -> Work:
        """A full forward that reads so many positions."""
        return self.refreshing(tokens) + self.reading(positions)

    def measuring(
        self, tokens: int, positions: int, layer: int, candidates: int = 1, *, texts: bool = False
    ) -> Work:
        """Candidates that begin with rows of an MLP in that layer, from the cached stream.

        The layers after it, of the last one the MLP at the read positions only, and the head.
        """
        after = self.layers[layer + 1 :]
        operations = 2.0 * tokens * sum(after)
        if after:
            operations -= 2.0 * self.mlp * (tokens - positions)
        suffix = Work(candidates * operations, sum(after), len(after))
        return suffix + self.reading(candidates * positions, passes=candidates if texts else 1)

    def attributing(self, tokens: int, positions: int, *, texts: bool = False) -> Work:
        """Of every place: each layer forward and backward again from the cached stream, and the head likewise."""
        weights = sum(self.layers) + self.head
        flops = 4.0 * (sum(self.layers) * tokens + self.head * positions)
        return Work(flops, 2 * weights, 2 * len(self.layers), positions * self.vocabulary if texts else 0)


def fitted(
    name: str, model: Model, points: Sequence[tuple[int, int, float]], *, draw: float = math.inf
) -> Machine:
    """The machine on which two full forwards of (tokens, positions) take these seconds."""
    (few, few_seconds), (many, many_seconds) = (
        (model.plainly(tokens, positions), seconds) for tokens, positions, seconds in points
    )
    across = few.flops * many.unpacked - many.flops * few.unpacked
    per_flop = (few_seconds * many.unpacked - many_seconds * few.unpacked) / across
    per_weight = (few.flops * many_seconds - many.flops * few_seconds) / across
    return Machine(name, 1 / per_flop, 1 / per_weight, draw)
