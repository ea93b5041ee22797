"""The connection to a Ray cluster, and a cluster of one machine when none is there to connect to.

Nothing is told to anybody: usage statistics and the dashboard are off, and a local cluster listens on the loopback
interface only. Its files go when it ends. The one place besides `staff` that imports Ray.
"""

import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bankai.cluster.settings import Cluster
from bankai.errors import ClusterError, MissingExtraError

__all__ = ["connected", "import_ray"]

PATIENCE = 10.0  # seconds for an address to answer
# Ray resolves loopback addresses to those of the network unless it is told that there is no other machine.
LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
# Ray would print on stdout that a worker died, between what a command has to say; the search tells it as it goes.
SILENT = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_DEDUP_LOGS_SKIP_REGEX": "."}


def import_ray() -> Any:
    """The package. Raises MissingExtraError."""
    try:
        import ray
    except ImportError as error:
        raise MissingExtraError(
            "a search on a cluster needs Ray; install it: pip install 'bankai[ray]'"
        ) from error
    return ray


@contextmanager
def connected(cluster: Cluster, cpus: int) -> Iterator[None]:
    """Inside, Ray is connected; a local cluster has so many CPUs, and the GPUs of this machine.

    A connection that is there already is used, and stays. Through one of ours SIGTERM does what Ctrl-C does.

    Raises ClusterError and MissingExtraError.
    """
    _require_answer(cluster)
    os.environ.update(SILENT | LOOPBACK if cluster.is_local else SILENT)
    ray = import_ray()
    if ray.is_initialized():
        yield
        return
    with (
        TemporaryDirectory(prefix="bankai-", dir=_short(), ignore_cleanup_errors=True) as folder,
        _sigterm_kept(),
    ):
        where = {"_temp_dir": folder} if cluster.is_local else {}
        _init(ray, cluster, cpus, where)
        try:
            _interrupt_at_sigterm()
            yield
        finally:
            ray.shutdown()


@contextmanager
def _sigterm_kept() -> Iterator[None]:
    """Afterwards SIGTERM does what it did before."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if before is not None and _in_main_thread():  # None: somebody else's, which Python cannot put back
            signal.signal(signal.SIGTERM, before)


def _interrupt_at_sigterm() -> None:
    """Ray would abort this process, with a trace, and leave its files."""
    if _in_main_thread():
        signal.signal(signal.SIGTERM, signal.default_int_handler)


def _in_main_thread() -> bool:
    """The only one that Python lets choose what a signal does."""
    return threading.current_thread() is threading.main_thread()


def _short() -> str | None:
    """A folder whose name leaves room for those of sockets, at most 107 bytes in all."""
    return "/tmp" if Path("/tmp").is_dir() else None


def _init(ray: Any, cluster: Cluster, cpus: int, where: dict[str, str]) -> None:
    quiet = {"log_to_driver": False, "logging_level": "ERROR"}
    if cluster.is_local:
        ray.init(address="local", num_cpus=cpus, include_dashboard=False, **where, **quiet)
        return
    try:
        ray.init(address=cluster.where, **quiet)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise ClusterError(
            f"no Ray cluster answers at {cluster.where} ({error}); run this on one of its machines, "
            "or give --cluster local"
        ) from error


def _require_answer(cluster: Cluster) -> None:
    """Ray itself would try for minutes."""
    if cluster.address is None:
        return
    try:
        socket.create_connection(cluster.address, PATIENCE).close()
    except (OSError, UnicodeError) as error:  # the latter for what can be no name in the Internet
        raise ClusterError(f"nothing answers at {cluster.where} ({error}); is the cluster up?") from error
