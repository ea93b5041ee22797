"""Changing a model where it is.

Contract: the model file is at all times the old one or the new one, bit for bit: the new one is made beside
it and renamed over it. The sidecar names the patch as pending first, so that after a crash at any moment
the bits tell which of the two it is. One change at a time in a directory (an advisory lock); what a killed
one left is cleared.
"""

import fcntl
import os
import re
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from bankai.errors import BankaiError, StoreError
from bankai.formats.checkpoint import builtin_models, open_checkpoint
from bankai.formats.files import parse_object, sync, writing
from bankai.patch import Patch
from bankai.store.change import Change, plan
from bankai.store.ledger import Ledger
from bankai.store.sidecar import save, sidecar_path

__all__ = ["apply_in_place", "revert_in_place"]


def apply_in_place(path: str | Path, patch: Patch, *, unbound: bool = False) -> Patch:
    """Put `patch` on a model where it is, and return the patch, bound.

    Raises as `bankai.store.apply_patch` does; StoreError for a built-in, linked or read-only model, and for
    an MLX directory in which more than one file would change.
    """
    return _change(path, patch, True, unbound)


def revert_in_place(path: str | Path, patch: Patch) -> Patch:
    """Take `patch` off a model where it is; raises as `revert_patch` and `apply_in_place` do."""
    return _change(path, patch, False)


def _change(source: str | Path, patch: Patch, on: bool, unbound: bool = False) -> Patch:
    path = _model(source)
    with _locked(path):
        with open_checkpoint(path) as checkpoint:
            change = plan(Ledger.of(checkpoint), patch, on, unbound)
        target = _target(path, change.patch)
        if target is None:
            return change.patch
        try:
            save(sidecar_path(path), change.listed(pending=True))
            _replace(path, target, change)
        finally:
            with suppress(BankaiError):  # a pending line that stays is harmless: the bits decide
                _settle(path)
    return change.patch


def _settle(path: Path) -> None:
    """Rewrite the sidecar as the bits have it, without pending lines."""
    with open_checkpoint(path) as checkpoint:
        applied = Ledger.of(checkpoint).applied
    save(sidecar_path(path), applied)


def _model(source: str | Path) -> Path:
    """The absolute path of a model that may be changed. Raises StoreError."""
    builtin = builtin_models()
    path = Path(os.path.abspath(source))
    shipped = any(path.exists() and path.samefile(model) for model in builtin.values())
    if shipped or isinstance(source, str) and source in builtin:
        raise StoreError(f"{source} is built in and stays as it is; write a copy with -o")
    if path.is_symlink():
        raise StoreError(f"{source} is a link; name the model itself, or write a copy with -o")
    return path


def _target(path: Path, patch: Patch) -> Path | None:
    """The one file of a model that holds all touched tensors; None for an empty patch. Raises StoreError."""
    if not patch:
        return None
    files = [path]
    if path.is_dir():
        index = path / "model.safetensors.index.json"
        names = {"model.safetensors"}
        if index.is_file():
            shards = parse_object(index.read_bytes(), str(index))["weight_map"]
            names = {shards[f"{flip.tensor}.weight"] for flip in patch.flips}
        files = [path / name for name in names]
    if len(files) > 1:
        raise StoreError(f"the patch changes {len(files)} files of {path}, not one; write a copy with -o")
    status = files[0].lstat()
    if stat.S_ISLNK(status.st_mode):
        raise StoreError(f"{files[0]} is a link; write a copy with -o")
    if status.st_nlink > 1:
        raise StoreError(f"{files[0]} has {status.st_nlink} names (hard links); write a copy with -o")
    if not status.st_mode & 0o222 or not os.access(files[0], os.W_OK):
        raise StoreError(f"{files[0]} is read-only; make it writable, or write a copy with -o")
    return files[0]


def _replace(path: Path, target: Path, change: Change) -> None:
    """Put the changed `target`, the model itself or a file in its directory, in the place of the old one."""
    if target == path:
        with writing(path) as copy:
            shutil.copyfile(path, copy)
            change.make(copy)
            _keep_owner(path, copy)
        return
    temporary = path.with_name(f".{path.name}.{os.urandom(4).hex()}.tmp")
    try:
        temporary.mkdir()
        for file in path.iterdir():
            if file != target and file.is_file():
                os.link(file, temporary / file.name)  # a second name for what stays the same
        copy = temporary / target.name
        shutil.copyfile(target, copy)
        change.make(temporary)
        _keep_owner(target, copy)
        sync(copy)
        os.replace(copy, target)
        sync(path)
    except OSError as error:
        raise StoreError(f"{path} cannot be changed in place: {error}; write a copy with -o") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _keep_owner(old: Path, new: Path) -> None:
    """Give the new file the old one's permissions, and its owner where we may."""
    status = old.stat()
    with suppress(PermissionError):
        os.chown(new, status.st_uid, status.st_gid)
    os.chmod(new, stat.S_IMODE(status.st_mode))


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold the lock of the directory that the model is in, and clear what a killed change left there."""
    try:
        handle = os.open(path.parent, os.O_RDONLY)
    except OSError as error:
        raise StoreError(f"{path.parent} cannot be opened: {error}; check the path") from error
    try:
        with suppress(OSError):  # some network file systems have no locks
            fcntl.flock(handle, fcntl.LOCK_EX)
        for file in (path, sidecar_path(path)):
            _sweep(file)
        yield
    finally:
        os.close(handle)


def _sweep(path: Path) -> None:
    """Remove temporary files and directories that were to become `path`."""
    left_over = re.compile(rf"\.{re.escape(path.name)}\.[0-9a-f]{{8}}\.tmp")
    for entry in path.parent.iterdir():
        if left_over.fullmatch(entry.name):
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry, ignore_errors=True)
            else:
                entry.unlink(missing_ok=True)
