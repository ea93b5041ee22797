"""Exact measurement of many candidates at once, each a set of flips on top of the current state.

Each candidate starts where its first flip acts: flips in an MLP change a few inner activations, so the layer's output
is corrected by their rank-one effects; whatever follows is one batch in which every candidate has its own row signs
(`bankai.model.overlay`). The last layer's MLP and the head run at the answer positions only. Equal to flipping the bits
and running in full, up to the order of float sums.
"""

from collections.abc import Iterator, Sequence
from itertools import groupby

import torch
from torch import Tensor, nn

from bankai.architectures.base import MLP
from bankai.model.matrices import WeightMatrix
from bankai.model.overlay import flipped_rows, overlaid
from bankai.patch import Flip
from bankai.search.streams import Stream
from bankai.tensor_names import parse_tensor_name

__all__ = ["CHUNK_TOKENS", "chunks", "final_hidden", "first_layer"]

CHUNK_TOKENS = 4096  # of candidates x sequences x length computed at once: bounds memory
Candidate = frozenset[Flip]


def first_layer(flips: Candidate, layers: int) -> int:
    """The lowest layer that the flips touch; `layers` for none."""
    return min((_layer(flip) for flip in flips), default=layers)


def _layer(flip: Flip) -> int:
    layer = parse_tensor_name(flip.tensor).layer
    assert layer is not None  # a search flips projections only
    return layer


def final_hidden(stream: Stream, candidates: Sequence[Candidate]) -> Iterator[tuple[list[int], Tensor]]:
    """The residual after the last layer at the positions of interest.

    Yields, until every candidate has had its turn, indices of some candidates and [those, positions, hidden].
    """
    layers = stream.decoder.layers
    for chunk in chunks(candidates, layers, stream.tokens):
        some = [candidates[index] for index in chunk]
        yield chunk, _run(stream, *_start(some[0], layers), some)


def chunks(candidates: Sequence[Candidate], layers: int, tokens: int) -> Iterator[list[int]]:
    """Indices of candidates that are computed at once over a stream of so many tokens: they begin at the same place.

    A chunk is cut no further, so whoever computes it alone computes the same.
    """
    starts = [_start(candidate, layers) for candidate in candidates]
    order = sorted(range(len(candidates)), key=lambda index: starts[index])
    size = max(1, CHUNK_TOKENS // tokens)
    for _, group in groupby(order, key=lambda index: starts[index]):
        alike = list(group)
        yield from (alike[start : start + size] for start in range(0, len(alike), size))


def _is(flip: Flip, projection: str) -> bool:
    return parse_tensor_name(flip.tensor).projection == projection


def _start(candidate: Candidate, layers: int) -> tuple[int, str]:
    """The first layer that a candidate touches, and where in it the work begins."""
    layer = first_layer(candidate, layers)
    here = [flip for flip in candidate if _layer(flip) == layer]
    if any(parse_tensor_name(flip.tensor).path not in MLP for flip in here):
        return layer, "mixer"
    partial = any(_is(flip, "down_proj") and flip.kind != "row" for flip in here)
    return layer, "mlp" if partial else "rows"


def _run(stream: Stream, layer: int, kind: str, candidates: Sequence[Candidate]) -> Tensor:
    """[candidates, positions, hidden] for candidates that begin at the same place."""
    decoder, blocks = stream.decoder, len(candidates)
    if layer == decoder.layers:
        return stream.read(stream.entering(layer)).expand(blocks, -1, -1)
    with overlaid(decoder.model, candidates):
        if kind == "mixer":
            middle = decoder.attend(layer, _repeat(stream.entering(layer), blocks), stream.positions)
            hidden = _transform(stream, layer, middle, blocks)
        elif kind == "mlp":
            hidden = _transform(stream, layer, _repeat(stream.middle[layer], blocks), blocks)
        else:
            hidden = _changed_rows(stream, layer, candidates)
        for index in range(layer + 1, decoder.layers):
            middle = decoder.attend(index, hidden, stream.positions)
            hidden = _transform(stream, index, middle, blocks)
    return hidden.view(blocks, -1, hidden.shape[-1])


def _repeat(hidden: Tensor, blocks: int) -> Tensor:
    """[sequences, length, hidden] to [blocks * sequences, length, hidden]."""
    return hidden.repeat(blocks, 1, 1)


def _transform(stream: Stream, layer: int, middle: Tensor, blocks: int) -> Tensor:
    """The residual after the MLP; of the last layer only at the positions of interest."""
    if layer == stream.decoder.layers - 1:
        middle = stream.read(middle.view(blocks, stream.sequences, *middle.shape[1:])).flatten(0, 1)
    return middle + stream.decoder.transform(layer, middle)


def _changed_rows(stream: Stream, layer: int, candidates: Sequence[Candidate]) -> Tensor:
    """The residual after an MLP in which every candidate changes gate or up, or whole rows of down.

    With h the inner activation, a changed row r of gate or up adds (h'_r - h_r) times column r of down to the output;
    a flipped row of down negates its output.
    """
    decoder = stream.decoder
    middle, added = stream.middle[layer], stream.added[layer]
    if layer == decoder.layers - 1:
        middle, added = stream.read(middle), stream.read(added)
    mlp = decoder.model.model.layers[layer].mlp
    x = decoder.normed(layer, middle)
    hidden = middle.new_empty(len(candidates), *middle.shape)
    for at, candidate in enumerate(candidates):
        here = [flip for flip in candidate if _layer(flip) == layer]
        y = added + _inner_change(mlp, x, here)
        down = [flip.row for flip in here if _is(flip, "down_proj")]
        y[..., down] *= -1
        hidden[at] = middle + y
    return hidden.flatten(0, 1)


def _inner_change(mlp: nn.Module, x: Tensor, flips: Sequence[Flip]) -> Tensor | float:
    """What changed rows of gate and up add to the output of an MLP that reads x: [..., hidden]."""
    gate = [flip for flip in flips if _is(flip, "gate_proj")]
    up = [flip for flip in flips if _is(flip, "up_proj")]
    rows = sorted({flip.row for flip in (*gate, *up)})
    if not rows:
        return 0.0
    at = torch.tensor(rows, device=x.device)
    before = mlp.act_fn(x @ mlp.gate_proj.matrix.rows(at).T) * (x @ mlp.up_proj.matrix.rows(at).T)
    gate_rows, up_rows = _versions(mlp.gate_proj.matrix, at, gate), _versions(mlp.up_proj.matrix, at, up)
    after = mlp.act_fn(x @ gate_rows.T) * (x @ up_rows.T)
    return (after - before) @ mlp.down_proj.matrix.columns(at).T


def _versions(matrix: WeightMatrix, rows: Tensor, flips: Sequence[Flip]) -> Tensor:
    """Weights [rows, in] with the flips on."""
    weights, places = matrix.rows(rows).clone(), {row: at for at, row in enumerate(rows.tolist())}
    for row, weight in flipped_rows(matrix, flips).items():
        weights[places[row]] = weight
    return weights
