"""A crew of Ray actors: workers that are started, given units, replaced when they die, and dismissed.

The search keeps its order: units are handed to whoever is free, but what they give is taken in the order of the units.
A worker that dies, or whose machine does, loses what it was at; the others do that, and a new one starts wherever there
is room.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bankai.cluster.connection import import_ray
from bankai.cluster.files import pack
from bankai.cluster.queue import Homes, Queue
from bankai.cluster.worker import Arrival, Duty, Worker, machine, tensors, versions
from bankai.errors import ClusterError
from bankai.patch import Flip
from bankai.search.crew import Take, Unit
from bankai.search.events import Staffed
from bankai.search.parts import Contents

__all__ = ["Staff"]

AHEAD = 2  # units that a worker holds: the one it does and the next, so that it never waits for us
HEARTBEAT = 2.0  # seconds between looks at who may still come
PATIENCE = 60.0  # seconds without a worker or a machine that has room for one
DEATHS = 3  # of as many workers as there are, without a unit done in between


@dataclass(eq=False)
class _Member:
    """An actor, and the units that it holds; it is ready once its model is loaded."""

    actor: Any
    ready: bool = False
    holds: list[int] = field(default_factory=list)


class Staff:
    """Workers with one duty. `path` is the model here, for machines that have no such file.

    There are so many `workers`, or as many as the cluster has room for, each with `gpus` of a GPU; the model has so
    many `layers` and may be `recurrent`, see `Contents`. `tell` hears of every change. The first worker is there when
    this is made. Raises ClusterError when there is no room for one, and when none can be made.
    """

    def __init__(
        self,
        duty: Duty,
        path: Path,
        layers: int,
        *,
        recurrent: bool,
        workers: int | None,
        gpus: float,
        tell: Callable[[Staffed], None],
    ) -> None:
        self.parts = [Contents(layers, *some, recurrent=recurrent) for some in duty.slices]
        self._ray = import_ray()
        self._path, self._device, self._tell = path, duty.device, tell
        self._needs = {"CPU": float(duty.threads), "GPU": gpus}
        self._actors = self._ray.remote(Worker).options(
            num_cpus=duty.threads, num_gpus=gpus, scheduling_strategy="SPREAD"
        )
        self._duty = self._ray.put(duty)
        self._files: Any = None  # the model in the object store, once somebody needs it
        self._flips: frozenset[Flip] = frozenset()
        self._homes = Homes()
        self._members: list[_Member] = []
        self._calls: dict[
            Any, tuple[_Member, int | None]
        ] = {}  # the unit that was called for, None to prepare
        self._lost = self._deaths = 0
        self._kinds = {machine(duty.device)}
        self._hopeless_since: float | None = None
        room = self._room()
        if not room:
            raise ClusterError(f"no machine of the cluster has {self._wanted()} for a worker; ask for less")
        for _ in range(workers or room):
            self._start()
        self._await(1)

    def follow(self, flips: frozenset[Flip]) -> None:
        """See `bankai.search.crew.Crew`; workers hear of it with their next unit."""
        if flips != self._flips:
            self._flips = flips
            self._homes.outdate()

    def run(self, units: Iterable[Unit], take: Take) -> None:
        """See `bankai.search.crew.Crew`. Raises ClusterError when nobody can do them."""
        units, given, first = list(units), dict[int, list[Any]](), 0
        queue = Queue(units, [unit.tokens(self.parts) for unit in units], self._homes)
        try:
            while first < len(units):
                self._hand_out(queue, units)
                given.update(self._results(queue))
                while first in given:
                    for one in given.pop(first):
                        take(tensors(one))
                    first += 1
        finally:
            self._forget()

    def dismiss(self) -> None:
        """Stop all workers."""
        for member in self._members:
            self._ray.kill(member.actor)
        self._members.clear()
        self._calls.clear()

    def _start(self) -> None:
        member = _Member(self._actors.remote(self._duty))
        self._members.append(member)
        self._calls[member.actor.prepare.remote()] = member, None

    def _await(self, workers: int) -> None:
        """Until so many are there: one, so that whoever times what comes next times work."""
        nothing = Queue([], [], self._homes)
        while sum(member.ready for member in self._members) < workers:
            list(self._results(nothing))

    def _hand_out(self, queue: Queue, units: Sequence[Unit]) -> None:
        """One unit after the other to everybody who holds fewest; near the end nobody gets one to do later."""
        ready = [member for member in self._members if member.ready]
        for count in range(AHEAD):
            for member in ready:
                if len(member.holds) > count or (count and len(queue) < len(ready)):
                    continue
                index = queue.take(member)
                if index is not None:
                    member.holds.append(index)
                    self._calls[member.actor.do.remote(self._flips, units[index])] = member, index

    def _results(self, queue: Queue) -> Iterator[tuple[int, list[Any]]]:
        """Units that were done, and what they gave; waits a little for the first of them."""
        done, others = self._ray.wait(list(self._calls), timeout=HEARTBEAT)
        done += self._ray.wait(others, num_returns=len(others), timeout=0)[0] if done and others else []
        for call in done:
            if call not in self._calls:  # of a worker that was lost
                continue
            member, index = self._calls.pop(call)
            try:
                found = self._ray.get(call)
            except self._ray.exceptions.RayTaskError as error:
                raise ClusterError(
                    f"a worker failed at its work: {error.cause}; the search can go on with --resume"
                ) from error
            except self._ray.exceptions.RayError as error:
                self._replace(member, queue, error)
                continue
            if index is None:
                self._welcome(member, found)
                continue
            member.holds.remove(index)
            self._deaths = 0
            yield index, found
        self._require_hope()

    def _welcome(self, member: _Member, arrival: Arrival | None) -> None:
        """A worker that has loaded the model, or that needs its files."""
        if arrival is None:
            self._files = self._files or self._ray.put(pack(self._path))
            self._calls[member.actor.prepare.remote(self._files)] = member, None
            return
        if arrival.versions != versions():
            raise ClusterError(
                f"a worker has {_listed(arrival.versions)}, this process {_listed(versions())}; "
                "install the same everywhere"
            )
        member.ready = True
        self._homes.add(member)
        self._kinds.add(arrival.machine)
        self._report()

    def _replace(self, member: _Member, queue: Queue, error: Exception) -> None:
        """Give what a lost worker held to others, and start a new one."""
        self._lost, self._deaths = self._lost + 1, self._deaths + 1
        self._members.remove(member)
        self._calls = {call: at for call, at in self._calls.items() if at[0] is not member}
        for index in member.holds:
            queue.put_back(index)
        if member.ready:
            self._homes.remove(member)
        with suppress(self._ray.exceptions.RayError):
            self._ray.kill(member.actor)
        if self._deaths > DEATHS * (len(self._members) + 1):
            raise ClusterError(f"workers die again and again: {error}") from error
        self._start()
        self._report()

    def _forget(self) -> None:
        """Whatever is still under way belongs to no run."""
        self._calls = {call: at for call, at in self._calls.items() if at[1] is None}
        for member in self._members:
            member.holds.clear()

    def _report(self) -> None:
        ready = sum(member.ready for member in self._members)
        self._tell(Staffed(ready, self._lost, tuple(sorted(self._kinds))))

    def _room(self) -> int:
        """How many workers the machines of the cluster could hold if they did nothing else."""
        found = 0
        for node in self._ray.nodes():
            if node["Alive"]:
                has = node["Resources"]
                found += min(int(has.get(name, 0) / need) for name, need in self._needs.items() if need)
        return found

    def _require_hope(self) -> None:
        """Give up when there is no worker, and for a while no machine that could hold one."""
        if any(member.ready for member in self._members) or self._room():
            self._hopeless_since = None
            return
        self._hopeless_since = self._hopeless_since or time.monotonic()
        if time.monotonic() - self._hopeless_since > PATIENCE:
            raise ClusterError(
                f"no machine is left that has {self._wanted()} for a worker; "
                "add one to the cluster and go on with --resume"
            )

    def _wanted(self) -> str:
        """What a worker needs, in words."""
        return " and ".join(f"{need:g} {name}" for name, need in self._needs.items() if need)


def _listed(found: dict[str, str]) -> str:
    return ", ".join(f"{package} {number}" for package, number in found.items())
