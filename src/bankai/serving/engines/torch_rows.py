"""What patches change where every token of a forward may be of another patch: signs, rows computed anew, embeddings.

A flipped row negates its output, exactly; a row with flipped groups or bits is computed from its changed weights; a
changed row of the embedding is looked up in its place, also where the embedding is the head too. So every patch that
the model has the places for can be served. The model's bits are read, never changed.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel

from bankai.model import ModelMatrices, WeightMatrix
from bankai.model.overlay import RowVersions, flipped_rows, row_versions
from bankai.patch import Flip
from bankai.patch.places import check_places
from bankai.tensor_names import EMBEDDING

__all__ = ["Merged", "PatchRows", "Replaced", "TextRows", "merged", "patch_rows"]


@dataclass(frozen=True, eq=False)
class PatchRows:
    """A patch made ready: the changed rows of every matrix, and the embeddings [hidden] of changed tokens.

    `negated` and `replaced` are the numbers of the rows of `layers`, at hand.
    """

    layers: Mapping[WeightMatrix, RowVersions]
    negated: Mapping[WeightMatrix, list[int]]
    replaced: Mapping[WeightMatrix, list[int]]
    tokens: Mapping[int, Tensor]


def patch_rows(model: PreTrainedModel, flips: Iterable[Flip]) -> PatchRows:
    """What the flips change, read from the bits as they are. Raises UnknownTensorError and RowRangeError."""
    flips, tensors = frozenset(flips), ModelMatrices(model)
    check_places(tensors, flips)
    by_tensor: dict[str, list[Flip]] = {}
    for flip in flips:
        by_tensor.setdefault(flip.tensor, []).append(flip)
    matrices = {name: tensors.matrix(name) for name in by_tensor}
    layers = {
        matrices[name]: row_versions(matrices[name], [of_tensor])
        for name, of_tensor in by_tensor.items()
        if name != EMBEDDING or matrices[name] is model.lm_head.matrix
    }
    tokens = flipped_rows(matrices[EMBEDDING], by_tensor[EMBEDDING]) if EMBEDDING in matrices else {}
    negated = {matrix: versions.negated[1].tolist() for matrix, versions in layers.items()}
    replaced = {matrix: versions.replaced[1].tolist() for matrix, versions in layers.items()}
    return PatchRows(layers, negated, replaced, tokens)


@dataclass(frozen=True, eq=False)
class Merged:
    """The changed rows of one matrix where every token is of a text, and so of a patch, of its own."""

    signs: Tensor | None  # [tokens, out], ±1; None where no row is negated
    replaced: "Replaced | None"

    def change(self, x: Tensor, y: Tensor) -> None:
        """Correct the outputs [tokens, out] of the inputs [tokens, in], in place."""
        if self.signs is not None:
            y *= self.signs
        if self.replaced is not None:
            self.replaced.write(x, y)


@dataclass(frozen=True, eq=False)
class Replaced:
    """Rows that are computed anew, each for one token."""

    tokens: Tensor  # [n]
    places: Tensor  # [n], in the outputs laid end to end
    weights: Tensor  # float32 [n, in]

    def write(self, x: Tensor, y: Tensor) -> None:
        """As `Merged.change`."""
        # In float32, for products that are rounded to fewer bits add up badly.
        inputs = x.index_select(0, self.tokens).float()
        y.view(-1).index_copy_(0, self.places, torch.linalg.vecdot(inputs, self.weights).to(y.dtype))


def merged(patches: Sequence[PatchRows]) -> dict[WeightMatrix, Merged]:
    """The matrices that any patch changes; token by token a patch."""
    found: dict[WeightMatrix, list[tuple[int, PatchRows]]] = {}
    for token, patch in enumerate(patches):
        for matrix in patch.layers:
            found.setdefault(matrix, []).append((token, patch))
    return {matrix: _merge(matrix, len(patches), users) for matrix, users in found.items()}


def _merge(matrix: WeightMatrix, tokens: int, users: Sequence[tuple[int, PatchRows]]) -> Merged:
    out, device = matrix.shape[0], matrix.device
    signs = replaced = None
    places = [token * out + row for token, patch in users for row in patch.negated[matrix]]
    if places:
        signs = torch.ones(tokens, out, dtype=matrix.dtype, device=device)
        signs.view(-1)[torch.tensor(places, device=device)] = -1
    again = [(token, row) for token, patch in users for row in patch.replaced[matrix]]
    if again:
        token, row = torch.tensor(again, device=device).unbind(1)
        weights = torch.cat([patch.layers[matrix].weights for _, patch in users]).float()
        replaced = Replaced(token, token * out + row, weights)
    return Merged(signs, replaced)


@dataclass(frozen=True, eq=False)
class TextRows:
    """The changes in one forward: first come single tokens of texts (`single` of them), then spans of one patch."""

    single: int
    changes: Mapping[WeightMatrix, Merged]
    spans: Sequence[tuple[slice, PatchRows]]

    def changes_any(self, matrix: WeightMatrix) -> bool:
        """Whether the outputs of this matrix are corrected."""
        return matrix in self.changes or any(matrix in patch.layers for _, patch in self.spans)

    def change(self, matrix: WeightMatrix, x: Tensor, y: Tensor) -> Tensor:
        """Correct the outputs [tokens, out] of the inputs [tokens, in], in place."""
        changes = self.changes.get(matrix)
        if changes is not None and self.spans:
            changes.change(x[: self.single], y[: self.single])
        elif changes is not None:
            changes.change(x, y)
        for span, patch in self.spans:
            if (versions := patch.layers.get(matrix)) is not None:
                versions.change(x[span], y[span])
        return y
