"""Ray for these tests: on the loopback interface only, silent, in a folder of its own that goes afterwards."""

import os
import shutil
import tempfile
from collections.abc import Iterator

import pytest

NODE = {"num_cpus": 1, "node_ip_address": "127.0.0.1", "object_store_memory": 100 * 2**20}


@pytest.fixture(scope="session", autouse=True)
def short_folder() -> Iterator[str]:
    """Ray's sockets need short names."""
    folder = tempfile.mkdtemp(prefix="ray-", dir="/tmp")
    alone = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_TMPDIR": folder}
    before = {name: os.environ.get(name) for name in alone}
    os.environ.update(alone)
    yield folder
    for name, value in before.items():
        os.environ.pop(name) if value is None else os.environ.update({name: value})
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def machines(short_folder: str) -> Iterator["Machines"]:
    """A cluster of three machines of one CPU each."""
    found = Machines()
    yield found
    found.stop()


class Machines:
    """Processes that Ray takes for machines."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster

        self.cluster = Cluster(initialize_head=True, head_node_args={**NODE, "include_dashboard": False})
        for _ in range(2):
            self.add()

    @property
    def address(self) -> str:
        return self.cluster.address

    def add(self) -> None:
        self.cluster.add_node(**NODE)

    def kill_one(self) -> None:
        """As a power cut would."""
        self.cluster.remove_node(next(iter(self.cluster.worker_nodes)), allow_graceful=False)

    def stop(self) -> None:
        import ray

        ray.shutdown()
        self.cluster.shutdown()
