"""Units handed to workers by where their streams are; no Ray."""

import random
from dataclasses import dataclass

from bankai.cluster.queue import Homes, Queue
from bankai.search.crew import StreamName


@dataclass(frozen=True)
class Work:
    wants: StreamName | None

    def tokens(self, parts) -> int:
        return 1

    def do(self, replica, give) -> None: ...


def queue_of(units: list[Work], where: Homes) -> Queue:
    """Of units that all take as long."""
    return Queue(units, [1] * len(units), where)


def stream(number: int) -> StreamName:
    return StreamName(0, False, number)


def homes(*workers: str) -> Homes:
    found = Homes()
    for worker in workers:
        found.add(worker)
    return found


def test_streams_find_homes_and_stay_there() -> None:
    where = homes("a", "b")
    for _ in range(3):  # the same after every change of the flips
        units = [Work(stream(number)) for number in (0, 0, 0, 1, 1, 1)]
        queue = queue_of(units, where)
        taken = {"a": [], "b": []}
        for turn in range(6):
            who = "ab"[turn % 2]
            taken[who].append(queue.take(who))
        assert taken == {"a": [0, 1, 2], "b": [3, 4, 5]}
        where.outdate()


def test_who_has_nothing_left_helps_where_most_is_left() -> None:
    where = homes("a", "b", "c")
    queue = queue_of([Work(stream(number)) for number in (0, 1, 1, 1, 1, 2, 2, 2)], where)
    assert (queue.take("a"), queue.take("b"), queue.take("c")) == (1, 5, 0)  # the longest first
    assert queue.take("c") == 2  # three are left of stream 1, two of stream 2
    assert queue.take("c") == 3  # now it has that stream too


def test_a_last_unit_is_left_to_who_is_up_to_date() -> None:
    where = homes("a", "b")
    queue = queue_of([Work(stream(0)), Work(stream(0))], where)
    assert queue.take("a") == 0
    assert queue.take("b") is None
    where.outdate()  # then it is as far for everybody, but for who keeps it
    assert queue.take("b") == 1


def test_the_longest_go_first() -> None:
    where = homes("a", "b")
    units = [Work(stream(number)) for number in (0, 0, 1, 2, 2, 2)]
    queue = Queue(units, [1, 2, 5, 1, 1, 1], where)
    assert (queue.take("a"), queue.take("b")) == (
        2,
        1,
    )  # the longest stream, and of the next its longest unit
    assert (queue.take("b"), queue.take("a")) == (0, 3)


def test_what_a_lost_worker_held_is_done_by_others() -> None:
    where = homes("a", "b")
    queue = queue_of([Work(stream(0)), Work(stream(0))], where)
    held = [queue.take("a"), queue.take("a")]
    assert queue.take("b") is None
    where.remove("a")
    for index in held:
        queue.put_back(index)
    assert sorted([queue.take("b"), queue.take("b")]) == [0, 1]
    assert queue.take("b") is None


def test_every_unit_is_taken_once_whatever_happens() -> None:
    rng = random.Random(3)
    for _ in range(50):
        units = [Work(rng.choice([None, *map(stream, range(5))])) for _ in range(rng.randrange(1, 40))]
        where, done, held = homes("a", "b", "c"), [], {"a": [], "b": [], "c": []}
        queue = queue_of(units, where)
        while len(done) < len(units):
            who = rng.choice([*held])
            if rng.random() < 0.1 and len(held) > 1:
                where.remove(who)
                for index in held.pop(who):
                    queue.put_back(index)
            elif held[who] and rng.random() < 0.5:
                done.append(held[who].pop(0))
            elif (index := queue.take(who)) is not None:
                held[who].append(index)
        assert sorted(done) == list(range(len(units)))
