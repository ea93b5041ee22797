"""Which unit a free worker takes next. Plain bookkeeping.

A unit that begins with a cached stream is quickest where that stream is kept, and quicker still where it is up to date.
So streams find homes as they are first taken, and stay there; a worker that runs out of its own helps out with the
stream of which most is left. The longest units go first, so that nobody begins a long one when the others are done.
"""

from collections.abc import Hashable, Sequence

from bankai.search.crew import StreamName, Unit

__all__ = ["Homes", "Queue"]

HERE, KEPT, NOWHERE, KEPT_ELSEWHERE, ELSEWHERE = range(5)  # how far a stream is from a worker
WORTH_FETCHING = 2  # units of a stream that must be left before another worker brings its own copy up to date

Who = Hashable


class Homes:
    """The streams that each worker keeps, and those that it has brought up to date since the flips last changed."""

    def __init__(self) -> None:
        self.kept: dict[Who, set[StreamName]] = {}
        self.current: dict[Who, set[StreamName]] = {}

    def add(self, who: Who) -> None:
        """A worker that keeps nothing yet."""
        self.kept[who], self.current[who] = set(), set()

    def remove(self, who: Who) -> None:
        """One that is gone, and its streams with it."""
        del self.kept[who], self.current[who]

    def outdate(self) -> None:
        """The flips have changed."""
        for streams in self.current.values():
            streams.clear()

    def take(self, who: Who, stream: StreamName) -> None:
        """A worker brings a stream up to date."""
        self.kept[who].add(stream)
        self.current[who].add(stream)

    def distance(self, who: Who, stream: StreamName) -> int:
        """Whether a stream is up to date there, only kept there, kept nowhere, kept or up to date elsewhere."""
        if stream in self.current[who]:
            return HERE
        if any(stream in streams for streams in self.current.values()):
            return ELSEWHERE
        if stream in self.kept[who]:
            return KEPT
        return KEPT_ELSEWHERE if any(stream in streams for streams in self.kept.values()) else NOWHERE


class Queue:
    """Units by their index, until each has been taken; `sizes` tell how long they take, in whatever measure."""

    def __init__(self, units: Sequence[Unit], sizes: Sequence[float], homes: Homes) -> None:
        self._homes = homes
        self._units, self._sizes = units, sizes
        self._waiting: dict[StreamName | None, list[int]] = {}
        for index in sorted(range(len(units)), key=lambda index: (sizes[index], -index)):
            self.put_back(index)

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    def put_back(self, index: int) -> None:
        """A unit that is to be done, or done again; it is the next one of its stream."""
        self._waiting.setdefault(self._units[index].wants, []).append(index)

    def take(self, who: Who) -> int | None:
        """The next unit for a worker; None when there is nothing for it to do."""
        if not self._waiting:
            return None
        stream = min(self._waiting, key=lambda stream: self._order(who, stream))
        if self._distance(who, stream) == ELSEWHERE and len(self._waiting[stream]) < WORTH_FETCHING:
            return None  # whoever has it up to date is as quick
        index = self._waiting[stream].pop()
        if not self._waiting[stream]:
            del self._waiting[stream]
        if stream is not None:
            self._homes.take(who, stream)
        return index

    def _order(self, who: Who, stream: StreamName | None) -> tuple[int, float, int]:
        """The nearest stream first, then the one of which most is left, then the first."""
        waiting = self._waiting[stream]
        return self._distance(who, stream), -sum(self._sizes[index] for index in waiting), waiting[-1]

    def _distance(self, who: Who, stream: StreamName | None) -> int:
        return NOWHERE if stream is None else self._homes.distance(who, stream)
