"""Jobs: which probes a search is given, and that nothing else reaches it."""

from collections import Counter
from pathlib import Path

import pytest

from bankai.errors import BankaiError, PlaceError, ProbeFormatError, StateError
from bankai.jobs.search import search_file
from bankai.jobs.task import Task
from bankai.patch import Flip, Patch
from bankai.patching import apply_patch
from bankai.probes import Probe, ProbeSet, load_probe_set
from bankai.search import SearchSettings, Space


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


ALL = ("target", "validation", "control", "heldout", "unseen", "unknown")


def ids(probes) -> list[str]:
    return [probe.id for probe in probes]


def test_one_set_carries_all_splits() -> None:
    task = Task.of([make("a", *ALL)])
    assert ids(task.searched.targets) == ["a/target"] and ids(task.searched.validation) == ["a/validation"]
    assert ids(task.searched.controls) == ["a/control"]
    assert len(task.whole) == len(ALL)


def test_each_split_comes_from_its_own_set() -> None:
    task = Task.of([make("a", *ALL)], make("b", *ALL), make("c", *ALL))
    assert ids(task.searched.controls) == ["b/control"] and ids(task.whole.split("unseen")) == ["b/unseen"]
    assert ids(task.searched.targets) == ["a/target"] and ids(task.whole.split("heldout")) == ["c/heldout"]
    assert ids(task.whole.split("unknown")) == ["c/unknown"]


def test_heldout_and_unknown_never_reach_the_search() -> None:
    searched = Task.of([make("a", *ALL)]).searched
    read = {probe.split for probe in (*searched.targets, *searched.controls, *searched.validation)}
    assert read == {"target", "validation", "control"}


def test_several_target_sets_are_domains_of_their_own() -> None:
    searched = Task.of([make("a", *ALL), make("b", *ALL)]).searched
    assert ids(searched.targets) == ["a/target", "b/target"] and searched.domains == (0, 1)
    assert ids(searched.controls) == ["a/control", "b/control"]


def test_shared_targets_count_once_in_the_domain_of_the_first() -> None:
    one, two, three = make("a", "target"), make("b", "target"), make("c", "target")
    sets = [one, ProbeSet("both", [*one, *two]), three]
    searched = Task.of(sets).searched
    assert ids(searched.targets) == ["a/target", "b/target", "c/target"] and searched.domains == (0, 1, 2)


def test_a_refused_search_leaves_no_folder(tmp_path: Path) -> None:
    task = Task.of([load_probe_set("elicitable")])
    for settings, name in (
        (SearchSettings(space=Space(layers=(9,))), "p.bankai"),
        (SearchSettings(), "p.run"),
    ):
        with pytest.raises(BankaiError):
            search_file("nano", tmp_path / name, task, settings)
    assert not list(tmp_path.iterdir())


def test_greedy_is_the_published_loop_and_nothing_else() -> None:
    with pytest.raises(PlaceError, match="greedy"):
        SearchSettings(strategy="greedy", space=Space(layers=(1,)))


def test_sets_that_share_an_item_are_refused() -> None:
    with pytest.raises(ProbeFormatError, match="target and heldout"):
        Task.of([make("a", "target", item="x")], None, make("b", "heldout", item="x"))


def test_a_draw_is_even_over_the_categories_and_follows_the_seed() -> None:
    task = Task.of([load_probe_set("elicitable")])
    one, same, other = (task.drawn(60, 120, seed).searched for seed in (0, 0, 1))
    assert set(Counter(probe.category for probe in one.targets).values()) == {12}
    assert len(one.controls) == 120 and one.validation == task.searched.validation
    assert one == same and one.targets != other.targets
    assert set(one.targets) <= set(task.searched.targets)


def test_a_model_with_a_patch_on_is_not_searched(tiny_gguf: Path, tmp_path: Path) -> None:
    patch = Patch(frozenset({Flip("model.layers.0.mlp.up_proj", 3)}))
    apply_patch(tiny_gguf, patch, tmp_path / "on.gguf", unbound=True)
    with pytest.raises(StateError, match="revert"):
        search_file(tmp_path / "on.gguf", tmp_path / "p.bankai", Task.of([make("a", *ALL)]), SearchSettings())
    assert not (tmp_path / "p.bankai").exists()
