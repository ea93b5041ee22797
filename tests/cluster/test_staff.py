"""Searches on real Ray clusters on this machine against one process: the same bytes, whatever dies."""

import os
import re
import signal
import subprocess
import sys
import time
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from wide import CONTROLS, TARGETS, TEXTS

from bankai.cluster import Cluster
from bankai.cluster import staff as staff_module
from bankai.cluster.connection import connected
from bankai.cluster.files import digest
from bankai.cluster.staff import Staff
from bankai.cluster.worker import Duty
from bankai.errors import ClusterError
from bankai.jobs.search import resume_search, search_file
from bankai.jobs.task import Task
from bankai.model import load
from bankai.model.decoder import Decoder
from bankai.probes import ProbeSet, load_probe_set
from bankai.search import Event, Joined, Problem, SearchProbes, SearchSettings, Space, Staffed, Validated
from bankai.search.parts import Slice

pytestmark = pytest.mark.engines
SETTINGS = SearchSettings(budget=100, drift=3.0)


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def few() -> ProbeSet:
    whole = load_probe_set("elicitable")
    return ProbeSet(
        "few", [one for split in ("target", "validation", "control") for one in whole.split(split)[::9]]
    )


@pytest.fixture(scope="module")
def task(few: ProbeSet) -> Task:
    return Task.of([few], texts=("the cat sat on the mat", "one and one is two"))


