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

from bankai.architectures.names import EMBEDDING
from bankai.errors import RowRangeError
from bankai.model import ModelBinaryTensors, PackedWeight
from bankai.model.overlay import RowVersions, flipped_rows, row_versions
from bankai.patch import Flip
from bankai.patch.binding import touched
from bankai.quantization.binary import GROUP

__all__ = ["Merged", "PatchRows", "Replaced", "TextRows", "merged", "patch_rows"]


@dataclass(frozen=True, eq=False)
class PatchRows:
    """A patch made ready: the changed rows of every matrix, and the embeddings [hidden] of changed tokens.

    `negated` and `replaced` are the numbers of the rows of `layers`, at hand.
    """

    layers: Mapping[PackedWeight, RowVersions]
    negated: Mapping[PackedWeight, list[int]]
    replaced: Mapping[PackedWeight, list[int]]
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
    negated = {packed: versions.negated[1].tolist() for packed, versions in layers.items()}
    replaced = {packed: versions.replaced[1].tolist() for packed, versions in layers.items()}
    return PatchRows(layers, negated, replaced, tokens)


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


def merged(patches: Sequence[PatchRows]) -> dict[PackedWeight, Merged]:
    """The matrices that any patch changes; token by token a patch."""
    found: dict[PackedWeight, list[tuple[int, PatchRows]]] = {}
    for token, patch in enumerate(patches):
        for packed in patch.layers:
            found.setdefault(packed, []).append((token, patch))
    return {packed: _merge(packed, len(patches), users) for packed, users in found.items()}


def _merge(packed: PackedWeight, tokens: int, users: Sequence[tuple[int, PatchRows]]) -> Merged:
    out, device = packed.shape[0], packed.signs.device
    signs = replaced = None
    places = [token * out + row for token, patch in users for row in patch.negated[packed]]
    if places:
        signs = torch.ones(tokens, out, dtype=packed.dtype, device=device)
        signs.view(-1)[torch.tensor(places, device=device)] = -1
    again = [(token, row) for token, patch in users for row in patch.replaced[packed]]
    if again:
        token, row = torch.tensor(again, device=device).unbind(1)
        weights = torch.cat([patch.layers[packed].weights for _, patch in users]).float()
        replaced = Replaced(token, token * out + row, weights)
    return Merged(signs, replaced)


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
