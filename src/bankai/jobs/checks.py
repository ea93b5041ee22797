"""What several jobs refuse before their work is done."""

from pathlib import Path

from bankai.errors import StateError
from bankai.patching import status

__all__ = ["require_base"]


def require_base(source: str | Path, verb: str) -> None:
    """Raise StateError when a model has patches on; `verb` is what to do with its base instead."""
    if listed := status(source).patches:
        names = ", ".join(applied.name or "unnamed" for applied in listed)
        raise StateError(f"{source} has patches on ({names}); {verb} its base: bankai revert takes them off")
