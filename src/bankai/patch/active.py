"""May a patch go on a model in memory, where others may be on already?

Contract: the model's bits decide, with the flips of the patches that are on undone. Changes nothing. Knows neither
engines nor files.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from bankai.errors import AlreadyAppliedError, UnboundPatchError, WrongBaseError
from bankai.patch.binding import state
from bankai.patch.patch import Flip, Patch

if TYPE_CHECKING:
    from bankai.quantization.binary import BinaryTensors

__all__ = ["check_addition"]


def check_addition(model: "BinaryTensors", patch: Patch, active: Sequence[Patch], unbound: bool) -> None:
    """Return when the patch may go on top of the `active` ones, which are on.

    `unbound` lets a patch pass that says nothing of its base. Raises WrongBaseError, AlreadyAppliedError,
    UnboundPatchError, UnknownTensorError and RowRangeError.
    """
    if patch in active and patch.flips:
        raise AlreadyAppliedError("the patch is on already; applying it twice would take it off")
    if patch.binding is None:
        if not unbound:
            raise UnboundPatchError(
                "the patch does not say which bits it expects; bind it to its base (bankai bind), "
                "or pass unbound=True (--unbound)"
            )
        return
    others: frozenset[Flip] = frozenset()
    for other in active:
        others ^= other.flips
    found = state(model, patch, others)
    if found == "applied":
        raise AlreadyAppliedError("the model file has this patch already; drop --patch, or load the base")
    if found == "foreign":
        raise WrongBaseError("the bits are not those the patch was made on; load the base model of the patch")
