"""ggml's first quantizations: blocks of 32 weights with an fp16 scale ``d``, in some with an fp16 minimum ``m`` too.

A weight is ``d * q`` with a signed code q, or ``d * q + m``. So the sign of ``d``, and that of ``m`` with it, negates
the block. Layouts: https://github.com/ggml-org/ggml/blob/master/src/ggml-common.h; decoding is the `gguf` package's.
"""

from bankai.quantization.base import Quantization
from bankai.quantization.gguf_decoding import decoder

__all__ = ["LEGACY"]

_D, _M = 15, 31  # the sign bits of the first and of the second fp16 of a block

LEGACY = (
    Quantization("Q4_0", 2, 32, 18, sign_bits=(_D,), decode=decoder(2)),
    Quantization("Q4_1", 3, 32, 20, sign_bits=(_D, _M), decode=decoder(3)),
    Quantization("Q8_0", 8, 32, 34, sign_bits=(_D,), decode=decoder(8)),
)