@pytest.fixture(scope="module")
def expected(task: Task, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The patch of one process."""
    out = tmp_path_factory.mktemp("one") / "p.bankai"
    search_file("nano", out, task, SETTINGS)
    return out.read_bytes()


def test_three_machines_find_the_patch_of_one_process(machines, task, expected, tmp_path) -> None:
    seen: list[Event] = []
    out = tmp_path / "p.bankai"
    search_file("nano", out, task, SETTINGS, lambda *told: seen.append(told[2]), cluster=at(machines))
    assert out.read_bytes() == expected
    assert max(event.workers for event in seen if isinstance(event, Staffed)) == 3


def test_what_dies_in_the_middle_changes_nothing_but_time(
    machines, task, expected, tmp_path, monkeypatch
) -> None:
    """First a machine, then a worker at its units on a machine that lives."""
    wait = Staff._await  # for all: nobody would miss one that dies before it has done anything
    monkeypatch.setattr(Staff, "_await", lambda staff, workers: wait(staff, 3))
    seen: list[Event] = []
    deaths = [machines.kill_one, kill_a_worker]

    def listen(label: str, settings: SearchSettings, event: Event) -> None:
        seen.append(event)
        if isinstance(event, Joined) and deaths:
            deaths.pop(0)()

    out = tmp_path / "p.bankai"
    search_file("nano", out, task, SETTINGS, listen, cluster=at(machines))
    machines.add()
    assert out.read_bytes() == expected
    assert [event.lost for event in seen if isinstance(event, Staffed)][-1] == 2 and not deaths


def kill_a_worker() -> None:
    actors = [process for process in processes(os.getpid()) if "ray::Worker" in " ".join(process.cmdline())]
    actors[0].send_signal(signal.SIGKILL)


def processes(ancestor: int) -> list[Any]:
    """All that came of a process, while it lives."""
    import psutil

    return psutil.Process(ancestor).children(recursive=True)


def test_an_interrupted_search_goes_on_without_a_cluster(machines, task, expected, tmp_path) -> None:
    def listen(label: str, settings: SearchSettings, event: Event) -> None:
        if isinstance(event, Validated):
            raise KeyboardInterrupt

    out = tmp_path / "p.bankai"
    with pytest.raises(KeyboardInterrupt):
        search_file("nano", out, task, SETTINGS, listen, cluster=at(machines))
    resume_search(tmp_path / "p.run")
    assert out.read_bytes() == expected


def test_ranks_are_the_same_bits_where_the_model_was_sent(machines, wide_gguf: Path, monkeypatch) -> None:
    """The workers find no file of that name, and get it through the object store. With other versions none is taken."""
    model, tokenizer = load(wide_gguf)
    probes = SearchProbes(TARGETS, CONTROLS, texts=TEXTS)
    settings = SearchSettings(space=Space(granularity="group"))
    with (
        connected(at(machines), 1),
        closing(Sender(wide_gguf)) as sender,
        Problem(model, tokenizer, probes, settings) as one,
        Problem(model, tokenizer, probes, settings, sender.hire) as other,
    ):
        flips = [place.flip for place in one.rank(4)]
        for problem in (one, other):
            problem.move_to(flips)
        for space in (settings.space, Space()):
            one.space = other.space = space
            assert one.rank(None) == other.rank(None)
        monkeypatch.setattr(staff_module, "versions", lambda: {"torch": "1.0"})
        other.crew._start()
        with pytest.raises(ClusterError, match="this process torch 1.0"):
            while True:
                other.read_plainly()


class Sender:
    """Hires workers that must be sent the model."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def hire(self, decoder: Decoder, slices: list[Slice]) -> Staff:
        duty = Duty("gone.gguf", digest(self.path), False, "cpu", "float32", 1, slices)
        told: list[Staffed] = []
        self.staff = Staff(
            duty, self.path, decoder.layers, recurrent=False, workers=2, gpus=0.0, tell=told.append
        )
        assert [event.workers for event in told[:1]] == [1]  # is there before anything is asked of it
        return self.staff

    def close(self) -> None:
        self.staff.dismiss()


def test_what_no_machine_has_is_refused(machines, task, tmp_path) -> None:
    with pytest.raises(ClusterError, match="2 CPU"):
        search_file("nano", tmp_path / "p.bankai", task, SETTINGS, cluster=at(machines, threads=2))


def at(machines, **changes: int) -> Cluster:
    return Cluster(where=machines.address, **changes)


def test_sigterm_interrupts_and_means_what_it_did_afterwards(machines) -> None:
    """Left to Ray, it aborts the process."""
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), connected(at(machines), 1):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(10)
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_local_cluster_listens_on_loopback_and_leaves_nothing(few: ProbeSet, tmp_path: Path) -> None:
    """Nor does it print anything: a worker is killed, of which Ray has much to say."""
    (tmp_path / "few.jsonl").write_bytes(b"\n".join(map(msgspec.json.encode, few.probes)))
    command = [sys.executable, "-m", "bankai", "search", "nano", "--target", "few.jsonl", "--budget", "6"]
    process = subprocess.Popen(
        [*command, "-o", "p.bankai", "--cluster", "local:2", "--threads", "1", "--json"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    seen, addresses, folders, killed = {}, set(), set(), 0
    while process.poll() is None:
        for one in processes(process.pid):
            with suppress(Exception):  # it may be gone by now
                seen[one.pid] = one.create_time()
                addresses |= {at.laddr.ip for at in one.net_connections("tcp") if at.status == "LISTEN"}
                folders |= set(re.findall(r"(/tmp/bankai-\w+)/session_", " ".join(one.cmdline())))
                if not killed and one.cmdline()[0].startswith("ray::Worker."):  # at its work
                    one.kill()
                    killed = one.pid
        time.sleep(0.2)
    assert killed and msgspec.json.decode(process.stdout.read())["patch"] is None
    assert process.returncode == 1, process.stderr.read()  # the budget was too small
    assert addresses and addresses <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}
    assert len(folders) == 1 and not Path(folders.pop()).exists()
    assert len(seen) > 4
    until = time.monotonic() + 20  # they go by themselves once the last connection is closed
    while any(alive(*one) for one in seen.items()):
        assert time.monotonic() < until
        time.sleep(0.2)


def alive(pid: int, created: float) -> bool:
    import psutil

    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        return process.create_time() == created and process.status() != psutil.STATUS_ZOMBIE
    return False
