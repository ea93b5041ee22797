"""Files that come with models and are none: a part of one, or what goes with one. Each is told what it is.

A model may be cut at its tensors, by llama.cpp's `gguf-split`, whose keys say so; or anywhere, by who had to keep files
below some size, which only their names tell. What a file is for, GGUF calls `general.type`.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bankai.errors import UnsupportedModelError

__all__ = ["check_model", "check_uncut"]

_CUT = re.compile(r"(.+\.gguf)[-_.](?:split|part)[-_.]?(?:\d+(?:of\d+)?|[a-z]{1,2})", re.I)
_SPLIT = re.compile(r"(.+)-\d{5}-of-(\d{5})\.gguf", re.I)
_COMPANIONS = {
    "adapter": "an adapter (LoRA)",
    "mmproj": "the part of a model that reads images",
    "imatrix": "a table of what matters in a model",
}


def check_uncut(path: Path) -> None:
    """Raises UnsupportedModelError for a piece of a file that was cut anywhere, going by its name."""
    if found := _CUT.fullmatch(path.name):
        whole = found[1]
        raise UnsupportedModelError(
            f"{path} is a piece of {whole}; put the pieces together in their order: cat {whole}?* > {whole}"
        )


def check_model(path: Path, metadata: Mapping[str, Any]) -> None:
    """Raises UnsupportedModelError for one of the files of a split model, and for what is no model by its own word."""
    count = metadata.get("split.count")
    if isinstance(count, int) and count > 1:
        name = _SPLIT.fullmatch(path.name)
        whole = f"{name[1]}.gguf" if name else "MODEL.gguf"
        first = f"{name[1]}-00001-of-{name[2]}.gguf" if name else "FIRST"
        raise UnsupportedModelError(
            f"{path} is one of the {count} files of a model; join them by llama.cpp's tool: "
            f"llama-gguf-split --merge {first} {whole}"
        )
    older = "mmproj" if metadata.get("general.architecture") == "clip" else "model"
    kind = metadata.get("general.type", older)
    if isinstance(kind, str) and kind in _COMPANIONS:
        raise UnsupportedModelError(
            f"{path} is {_COMPANIONS[kind]}, not a model; give the model that it is for"
        )
