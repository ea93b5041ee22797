"""How the weights of a matrix are stored, and which bits negate them.

To add a quantization, add an entry to the table of its family; each family is one module of this package.
"""

from bankai.errors import UnsupportedModelError
from bankai.quantization.base import Blocks, Matrices, MatrixInfo, PackedTensor, Quantization
from bankai.quantization.floats import FLOATS
from bankai.quantization.legacy import LEGACY
from bankai.quantization.one_bit import Q1_0

__all__ = [
    "QUANTIZATIONS",
    "Blocks",
    "Matrices",
    "MatrixInfo",
    "PackedTensor",
    "Quantization",
    "ggml_quantization",
    "quantization",
]

QUANTIZATIONS = (Q1_0, *LEGACY, *FLOATS)
"""All that can be read."""

_BY_NAME = {known.name: known for known in QUANTIZATIONS}
_BY_ID = {known.ggml_id: known for known in QUANTIZATIONS}


def quantization(name: str) -> Quantization:
    """The quantization of that name, such as ``Q4_1``. Raises UnsupportedModelError."""
    if name not in _BY_NAME:
        raise UnsupportedModelError(
            f"quantization {name!r:.40} is not supported yet; use a model in {' or '.join(_BY_NAME)}"
        )
    return _BY_NAME[name]


def ggml_quantization(ggml_id: int) -> Quantization:
    """The quantization of that type number in GGUF files. Raises UnsupportedModelError."""
    if ggml_id not in _BY_ID:
        raise UnsupportedModelError(
            f"ggml type {_named(ggml_id)} is not supported yet; use a model in {' or '.join(_BY_NAME)}"
        )
    return _BY_ID[ggml_id]


def _named(ggml_id: int) -> str:
    """The number, behind the name that the `gguf` package has for it, if any."""
    from gguf import GGMLQuantizationType

    known = {kind.value: f"{kind.name} ({kind.value})" for kind in GGMLQuantizationType}
    return known.get(ggml_id, str(ggml_id))
