"""Patches on a loaded MLX model: bits of its packed words flipped in place, and taken off exactly.

MLX's 1-bit weight is `weight`, uint32 [out, in / 32], with `scales` 2d and `biases` -d, both [out, in / 128]; its words
are the sign bits, lowest first. A flip inverts bits of `weight` and touches nothing else. Arrays change where they
are, so whoever holds them computes with the new bits from the next call on; what was computed before, such as a KV
cache, is of another model and must be dropped, and a function made by `mx.compile` that closed over the weights keeps
the old ones.

Importing this module needs mlx, not mlx-lm and not torch.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import mlx.core as mx
import numpy as np

from bankai.errors import UnknownTensorError, UnsupportedModelError
from bankai.patch import Flip, Patch
from bankai.patch.active import check_addition
from bankai.patch.binding import check_places, touched
from bankai.quantization.binary import GROUP, GROUP_BYTES, ONE_BIT_ONLY, BinaryTensor

__all__ = ["MlxTensors"]

_WORD = 32


class MlxTensors:
    """The binary tensors of an MLX model by canonical name; implements `BinaryTensors`.

    ``modules`` maps names such as "model.layers.0.mlp.up_proj" to what holds the arrays: an object with ``weight``,
    ``scales`` and ``biases``, such as MLX's ``QuantizedLinear``, or the three as a tuple. What is not quantized to
    1 bit in groups of 128 is left out, so ``dict(model.named_modules())`` will do. A head tied to the embedding goes
    by the embedding's name. Raises UnsupportedModelError when nothing is left.
    """

    def __init__(self, modules: Mapping[str, Any]) -> None:
        found = {name: _arrays(module) for name, module in modules.items()}
        self._arrays = {name: arrays for name, arrays in found.items() if arrays is not None}
        self._active: list[Patch] = []
        if not self._arrays:
            raise UnsupportedModelError(f"the model has no weight of 1 bit in groups of 128; {ONE_BIT_ONLY}")

    def binary_names(self) -> tuple[str, ...]:
        """Canonical names, in the order of the modules."""
        return tuple(self._arrays)

    def binary(self, name: str) -> BinaryTensor:
        """The tensor as it is now, in read-only arrays. Raises UnknownTensorError and, for scales and biases that
        are not 2d and -d, UnsupportedModelError.
        """
        if name not in self._arrays:
            raise UnknownTensorError(
                f"the model has no binary tensor {name!r}; use the model that the patch was made for"
            )
        weight, scales, biases = self._arrays[name]
        signs = np.array(weight, copy=False).view(
            np.uint8
        )  # little-endian, as every machine that MLX runs on
        wide, halves = (np.array(array.astype(mx.float32)) for array in (biases, scales))
        with np.errstate(over="ignore"):
            d = (-wide).astype(np.float16)
        if not (np.array_equal(-wide, d) and np.array_equal(halves, 2 * d.astype(np.float32))):
            raise UnsupportedModelError(f"scales and biases of {name} are not 2d and -d; {ONE_BIT_ONLY}")
        signs.flags.writeable = d.flags.writeable = False
        return BinaryTensor(name, signs.reshape(*d.shape, GROUP_BYTES), d)

    def flip(self, flips: Iterable[Flip]) -> None:
        """Toggle flips in place; the same call again undoes them.

        Nothing is compared with a base. Every place is checked before the first bit changes. Raises
        UnknownTensorError, RowRangeError and UnsupportedModelError.
        """
        flips = frozenset(flips)
        check_places(self, flips)
        changed = []
        for name, places in touched(flips).items():
            weight, scales, _ = self._arrays[name]
            rows, masks = places.masks(scales.shape[1])
            words, at = masks.reshape(len(rows), -1).view("<u4"), mx.array(rows.astype(np.uint32))
            weight[at] = weight[at] ^ mx.array(words)
            changed.append(weight)
        mx.eval(changed)

    @contextmanager
    def patched(self, patch: Patch, *, unbound: bool = False) -> Iterator[None]:
        """The model with the patch on, inside the block; after it the bits are what they were.

        Patches of one model may be nested and may overlap. ``unbound=True`` lets a patch pass that says nothing of
        its base. Raises WrongBaseError, AlreadyAppliedError, UnboundPatchError and what `flip` raises; then nothing
        has changed.
        """
        check_addition(self, patch, self._active, unbound)
        self.flip(patch.flips)
        self._active.append(patch)
        try:
            yield
        finally:
            self._active.remove(patch)
            self.flip(patch.flips)


def _arrays(module: Any) -> tuple[mx.array, mx.array, mx.array] | None:
    """Weight, scales and biases, or None for what is not 1-bit in groups of 128."""
    if not isinstance(module, tuple):
        if getattr(module, "bits", 1) != 1:
            return None
        module = tuple(getattr(module, key, None) for key in ("weight", "scales", "biases"))
    if len(module) != 3 or not all(isinstance(array, mx.array) and array.ndim == 2 for array in module):
        return None
    weight, scales, biases = module
    fits = (
        weight.shape == (scales.shape[0], scales.shape[1] * GROUP // _WORD) and scales.shape == biases.shape
    )
    return module if fits and weight.dtype == mx.uint32 else None
