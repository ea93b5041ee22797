"""Weights out of blocks by the `gguf` package, which knows nearly every type of ggml."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from bankai.quantization.base import Blocks

__all__ = ["decoder"]


def decoder(ggml_id: int) -> Callable[[Blocks], NDArray[np.float32]]:
    """The decoding of a ggml type; the package is imported when it is first used."""

    def decode(blocks: Blocks) -> NDArray[np.float32]:
        from gguf import GGMLQuantizationType, dequantize

        with np.errstate(invalid="ignore", over="ignore"):  # random blocks may have a scale that is no number
            weights: NDArray[np.float32] = dequantize(
                blocks.reshape(len(blocks), -1), GGMLQuantizationType(ggml_id)
            )
        return weights

    return decode
