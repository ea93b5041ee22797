"""Patches on a loaded model: on inside a ``with`` block, exactly undone after it.

Patches of one model may be nested and may overlap; each is checked against the bits without the others.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TypeVar

from torch import nn

from bankai.errors import UnknownTensorError
from bankai.model.matrices import Rows, WeightMatrix
from bankai.patch import Flip, Patch
from bankai.patch.binding import check_addition, check_not_on
from bankai.patch.places import check_places, places_by_tensor
from bankai.quantization import MatrixInfo, PackedTensor

__all__ = ["ModelMatrices", "flip", "patched"]

Model = TypeVar("Model", bound=nn.Module)
_ACTIVE = (
    "bankai_active_patches"  # attribute of a model: the patches that `patched` has on, the first one first
)
_SUFFIX = ".matrix"


class ModelMatrices:
    """The weight matrices of a loaded model by canonical name; implements :class:`bankai.quantization.Matrices`.

    A head tied to the embedding goes by the embedding's name, as in model files.
    """

    def __init__(self, model: nn.Module) -> None:
        # named_modules yields a shared module once, under its first name.
        self._found = {
            name.removesuffix(_SUFFIX): module
            for name, module in model.named_modules()
            if isinstance(module, WeightMatrix)
        }

    @property
    def matrices(self) -> Mapping[str, MatrixInfo]:
        """By name: embedding, layers in order, an untied head."""
        return {name: matrix.info for name, matrix in self._found.items()}

    def matrix(self, name: str) -> WeightMatrix:
        """The module that holds the weights. Raises UnknownTensorError."""
        if name not in self._found:
            raise UnknownTensorError(
                f"the model has no weight matrix {name!r}; use the model that the patch was made for"
            )
        return self._found[name]

    def packed(self, name: str, rows: Rows | None = None) -> PackedTensor:
        """The matrix as it is now, or these rows of it. Raises UnknownTensorError."""
        matrix = self.matrix(name)
        return PackedTensor(name, matrix.info.quantization, matrix.blocks(rows))


def flip(model: nn.Module, flips: Iterable[Flip]) -> None:
    """Put flips on in place; the same call again takes them off.

    Whether they are on is not checked. Every place is checked before the first bit changes. Raises
    UnknownTensorError and RowRangeError.
    """
    tensors, flips = ModelMatrices(model), frozenset(flips)
    check_places(tensors, flips)
    for name, places in places_by_tensor(flips).items():
        matrix = tensors.matrix(name)
        matrix.xor(*places.masks(matrix.info))


@contextmanager
def patched(model: Model, patch: Patch, *, unbound: bool = False) -> Iterator[Model]:
    """The model with the patch on; on exit its bits are what they were.

    ``unbound=True`` allows a patch that does not say which bits it expects; only its places are checked then. Raises
    WrongBaseError, AlreadyAppliedError, UnboundPatchError, UnknownTensorError and RowRangeError, and then
    nothing has changed.
    """
    active: list[Patch] = model.__dict__.setdefault(_ACTIVE, [])
    if unbound and patch.binding is None:
        check_not_on(patch, active)
    else:
        check_addition(ModelMatrices(model), patch, active)
    flip(model, patch.flips)
    active.append(patch)
    try:
        yield model
    finally:
        active.remove(patch)
        flip(model, patch.flips)
