"""How long the pieces of a model take, timed on one layer of each kind and a part of its head.

An excerpt is a real one-layer model made by the loader, and what is timed are the steps of the search itself. Times
depend on shapes, not on values: layers of one kind have the same shapes, the MLPs of all kinds as well, and the head is
as much slower as its vocabulary is larger than the part of it.
"""

import math
import time
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from statistics import mean, median

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bankai.architectures import architecture
from bankai.checkpoint.model_file import Checkpoint
from bankai.evaluation.batches import BATCH_TOKENS, Batch
from bankai.evaluation.scoring import token_scores
from bankai.model import WeightMatrix, load_model
from bankai.model.decoder import Decoder
from bankai.patch import Flip
from bankai.quantization import MatrixInfo, PackedTensor
from bankai.search.attribution import Effects, stream_effects
from bankai.search.batched import CHUNK_TOKENS, final_hidden
from bankai.search.parts import LOGITS
from bankai.search.space import Space
from bankai.search.streams import Stream
from bankai.tensor_names import EMBEDDING, layer_tensor, parse_tensor_name

__all__ = ["EXCERPT_ROWS", "Curve", "Excerpt", "Pace", "measure_pace"]

EXCERPT_ROWS = 8192  # of the vocabulary
REPEATS = 3
PATIENCE = 0.2  # seconds: no more repeats and, from the second point on, no larger sizes


class Excerpt:
    """What the loader needs of a checkpoint, with one layer alone and the first rows of its embedding as head.

    That layer is the excerpt's first, whichever it is in the checkpoint.
    """

    def __init__(self, checkpoint: Checkpoint, layer: int = 0) -> None:
        self._whole, self._layer = checkpoint, layer
        self.rows = min(EXCERPT_ROWS, checkpoint.config["vocab_size"])
        sizes = {"vocab_size": self.rows, "tie_word_embeddings": True}
        kept = {key: value for key, value in checkpoint.config.items() if not key.endswith("_token_id")}
        self.config = architecture(checkpoint.architecture).one_layer(kept, layer) | sizes
        embedding = checkpoint.matrices[EMBEDDING]
        self.matrices = {
            EMBEDDING: MatrixInfo(embedding.quantization, (self.rows, embedding.shape[1])),
            **{self._here(name): info for name, info in checkpoint.matrices.items() if self._is_of(name)},
        }
        self.vectors = {
            self._here(name): shape
            for name, shape in checkpoint.vectors.items()
            if self._is_of(name) or parse_tensor_name(name).layer is None
        }

    def packed(self, name: str, rows: Sequence[int] | NDArray[np.intp] | None = None) -> PackedTensor:
        found = self._whole.packed(self._there(name), rows)
        return replace(found, blocks=found.blocks[: self.rows]) if name == EMBEDDING else found

    def vector(self, name: str) -> NDArray[np.float32]:
        return self._whole.vector(self._there(name))

    def release(self) -> None:
        self._whole.release()

    def _is_of(self, name: str) -> bool:
        return parse_tensor_name(name).layer == self._layer

    def _here(self, name: str) -> str:
        parsed = parse_tensor_name(name)
        return name if parsed.layer is None else layer_tensor(0, parsed.path)

    def _there(self, name: str) -> str:
        """In the checkpoint."""
        parsed = parse_tensor_name(name)
        return name if parsed.layer is None else layer_tensor(self._layer, parsed.path)


@dataclass(frozen=True)
class Curve:
    """Seconds by size: straight lines between what was measured, and beyond it as the last one rises."""

    sizes: tuple[int, ...]
    seconds: tuple[float, ...]

    def __call__(self, size: float) -> float:
        """Nothing takes nothing."""
        if size <= self.sizes[-1]:
            return float(np.interp(size, self.sizes, self.seconds)) if size else 0.0
        at = bisect_left(self.sizes, size) - 1
        below = (0, 0.0) if at == 0 else (self.sizes[at - 1], self.seconds[at - 1])
        slope = max(0.0, (self.seconds[at] - below[1]) / (self.sizes[at] - below[0]))
        return self.seconds[at] + (size - self.sizes[at]) * slope


@dataclass(frozen=True)
class Pace:
    """Seconds that pieces take.

    Of one layer by tokens: its attention, its MLP, and a step of attribution with its effects; attention and effects by
    kind of layer. Of the head by positions: to score them, and to also send a gradient back. Of candidates by their
    number: what begins them in their first layer. `load` is per weight.
    """

    attention: Mapping[str, Curve]
    mlp: Curve
    effects: Mapping[str, Curve]
    head: Curve
    head_gradient: Curve
    start: Curve
    load: float


