"""What patches change where every token of a forward may be of another patch: signs, rows computed anew, embeddings.

A flipped row negates its output, exactly; a row with flipped groups or bits is computed from its changed weights; a
changed row of the embedding is looked up in its place, also where the embedding is the head too. So every patch that
the model has the places for can be served. The model's bits are read, never changed. Does not know: attention, texts.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel

from bankai.binary import GROUP
from bankai.errors import RowRangeError
from bankai.formats.names import EMBEDDING
from bankai.model import ModelBinaryTensors, PackedWeight
from bankai.model.overlay import RowVersions, flipped_rows, row_versions
from bankai.patch import Flip
from bankai.patch.binding import touched

__all__ = ["Merged", "PatchRows", "TextRows", "merged", "patch_rows"]


@dataclass(frozen=True, eq=False)
class PatchRows:
    """A patch made ready: the changed rows of every matrix, and the embeddings [hidden] of changed tokens."""

    layers: Mapping[PackedWeight, RowVersions]
    tokens: Mapping[int, Tensor]


def patch_rows(model: PreTrainedModel, flips: Iterable[Flip]) -> PatchRows:
    """What the flips change, read from the bits as they are. Raises UnknownTensorError and RowRangeError."""
    flips, tensors = frozenset(flips), ModelBinaryTensors(model)
    by_tensor = {name: [flip for flip in flips if flip.tensor == name] for name in touched(flips)}
    packed = {name: tensors.packed(name) for name in by_tensor}
    for flip in flips:
        _check(flip, packed[flip.tensor])
    head = model.lm_head.packed
    layers = {
        packed[name]: row_versions(packed[name], [of_tensor])
        for name, of_tensor in by_tensor.items()
        if name != EMBEDDING or packed[name] is head
    }
    tokens = flipped_rows(packed[EMBEDDING], by_tensor[EMBEDDING]) if EMBEDDING in packed else {}
    return PatchRows(layers, tokens)


def _check(flip: Flip, packed: PackedWeight) -> None:
    rows, columns = packed.shape
    if flip.row >= rows or (flip.group or 0) >= columns // GROUP:
        raise RowRangeError(
            f"{flip.tensor} has {rows} rows of {columns // GROUP} groups, and the patch flips a place outside; "
            "use the model that the patch was made for"
        )


@dataclass(frozen=True, eq=False)
class Merged:
    """The changed rows of one matrix where every token is of a text, and so of a patch, of its own."""

    signs: Tensor | None  # [tokens, out], ±1; None where no row is negated
    tokens: Tensor  # [n], of the replaced rows
    places: Tensor  # [n], theirs in the outputs laid end to end
    weights: Tensor  # float32 [n, in], theirs

    def change(self, x: Tensor, y: Tensor) -> None:
        """Correct the outputs [tokens, out] of the inputs [tokens, in], in place."""
        if self.signs is not None:
            y *= self.signs
        if len(self.tokens):
            # In float32, for products that are rounded to fewer bits add up badly.
            inputs = x.index_select(0, self.tokens).float()
            y.view(-1).index_copy_(0, self.places, torch.linalg.vecdot(inputs, self.weights).to(y.dtype))


def merged(patches: Sequence[PatchRows]) -> dict[PackedWeight, Merged]:
    """The matrices that any patch changes; token by token a patch."""
    found: dict[PackedWeight, list[tuple[int, RowVersions]]] = {}
    for token, patch in enumerate(patches):
        for packed, versions in patch.layers.items():
            found.setdefault(packed, []).append((token, versions))
    return {packed: _merge(packed, len(patches), versions) for packed, versions in found.items()}


def _merge(packed: PackedWeight, tokens: int, versions: Sequence[tuple[int, RowVersions]]) -> Merged:
    token, row = _places([(token, one.negated[1]) for token, one in versions])
    signs = None
    if len(token):
        signs = torch.ones(tokens, packed.shape[0], dtype=packed.dtype, device=row.device)
        signs[token, row] = -1
    token, row = _places([(token, one.replaced[1]) for token, one in versions])
    weights = torch.cat([one.weights for _, one in versions]).float()
    return Merged(signs, token, token * packed.shape[0] + row, weights)


def _places(rows: Sequence[tuple[int, Tensor]]) -> tuple[Tensor, Tensor]:
    """Token and row of every place: two [n]."""
    tokens = [torch.full_like(rows_of_token, token) for token, rows_of_token in rows]
    return torch.cat(tokens), torch.cat([rows_of_token for _, rows_of_token in rows])


@dataclass(frozen=True, eq=False)
class TextRows:
    """The changes in one forward: first come single tokens of texts (`single` of them), then spans of one patch."""

    single: int
    changes: Mapping[PackedWeight, Merged]
    spans: Sequence[tuple[slice, PatchRows]]

    def change(self, packed: PackedWeight, x: Tensor, y: Tensor) -> Tensor:
        """Correct the outputs [tokens, out] of the inputs [tokens, in], in place."""
        changes = self.changes.get(packed)
        if changes is not None and self.spans:
            changes.change(x[: self.single], y[: self.single])
        elif changes is not None:
            changes.change(x, y)
        for span, patch in self.spans:
            if (versions := patch.layers.get(packed)) is not None:
                versions.change(x[span], y[span])
        return y
