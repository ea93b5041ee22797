"""Blocks decoded by the `gguf` package, which knows nearly every type of ggml."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from bankai.quantization.base import Blocks

__all__ = ["decoder"]


def decoder(ggml_id: int) -> Callable[[Blocks], NDArray[np.float32]]:
    """A function that decodes blocks of a ggml type, as `Quantization.decode`; it imports the package when called."""

    def decode(blocks: Blocks) -> NDArray[np.float32]:
        from gguf import GGMLQuantizationType, dequantize

        # The scale of a damaged block may be infinite or NaN.
        with np.errstate(invalid="ignore", over="ignore"):
            weights: NDArray[np.float32] = dequantize(
                blocks.reshape(len(blocks), -1), GGMLQuantizationType(ggml_id)
            )
        return weights

    return decode
