"""The crew of a search for the time that it lasts: this process, or workers on a cluster.

Defaults of a worker: as many CPUs as torch has threads here, on a local cluster its share of the cores; a whole GPU
when it computes on one.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from bankai.checkpoint.model_file import builtin_models
from bankai.cluster.connection import connected
from bankai.cluster.files import digest
from bankai.cluster.settings import Cluster
from bankai.cluster.staff import Staff
from bankai.cluster.worker import Duty
from bankai.errors import ClusterError
from bankai.model.decoder import Decoder
from bankai.search.crew import Crew, Hire, alone
from bankai.search.events import Staffed
from bankai.search.parts import Slice

__all__ = ["ModelSource", "staffed", "threads_of"]


@dataclass(frozen=True)
class ModelSource:
    """A model as this process holds it: where it came from, whether expanded, what it computes on, in and with."""

    source: str
    dense: bool
    device: str
    dtype: str
    threads: int


@contextmanager
def staffed(cluster: Cluster | None, model: ModelSource, tell: Callable[[Staffed], None]) -> Iterator[Hire]:
    """What hires the crew of a search; workers on a cluster are dismissed at the end.

    `tell` hears how many there are. Raises ClusterError and MissingExtraError.
    """
    if cluster is None:
        yield alone
        return
    gpus = _gpus_per_worker(cluster, model.device)
    builtin = builtin_models().get(model.source)
    path = builtin or Path(model.source).absolute()
    workers = _local_workers(cluster, model)
    with connected(cluster, workers * model.threads), ExitStack() as stack:

        def hire(decoder: Decoder, slices: Sequence[Slice]) -> Crew:
            duty = Duty(
                model.source if builtin else str(path),
                digest(path),
                model.dense,
                model.device,
                model.dtype,
                model.threads,
                tuple(slices),
            )
            stack.close()  # one crew at a time: those before have what this one needs
            staff = Staff(
                duty,
                path,
                decoder.layers,
                recurrent=decoder.architecture.recurrent,
                workers=cluster.workers,
                gpus=gpus,
                tell=tell,
            )
            stack.callback(staff.dismiss)
            return staff

        yield hire


def threads_of(cluster: Cluster | None) -> int:
    """Threads that compute each unit; without a cluster those of this process."""
    if cluster is None or not (cluster.is_local or cluster.threads):
        return torch.get_num_threads()
    return cluster.threads or max(1, _cores() // (cluster.workers or _cores()))


def _local_workers(cluster: Cluster, model: ModelSource) -> int:
    """Workers that a local cluster is made for. Raises ClusterError."""
    if cluster.workers:
        most = os.cpu_count() or 1
        if cluster.workers > most:
            raise ClusterError(
                f"{cluster.where} is too many: this machine has {most} cores; give local:{most}"
            )
        return cluster.workers
    if gpus := _gpus_per_worker(cluster, model.device):
        return max(1, int(torch.cuda.device_count() / gpus))
    return max(1, _cores() // model.threads)


def _gpus_per_worker(cluster: Cluster, device: str) -> float:
    return (cluster.gpus_per_worker or 1.0) if device.startswith("cuda") else 0.0


def _cores() -> int:
    """Of this machine, as far as this process may use them."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
