"""Architectures: settings, names and order of tensors in a file, and layers of each kind of model, one file each.

To add an architecture, add a module of it and name it in `ARCHITECTURES`.
"""

from collections.abc import Mapping
from typing import Any

from bankai.architectures.base import Architecture
from bankai.architectures.llama import Llama
from bankai.architectures.qwen3 import Qwen3
from bankai.architectures.qwen35 import Qwen35
from bankai.architectures.settings import Config
from bankai.errors import UnsupportedModelError
from bankai.io import quote

__all__ = [
    "ARCHITECTURES",
    "PROJECTIONS",
    "PROJECTION_FAMILIES",
    "Architecture",
    "Config",
    "architecture",
    "config_from_gguf",
    "config_from_hf",
]

ARCHITECTURES: tuple[Architecture, ...] = (Qwen3(), Qwen35(), Llama())
"""All that can be read and computed."""


def architecture(name: object) -> Architecture:
    """The architecture of that GGUF or Hugging Face name. Raises UnsupportedModelError."""
    for known in ARCHITECTURES:
        if isinstance(name, str) and name in (known.name, known.model_type):
            return known
    names = ", ".join(known.name for known in ARCHITECTURES)
    raise UnsupportedModelError(f"architecture {quote(name)} is not supported yet; use a model of: {names}")


def config_from_gguf(metadata: Mapping[str, Any], vocab_size: int, tied: bool) -> Config:
    """Normal form of GGUF metadata of any architecture. Raises UnsupportedModelError and ModelFormatError."""
    return architecture(metadata.get("general.architecture")).config_from_gguf(metadata, vocab_size, tied)


def config_from_hf(raw: Mapping[str, Any]) -> Config:
    """Normal form of a Hugging Face ``config.json``. Raises UnsupportedModelError and ModelFormatError."""
    return architecture(raw.get("model_type")).config_from_hf(raw)


def _families() -> dict[str, tuple[str, ...]]:
    families: dict[str, dict[str, None]] = {}
    for known in ARCHITECTURES:
        for kind in known.layers.values():
            families.setdefault("mlp", {}).update(dict.fromkeys(kind.mlp))
            families.setdefault(kind.family, {}).update(dict.fromkeys(kind.mixer))
    return {name: tuple(paths) for name, paths in families.items()}


PROJECTION_FAMILIES = _families()
"""What users call several projections together -> their paths inside a layer."""
PROJECTIONS = {path.rpartition(".")[2]: path for paths in PROJECTION_FAMILIES.values() for path in paths}
"""Short name of each projection -> its path inside a layer."""
