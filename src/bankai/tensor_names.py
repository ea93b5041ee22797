"""Canonical names of tensors: paths of Hugging Face's modules without ``.weight``, such as
``model.layers.3.mlp.up_proj``.

The first dotted part of a name that is a number from 0 to 9999 is its layer.
"""

import re
from functools import lru_cache
from typing import NamedTuple

__all__ = ["EMBEDDING", "HEAD", "MOST_LAYERS", "NORM", "TensorName", "layer_tensor", "parse_tensor_name"]

EMBEDDING, HEAD, NORM = "model.embed_tokens", "lm_head", "model.norm"
MOST_LAYERS = 10_000
"""Layers are numbered below this."""

_LAYERS = "model.layers.{}."
_LAYER = re.compile(r"(?<![^.])(?:0|[1-9][0-9]{0,3})(?![^.])", re.ASCII)


class TensorName(NamedTuple):
    """``family``: the name with ``{}`` in place of its layer's number; ``layer``: that number, None outside layers."""

    family: str
    layer: int | None

    def __str__(self) -> str:
        return self.family if self.layer is None else self.family.replace("{}", str(self.layer), 1)

    @property
    def path(self) -> str:
        """Path inside its layer, ``mlp.up_proj``; the whole name outside layers."""
        return self.family.removeprefix(_LAYERS)

    @property
    def projection(self) -> str:
        """The last part, ``up_proj``."""
        return self.family.rpartition(".")[2]


@lru_cache(maxsize=1 << 15)
def parse_tensor_name(name: str) -> TensorName:
    """The parts of a name. Any text is taken: one without a layer is a family of its own."""
    found = _LAYER.search(name)
    if found is None:
        return TensorName(name, None)
    return TensorName(f"{name[: found.start()]}{{}}{name[found.end() :]}", int(found[0]))


def layer_tensor(layer: int, path: str) -> str:
    """The name of a tensor inside a layer."""
    return f"model.layers.{layer}.{path}"
