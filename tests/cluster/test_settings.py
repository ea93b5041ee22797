"""Where a cluster is, in words; and what needs no Ray."""

import subprocess
import sys

import pytest
import torch

from bankai.cluster import Cluster, ModelSource, staffed, threads_of
from bankai.errors import ClusterError, MissingExtraError
from bankai.search.crew import alone

NANO = ModelSource("nano", True, "cpu", "float32", 1)


@pytest.mark.parametrize(
    ("where", "local", "workers", "address"),
    [
        ("local", True, None, None),
        ("local:3", True, 3, None),
        ("auto", False, None, None),
        ("head.lab:6379", False, None, ("head.lab", 6379)),
        ("10.0.0.7:6379", False, None, ("10.0.0.7", 6379)),
        ("[fd00::1]:6379", False, None, ("fd00::1", 6379)),
    ],
)
def test_where(where, local, workers, address) -> None:
    found = Cluster(where=where)
    assert (found.is_local, found.workers, found.address) == (local, workers, address)


@pytest.mark.parametrize(
    "where", ["", "local:0", "local:", "local:x", "ray://head:10001", "head", "a b:1", "auto:2"]
)
def test_where_not(where) -> None:
    with pytest.raises(ClusterError, match="give local"):
        Cluster(where=where)


def test_threads_of_a_worker() -> None:
    cores = threads_of(Cluster(where="local:1"))
    assert threads_of(Cluster(where="local")) == 1
    assert threads_of(Cluster(where=f"local:{2 * cores}")) == 1
    assert (
        threads_of(Cluster(where="local:1", threads=3)) == threads_of(Cluster(where="auto", threads=3)) == 3
    )
    assert threads_of(None) == threads_of(Cluster(where="auto")) == torch.get_num_threads()


def test_without_a_cluster_the_process_is_the_crew() -> None:
    with staffed(None, NANO, lambda event: None) as hire:
        assert hire is alone


def test_without_ray_the_extra_is_named(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with (
        pytest.raises(MissingExtraError, match=r"bankai\[ray\]"),
        staffed(Cluster(where="auto"), NANO, print),
    ):
        pass


def test_ray_is_imported_by_nobody_who_does_not_need_it() -> None:
    code = "import sys, bankai.jobs.search, bankai.cluster.staff; sys.exit('ray' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_more_local_workers_than_cores_are_refused() -> None:
    crowd = staffed(Cluster(where="local:9999"), NANO, print)
    with pytest.raises(ClusterError, match=r"this machine has \d+ cores; give local:"), crowd:
        pass


def test_an_address_where_nobody_is_is_refused_at_once() -> None:
    nobody = staffed(Cluster(where="127.0.0.1:9"), NANO, print)
    with pytest.raises(ClusterError, match="nothing answers at 127.0.0.1:9"), nobody:
        pass
