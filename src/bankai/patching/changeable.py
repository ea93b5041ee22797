"""Which models may be changed in place. Every refusal names a way out."""

import os
import stat
from pathlib import Path

from bankai.checkpoint.model_file import builtin_models
from bankai.errors import StoreError

__all__ = ["changeable", "check_file"]

# Folders of the Hugging Face Hub and Ollama: files named by their contents, shared by links.
_CACHES = ("blobs", "snapshots")
_COPY = "write a copy (`apply` or `revert` with -o)"


def changeable(source: str | Path) -> Path:
    """The absolute path of a model. Raises StoreError when it is built in, a link, or in a cache of downloads."""
    builtin = builtin_models()
    path = Path(os.path.abspath(source))
    shipped = any(path.exists() and path.samefile(model) for model in builtin.values())
    if shipped or isinstance(source, str) and source in builtin:
        raise StoreError(f"{source} is built in and stays as it is; {_COPY}")
    if path.is_symlink():
        raise StoreError(f"{source} is a link; name the model itself, or {_COPY}")
    real = Path(os.path.realpath(path))
    hub = any(folder.name.startswith("models--") for folder in real.parents)  # some disks have no links
    if hub or real.parent.name in _CACHES:
        raise StoreError(f"{source} lies in a cache of downloads, whose files others share; {_COPY}")
    return path


def check_file(path: Path) -> None:
    """Raises StoreError unless this is a writable file with one name."""
    status = path.lstat()
    if stat.S_ISLNK(status.st_mode):
        raise StoreError(f"{path} is a link; {_COPY}")
    if status.st_nlink > 1:
        raise StoreError(f"{path} has {status.st_nlink} names (hard links); {_COPY}")
    if not status.st_mode & 0o222 or not os.access(path, os.W_OK):
        raise StoreError(f"{path} is read-only; make it writable, or {_COPY}")
