"""Many patched versions of one model in one batch: each block of a batch sees its own flips, the bits stay as they are.

A batch is cut into equal blocks, one for each candidate or request (these are no blocks of a quantization). A flipped
row negates its output exactly; a row with flipped groups or weights is computed anew from its changed weights.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bankai.model.layers import Linear
from bankai.model.matrices import WeightMatrix
from bankai.patch import Flip
from bankai.patch.places import places_by_tensor

__all__ = ["RowVersions", "flipped_rows", "overlaid", "row_versions"]


@dataclass(frozen=True)
class RowVersions:
    """The changed rows of one weight matrix in each of so many ``blocks`` of a batch.

    Rows of ``negated`` are flipped whole; those of ``replaced`` have other ``weights``, and their outputs are computed
    from them.
    """

    blocks: int
    negated: tuple[Tensor, Tensor]  # blocks and rows, int [n] each
    replaced: tuple[Tensor, Tensor]  # blocks and rows, int [m] each
    weights: Tensor  # [m, in], of the replaced rows

    def change(self, x: Tensor, y: Tensor) -> Tensor:
        """Correct the outputs [blocks * n, ..., out] of the inputs [blocks * n, ..., in], in place."""
        outputs = y.view(self.blocks, -1, y.shape[-1])
        block, row = self.negated
        if len(block):
            outputs[block, :, row] = -outputs[block, :, row]
        block, row = self.replaced
        if len(block):
            inputs = x.reshape(self.blocks, -1, x.shape[-1])[block]  # [m, n, in]
            outputs[block, :, row] = (inputs @ self.weights[:, :, None].to(x.dtype)).squeeze(-1)
        return y


def flipped_rows(matrix: WeightMatrix, flips: Iterable[Flip]) -> dict[int, Tensor]:
    """Weights [in], with the flips on, of every row that the flips touch; all flips are of this matrix."""
    found: dict[int, Tensor] = {}
    for places in places_by_tensor(flips).values():
        rows, masks = places.masks(matrix.info)
        negated = torch.from_numpy(matrix.info.quantization.negated(masks)).to(matrix.device)
        weights = matrix.rows(torch.from_numpy(rows).to(matrix.device))
        found = dict(zip(rows.tolist(), torch.where(negated, -weights, weights), strict=True))
    return found


def row_versions(matrix: WeightMatrix, blocks: Sequence[Iterable[Flip]]) -> RowVersions:
    """The rows that the flips of each block change; all flips are of this matrix."""
    negated, replaced, weights = [], [], []
    for block, flips in enumerate(blocks):
        flips = list(flips)
        partial = {flip.row for flip in flips if flip.kind != "row"}
        negated += [(block, flip.row) for flip in flips if flip.row not in partial]
        for row, weight in flipped_rows(matrix, (flip for flip in flips if flip.row in partial)).items():
            replaced.append((block, row))
            weights.append(weight)
    device = matrix.device
    stacked = torch.stack(weights) if weights else torch.empty(0, matrix.shape[1], device=device)
    return RowVersions(len(blocks), _pairs(negated, device), _pairs(replaced, device), stacked)


def _pairs(pairs: list[tuple[int, int]], device: torch.device) -> tuple[Tensor, Tensor]:
    """The first numbers of all pairs and the second ones: int [n] each."""
    blocks, rows = torch.tensor(pairs, dtype=torch.long, device=device).view(-1, 2).unbind(1)
    return blocks, rows


@contextmanager
def overlaid(model: nn.Module, blocks: Sequence[Iterable[Flip]]) -> Iterator[None]:
    """Inside, a batch of `len(blocks)` equal blocks is computed with each block's own flips.

    Raises AttributeError for a tensor that is not a linear layer of the model.
    """
    by_tensor: dict[str, list[list[Flip]]] = {}
    for block, flips in enumerate(blocks):
        for flip in flips:
            by_tensor.setdefault(flip.tensor, [[] for _ in blocks])[block].append(flip)
    layers = [_linear(model, name) for name in by_tensor]
    pairs = zip(layers, by_tensor.values(), strict=True)
    # This may raise, so nothing is set before all are made.
    versions = [row_versions(layer.matrix, flips) for layer, flips in pairs]
    for layer, version in zip(layers, versions, strict=True):
        layer.versions = version
    try:
        yield
    finally:
        for layer in layers:
            layer.versions = None


def _linear(model: nn.Module, name: str) -> Linear:
    layer = model.get_submodule(name)
    if not isinstance(layer, Linear):
        raise AttributeError(
            f"{name} is not a linear layer, which alone can be overlaid; use `bankai.model.patched`"
        )
    return layer
