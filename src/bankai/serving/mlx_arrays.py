"""Patches on a loaded MLX model: bits of its packed words flipped in place, and taken off exactly.

MLX's 1-bit weight is `weight`, uint32 [out, in / 32], with `scales` 2d and `biases` -d, both [out, in / 128]; its words
are the sign bits, lowest first. A flip inverts bits of `weight` and touches nothing else. Arrays change where they
are, so whoever holds them computes with the new bits from the next call on; what was computed before, such as a KV
cache, is of another model and must be dropped, and a function made by `mx.compile` that closed over the weights keeps
the old ones.

Importing this module needs mlx, not mlx-lm and not torch.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from bankai.errors import UnknownTensorError, UnsupportedModelError
from bankai.patch import Flip, Patch
from bankai.patch.binding import check_addition, check_not_on
from bankai.patch.places import check_places, places_by_tensor
from bankai.quantization import MatrixInfo, PackedTensor
from bankai.quantization.one_bit import Q1_0, one_bit_blocks, signs_of

__all__ = ["MlxTensors"]

_WORD = 32
_ONE_BIT_ONLY = "of MLX models only 1-bit ones in groups of 128 can be patched yet"


class MlxTensors:
    """The weight matrices of an MLX model by canonical name; implements `bankai.quantization.Matrices`.

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
            raise UnsupportedModelError(f"the model has no weight of 1 bit in groups of 128; {_ONE_BIT_ONLY}")

    @property
    def matrices(self) -> Mapping[str, MatrixInfo]:
        """By name, in the order of the modules."""
        return {
            name: MatrixInfo(Q1_0, (scales.shape[0], scales.shape[1] * Q1_0.weights))
            for name, (_, scales, _) in self._arrays.items()
        }

    def packed(self, name: str, rows: Sequence[int] | NDArray[np.intp] | None = None) -> PackedTensor:
        """The matrix as it is now, or rows of it, in a copy. Raises UnknownTensorError and, for scales and biases that
        are not 2d and -d, UnsupportedModelError.
        """
        if name not in self._arrays:
            raise UnknownTensorError(
                f"the model has no weight matrix {name!r}; use the model that the patch was made for"
            )
        d = self._scales(name)
        words = np.array(
            self._arrays[name][0], copy=False
        )  # little-endian, as every machine that MLX runs on
        at = slice(None) if rows is None else np.asarray(rows, np.intp)
        signs = np.ascontiguousarray(words[at]).view(np.uint8)
        return PackedTensor(name, Q1_0, one_bit_blocks(d[at], signs.reshape(*d[at].shape, -1)))

    def _scales(self, name: str) -> NDArray[np.float16]:
        """Of each group ``d``. Raises UnsupportedModelError where inverted bits would not negate the weights."""
        _, scales, biases = self._arrays[name]
        wide, halves = (np.array(array.astype(mx.float32)) for array in (biases, scales))
        with np.errstate(over="ignore"):
            d: NDArray[np.float16] = (-wide).astype(np.float16)
        if not (np.array_equal(-wide, d) and np.array_equal(halves, 2 * d.astype(np.float32))):
            raise UnsupportedModelError(f"scales and biases of {name} are not 2d and -d; {_ONE_BIT_ONLY}")
        return d

    def flip(self, flips: Iterable[Flip]) -> None:
        """Toggle flips in place; the same call again undoes them.

        Nothing is compared with a base. Every place is checked before the first bit changes. Raises
        UnknownTensorError, RowRangeError and UnsupportedModelError.
        """
        flips = frozenset(flips)
        check_places(self, flips)
        by_tensor, changed = places_by_tensor(flips), []
        for name in by_tensor:
            self._scales(name)
        for name, places in by_tensor.items():
            weight = self._arrays[name][0]
            rows, masks = places.masks(self.matrices[name])
            words = np.ascontiguousarray(signs_of(masks)).reshape(len(rows), -1).view("<u4")
            at = mx.array(rows.astype(np.uint32))
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
        if unbound and patch.binding is None:
            check_not_on(patch, self._active)
        else:
            check_addition(self, patch, self._active)
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
        weight.shape == (scales.shape[0], scales.shape[1] * Q1_0.weights // _WORD)
        and scales.shape == biases.shape
    )
    return module if fits and weight.dtype == mx.uint32 else None