def measure_pace(
    checkpoint: Checkpoint, batch: Batch, space: Space, *, dense: bool, device: str, dtype: str
) -> Pace:
    """Load the excerpts and time them on as many copies of the first sequence of a batch as a search may hold at once.

    What all kinds of layers have alike is timed in one of them.
    """
    kinds = architecture(checkpoint.architecture).layer_kinds(checkpoint.config)
    length, vocabulary = batch.ids.shape[1], checkpoint.config["vocab_size"]
    copies = tuple(_powers(4, CHUNK_TOKENS // length))
    tokens = tuple(count * length for count in copies)
    together = tuple(_powers(4, BATCH_TOKENS // length))  # copies that attribution may meet
    positions = tuple(_powers(8, min(CHUNK_TOKENS, LOGITS // vocabulary)))
    attention, effects, loads = {}, {}, []
    for kind in dict.fromkeys(kinds):
        excerpt, began = Excerpt(checkpoint, kinds.index(kind)), time.monotonic()
        model = load_model(excerpt, dense=dense, dtype=dtype, device=device)
        weights = sum(math.prod(part.shape) for part in model.modules() if isinstance(part, WeightMatrix))
        loads.append((time.monotonic() - began) / weights)
        timed = _Timed(Decoder(model), batch.ids[:1] % excerpt.rows, space)
        attention[kind] = timed.curve(timed.attention, copies, tokens)
        effects[kind] = timed.curve(timed.effects, together, tokens[: len(together)])
    share = vocabulary / excerpt.rows
    return Pace(
        attention=attention,
        mlp=timed.curve(timed.mlp, copies, tokens),
        effects=effects,
        head=timed.curve(timed.head, positions, positions, share),
        head_gradient=timed.curve(timed.head_gradient, positions, positions, share),
        start=timed.curve(timed.start, copies, copies),
        load=mean(loads),
    )


def _powers(base: int, limit: int) -> Iterable[int]:
    """1, base, its square and so on up to a limit; 1 at least."""
    yield from takewhile(lambda size: size <= max(1, limit), (base**n for n in range(64)))


@dataclass(frozen=True)
class _Timed:
    """The steps of a search on a one-layer model, each as something to be called again and again."""

    decoder: Decoder
    sequence: Tensor  # [1, length]
    space: Space

    def attention(self, copies: int) -> Callable[[], object]:
        hidden = self._hidden(copies)
        positions = self.decoder.positions(hidden)
        return torch.no_grad()(lambda: self.decoder.attend(0, hidden, positions))

    def mlp(self, copies: int) -> Callable[[], object]:
        hidden = self._hidden(copies)
        return torch.no_grad()(lambda: hidden + self.decoder.transform(0, hidden))

    def effects(self, copies: int) -> Callable[[], object]:
        stream = self._stream(copies)

        def sink(effects: Effects) -> None:
            values = (
                effects.values.float().cpu()
            )  # summed over targets, over controls, and over those that are helped
            values.sum(0), values.clamp(min=0).sum(0), (values > 0).float().sum(0)

        return lambda: stream_effects(
            stream,
            torch.sum,
            sink,
            layers=(0,),
            projections=self.space.paths(),
            granularity=self.space.granularity,
        )

    def head(self, positions: int) -> Callable[[], object]:
        hidden, targets = self._final(positions)
        return torch.no_grad()(lambda: token_scores(self.decoder.logits(hidden), targets))

    def head_gradient(self, positions: int) -> Callable[[], object]:
        hidden, targets = self._final(positions)
        leaf = hidden.requires_grad_()
        return lambda: torch.autograd.grad(token_scores(self.decoder.logits(leaf), targets)[0].sum(), leaf)

    def start(self, candidates: int) -> Callable[[], object]:
        stream, name = self._stream(1), self.decoder.name(0, "mlp.up_proj")
        flips = [frozenset([Flip(name, row)]) for row in range(candidates)]
        return torch.no_grad()(lambda: list(final_hidden(stream, flips)))

    def curve(
        self,
        make: Callable[[int], Callable[[], object]],
        counts: Iterable[int],
        sizes: Iterable[int],
        share: float = 1.0,
    ) -> Curve:
        """Seconds, times `share`, by size."""
        found: list[tuple[int, float]] = []
        for count, size in zip(counts, sizes, strict=True):
            if len(found) > 1 and found[-1][1] > PATIENCE:
                break
            found.append((size, self._seconds(make(count))))
        sizes, seconds = zip(*found, strict=True)
        return Curve(sizes, tuple(one * share for one in seconds))

    def _seconds(self, run: Callable[[], object]) -> float:
        """Median of a few, after a warm-up; of one when it takes long."""
        times: list[float] = []
        for _ in range(1 + REPEATS):
            began = time.perf_counter()
            run()
            if self.decoder.device.type != "cpu":
                torch.accelerator.synchronize()
            times.append(time.perf_counter() - began)
            if sum(times[1:]) > PATIENCE:
                break
        return median(times[1:])

    def _hidden(self, copies: int) -> Tensor:
        return self.decoder.embed(self.sequence.to(self.decoder.device)).repeat(copies, 1, 1)

    def _final(self, positions: int) -> tuple[Tensor, Tensor]:
        """Residuals [positions, hidden] and targets [positions, 1]."""
        targets = self.sequence.flatten().repeat(positions)[:positions].to(self.decoder.device)
        return self.decoder.embed(targets), targets[:, None]

    def _stream(self, copies: int) -> Stream:
        """Sequences of which one position is read, so that the head takes no time."""
        first, ids = torch.zeros(1, dtype=torch.long), self.sequence.repeat(copies, 1)
        return Stream(self.decoder, Batch(ids, first, first, first[:, None], first))
