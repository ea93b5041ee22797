"""First-order estimate of what every possible flip would do to every sequence, from one backward pass.

For a place that changes an activation a_t by da_t at position t, the estimate is the sum over t of
(d value / d a_t) * da_t. With y an output of a projection that reads x: a flipped row changes y by -2 y, a flipped
group by -2 x_G w_rG, a flipped bit by -2 x_c w_rc. Where the decoder knows what a flipped row does further on, it is
followed there: of gate at the inner activation h = silu(g) * u, which it changes by exactly -g * u, since
silu(-g) = silu(g) - g. The backward goes layer by layer from the cached residual stream, so that one layer's
activations are held at a time.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from bankai.architectures.base import MLP, Change, Changes
from bankai.model.hooks import hooked
from bankai.model.matrices import WeightMatrix
from bankai.patch import Kind
from bankai.search.streams import Residuals

__all__ = ["Effects", "Sink", "stream_effects"]

BLOCK = 2**24  # elements of sequences x rows x columns held at once below row level


@dataclass(frozen=True)
class Effects:
    """Estimated change of each sequence's value: `values` [sequences, rows, places of a row].

    `rows` are those of `tensor` from `first_row` on; a row has one place, or as many as it has groups or bits.
    """

    tensor: str
    first_row: int
    values: Tensor


Sink = Callable[[Effects], None]


def stream_effects(
    stream: Residuals,
    value: Callable[[Tensor], Tensor],
    sink: Sink,
    *,
    layers: Sequence[int],
    projections: Iterable[str] = tuple(MLP),
    granularity: Kind = "row",
) -> None:
    """Give `sink` the effects of every place, layer by layer from the top.

    `value` makes a number of the logits [positions, vocabulary] of the stream: a sum of one term per sequence, so that
    the effects on the sequences come apart.
    """
    decoder, projections = stream.decoder, tuple(projections)
    gradient = _top(stream, value)
    for layer in range(decoder.layers - 1, min(layers) - 1, -1):
        there = decoder.projections(layer)
        wanted = [path for path in projections if path in there] if layer in layers else []
        gradient, seen = _backward(stream, layer, gradient, wanted)
        for projection in wanted:
            matrix = decoder.matrix(decoder.name(layer, projection))
            for first_row, values in _effects(matrix, projection, seen, granularity):
                sink(Effects(decoder.name(layer, projection), first_row, values))


def _top(stream: Residuals, value: Callable[[Tensor], Tensor]) -> Tensor:
    """Gradient of the value at the residual after the last layer: [sequences, length, hidden]."""
    decoder = stream.decoder
    with torch.enable_grad():
        hidden = stream.entering(decoder.layers).detach().requires_grad_()
        return torch.autograd.grad(value(decoder.logits(stream.read(hidden))), hidden)[0]


@dataclass(frozen=True)
class _Seen:
    """Of each projection what it read, the gradient of its output, and what flipping all of its rows does."""

    inputs: dict[str, Tensor]
    gradients: dict[str, Tensor]
    rows: dict[str, Tensor]  # [sequences, rows]


def _backward(
    stream: Residuals, layer: int, gradient: Tensor, projections: Sequence[str]
) -> tuple[Tensor, _Seen]:
    """From the gradient after a layer to that before it; on the way, what its projections did."""
    decoder, exact = stream.decoder, Changes()
    with torch.enable_grad(), _watched(stream, layer, projections) as (inputs, outputs):
        entering = stream.entering(layer).detach().requires_grad_()
        middle = decoder.attend(layer, entering, stream.positions, exact)
        after = middle + decoder.transform(layer, middle, exact)
        changes = [
            exact.get(name) or Change(outputs[name], -2 * outputs[name].detach()) for name in projections
        ]
        wanted = [entering, *(outputs[name] for name in projections), *(change.at for change in changes)]
        below, *rest = torch.autograd.grad(after, wanted, gradient)
    count = len(projections)
    gradients, further = dict(zip(projections, rest[:count], strict=True)), rest[count:]
    pairs = zip(projections, further, changes, strict=True)
    rows = {name: (slope * change.by).sum(1) for name, slope, change in pairs}
    return below, _Seen({name: inputs[name].detach() for name in projections}, gradients, rows)


@contextmanager
def _watched(
    stream: Residuals, layer: int, projections: Iterable[str]
) -> Iterator[tuple[dict[str, Tensor], dict[str, Tensor]]]:
    """While open, inputs and outputs of these projections of a layer are kept by name."""
    inputs: dict[str, Tensor] = {}
    outputs: dict[str, Tensor] = {}

    def keep(name: str) -> Callable[[torch.nn.Module, tuple[Tensor, ...], Tensor], None]:
        def hook(module: torch.nn.Module, x: tuple[Tensor, ...], y: Tensor) -> None:
            inputs[name], outputs[name] = x[0], y

        return hook

    with hooked(stream.decoder.model.model.layers[layer], {name: keep(name) for name in projections}):
        yield inputs, outputs


def _effects(
    matrix: WeightMatrix, projection: str, seen: _Seen, granularity: Kind
) -> Iterator[tuple[int, Tensor]]:
    """First row and effects [sequences, rows, places], in blocks of rows."""
    if granularity == "row":
        yield 0, seen.rows[projection][:, :, None]
        return
    x, gradient = seen.inputs[projection], seen.gradients[projection]
    rows, columns = matrix.shape
    size = max(1, BLOCK // (len(x) * columns))
    for first in range(0, rows, size):
        at = torch.arange(first, min(first + size, rows), device=x.device)
        bits = -2 * (gradient[:, :, at].mT @ x) * matrix.rows(at)  # [sequences, rows, columns]
        yield first, bits if granularity == "bit" else bits.unflatten(2, (-1, matrix.group)).sum(3)
