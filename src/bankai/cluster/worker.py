"""One worker: a replica of the model in a process of its own, which does a unit at a time.

A worker has no history: every call brings the flips under which its unit is to be done, so that one which starts in the
middle of a search, or in place of another, does the same. It is plain Python; `bankai.cluster.staff` makes a Ray actor
of it.
"""

import platform
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import torch
from torch import Tensor

from bankai.checkpoint.model_file import builtin_models, open_checkpoint
from bankai.cluster.files import Files, digest, unpack
from bankai.model.decoder import Decoder
from bankai.model.loader import load_model
from bankai.patch import Flip
from bankai.search.crew import Replica, Unit, alone
from bankai.search.parts import Slice

__all__ = ["Arrival", "Duty", "Worker", "machine", "tensors", "versions"]

PACKAGES = ("bankai", "torch", "transformers")


@dataclass(frozen=True)
class Duty:
    """What every worker holds: the model whose file has this digest, as one process holds it, and what parts read."""

    source: str
    digest: str
    dense: bool
    device: str
    dtype: str
    threads: int
    slices: Sequence[Slice]


class Arrival(NamedTuple):
    """What a worker computes with: results have the same bits only where both are the same."""

    versions: dict[str, str]
    machine: str


class Worker:
    """Begins with :meth:`prepare`; :meth:`do` any number of units then."""

    def __init__(self, duty: Duty) -> None:
        self._duty = duty
        self._replica: Replica | None = None

    def prepare(self, files: Files | None = None) -> Arrival | None:
        """Load the model from its path, if the same bytes are there, or from the files; None when neither can be."""
        duty = self._duty
        torch.set_num_threads(duty.threads)
        path = builtin_models().get(duty.source, Path(duty.source))
        if digest(path) == duty.digest:
            self._load(path)
        elif files is not None:
            with TemporaryDirectory(prefix="bankai-") as folder:
                self._load(unpack(files, Path(folder)))
        else:
            return None
        return Arrival(versions(), machine(duty.device))

    def _load(self, path: Path) -> None:
        duty = self._duty
        with open_checkpoint(path) as checkpoint:
            model = load_model(checkpoint, dense=duty.dense, dtype=duty.dtype, device=duty.device)
        self._replica = alone(Decoder(model), duty.slices)

    def do(self, flips: frozenset[Flip], unit: Unit) -> list[Any]:
        """What the unit gives under these flips, with arrays for tensors."""
        assert self._replica is not None
        self._replica.follow(flips)
        found: list[Any] = []
        self._replica.run([unit], found.append)
        return [_arrays(one) for one in found]


def versions() -> dict[str, str]:
    """Of the packages that compute."""
    return {package: version(package) for package in PACKAGES}


def machine(device: str) -> str:
    """The kind of processor, as far as results depend on it."""
    if torch.device(device).type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}"


def _arrays(value: Any) -> Any:
    """Tensors inside tuples as arrays, which travel without being copied twice."""
    if isinstance(value, Tensor):
        return value.detach().contiguous().numpy()
    if isinstance(value, tuple):
        made = map(_arrays, value)
        return type(value)(*made) if hasattr(value, "_fields") else tuple(made)
    return value


def tensors(value: Any) -> Any:
    """The way back."""
    if hasattr(value, "__array_interface__"):
        return torch.tensor(value)
    if isinstance(value, tuple):
        made = map(tensors, value)
        return type(value)(*made) if hasattr(value, "_fields") else tuple(made)
    return value
