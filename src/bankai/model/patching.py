"""Patches on a loaded model: on inside a ``with`` block, exactly undone after it.

Patches of one model may be nested and may overlap; each is checked against the bits without the others.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from torch import nn

from bankai.model.packed_tensors import ModelBinaryTensors
from bankai.patch import Flip, Patch
from bankai.patch.active import check_addition
from bankai.patch.binding import check_places, touched

__all__ = ["flip", "patched"]

Model = TypeVar("Model", bound=nn.Module)
_ACTIVE = "bankai_active_patches"  # attribute of a model: the patches whose blocks are open, in order


def flip(model: nn.Module, flips: Iterable[Flip]) -> None:
    """Toggle flips in place, dense copies included; the same call again undoes them.

    Nothing is compared with a base. Every place is checked before the first bit changes. Raises
    UnknownTensorError and RowRangeError.
    """
    tensors, flips = ModelBinaryTensors(model), frozenset(flips)
    check_places(tensors, flips)
    for name, places in touched(flips).items():
        tensors.packed(name).flip(places.rows, places.groups, places.bits)


@contextmanager
def patched(model: Model, patch: Patch, *, unbound: bool = False) -> Iterator[Model]:
    """The model with the patch on; on exit its bits are what they were.

    ``unbound=True`` lets a patch pass that says nothing of its base; only its places are checked then. Raises
    WrongBaseError, AlreadyAppliedError, UnboundPatchError, UnknownTensorError and RowRangeError, and then
    nothing has changed.
    """
    active: list[Patch] = model.__dict__.setdefault(_ACTIVE, [])
    check_addition(ModelBinaryTensors(model), patch, active, unbound)
    flip(model, patch.flips)
    active.append(patch)
    try:
        yield model
    finally:
        active.remove(patch)
        flip(model, patch.flips)
