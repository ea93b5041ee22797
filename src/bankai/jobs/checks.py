"""What several jobs refuse before their work is done."""

from pathlib import Path

from bankai.checkpoint.model_file import open_checkpoint
from bankai.errors import StateError
from bankai.patch import fingerprint
from bankai.patching import status

__all__ = ["fingerprint_of", "require_base", "require_same"]


def fingerprint_of(source: str | Path) -> str:
    """Of the base of a model file, in hex. Raises what opening it raises."""
    with open_checkpoint(source) as checkpoint:
        return fingerprint(checkpoint).hex()


def require_same(source: str | Path, wanted: str, folder: Path) -> None:
    """Raise StateError when the fingerprint of a model is not the one of the work in a folder that is to go on."""
    if fingerprint_of(source) != wanted:
        raise StateError(f"{source} is not the model that {folder} began with; put that one back")


def require_base(source: str | Path, verb: str) -> None:
    """Raise StateError when a model has patches on; `verb` is what to do with its base instead."""
    if listed := status(source).patches:
        names = ", ".join(applied.name or "unnamed" for applied in listed)
        raise StateError(f"{source} has patches on ({names}); {verb} its base: bankai revert takes them off")
