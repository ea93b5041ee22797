"""Jobs: which probes a search is given, and that nothing else reaches it."""

import pytest

from bankai.errors import ProbeFormatError
from bankai.jobs import Task
from bankai.probes import Probe, ProbeSet


def make(name: str, *splits: str, item: str = "") -> ProbeSet:
    return ProbeSet(
        name,
        [
            Probe(
                id=f"{name}/{split}",
                item=item or f"{name}/{split}",
                category="c",
                split=split,
                prompt=f"{name} {split}",
                answers=(" a",),
            )
            for split in splits
        ],
    )


ALL = ("target", "validation", "control", "heldout", "unseen")


def ids(probes) -> list[str]:
    return [probe.id for probe in probes]


def test_one_set_carries_all_splits() -> None:
    task = Task.of(make("a", *ALL))
    assert ids(task.searched.targets) == ["a/target"] and ids(task.searched.validation) == ["a/validation"]
    assert ids(task.searched.controls) == ["a/control"]
    assert len(task.whole) == 5


def test_each_split_comes_from_its_own_set() -> None:
    task = Task.of(make("a", *ALL), make("b", *ALL), make("c", *ALL))
    assert ids(task.searched.controls) == ["b/control"] and ids(task.whole.split("unseen")) == ["b/unseen"]
    assert ids(task.searched.targets) == ["a/target"] and ids(task.whole.split("heldout")) == ["c/heldout"]


def test_heldout_never_reaches_the_search() -> None:
    searched = Task.of(make("a", *ALL)).searched
    read = {probe.split for probes in vars(searched).values() for probe in probes}
    assert read == {"target", "validation", "control"}


def test_sets_that_share_an_item_are_refused() -> None:
    with pytest.raises(ProbeFormatError, match="target and heldout"):
        Task.of(make("a", "target", item="x"), None, make("b", "heldout", item="x"))
