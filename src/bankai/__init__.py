"""XOR patches for language models.

The public names below are loaded when first used: `import bankai` costs nothing, and what works on files
alone never imports torch. Errors are in `bankai.errors`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bankai.checkpoint.convert import convert
    from bankai.checkpoint.model_file import open_checkpoint
    from bankai.errors import BankaiError
    from bankai.library.hub import from_pretrained, push_to_hub, save_pretrained
    from bankai.library.library import Library
    from bankai.model import load, patched
    from bankai.patch import Flip, Manifest, Patch, bind, read_patch, write_patch
    from bankai.patching import apply_patch, revert_patch, status
    from bankai.probes import Probe, ProbeSet, load_probe_set
    from bankai.quantization import PackedTensor
    from bankai.search import SearchProbes, SearchSettings, make_patch, run_search

_HOMES = {
    "bankai.quantization": ("PackedTensor",),
    "bankai.errors": ("BankaiError",),
    "bankai.checkpoint.model_file": ("open_checkpoint",),
    "bankai.checkpoint.convert": ("convert",),
    "bankai.model": ("load", "patched"),
    "bankai.patch": ("Flip", "Manifest", "Patch", "bind", "read_patch", "write_patch"),
    "bankai.probes": ("Probe", "ProbeSet", "load_probe_set"),
    "bankai.search": ("SearchProbes", "SearchSettings", "make_patch", "run_search"),
    "bankai.patching": ("apply_patch", "revert_patch", "status"),
    "bankai.library.hub": ("from_pretrained", "push_to_hub", "save_pretrained"),
    "bankai.library.library": ("Library",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "BankaiError",
    "Flip",
    "Library",
    "Manifest",
    "PackedTensor",
    "Patch",
    "Probe",
    "ProbeSet",
    "SearchProbes",
    "SearchSettings",
    "apply_patch",
    "bind",
    "convert",
    "from_pretrained",
    "load",
    "load_probe_set",
    "make_patch",
    "open_checkpoint",
    "patched",
    "push_to_hub",
    "read_patch",
    "revert_patch",
    "run_search",
    "save_pretrained",
    "status",
    "write_patch",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_HOME_OF[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
