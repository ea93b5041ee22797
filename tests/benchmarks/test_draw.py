"""What the probes of a seed are, and that they never mix."""

from collections import Counter

import pytest
from benchmarks.draw import drawn, small

from bankai.probes import load_probe_set


@pytest.mark.parametrize("seed", [0, 1])
def test_every_part_has_its_size_and_no_item_of_another(seed):
    task = drawn(seed)
    searched, whole = task.searched, task.whole
    sizes = {split: len(whole.split(split)) for split in whole.splits}
    assert sizes == {"target": 180, "validation": 30, "control": 240, "heldout": 400, "unseen": 512}
    assert set(Counter(probe.category for probe in searched.targets).values()) == {36}
    assert set(Counter(probe.category for probe in searched.validation).values()) == {6}
    assert max(Counter(probe.category for probe in searched.controls).values()) == 15
    assert len(set(searched.texts)) == 60
    items = [{probe.item for probe in whole.split(split)} for split in whole.splits]
    assert sum(map(len, items)) == len(set().union(*items))


def test_reports_are_the_same_for_every_seed_and_the_rest_is_not():
    first, second = drawn(0), drawn(1)
    for split in ("heldout", "unseen"):
        assert (
            first.whole.split(split) == second.whole.split(split) == load_probe_set("elicitable").split(split)
        )
    for part in ("targets", "validation", "controls", "texts"):
        assert getattr(first.searched, part) != getattr(second.searched, part)
    assert first.searched == drawn(0).searched


def test_all_controls_hold_those_of_the_elicitable_set():
    controls = {probe.item for probe in drawn(3, controls=None).searched.controls}
    assert len(controls) == 488
    assert controls >= {probe.item for probe in load_probe_set("elicitable").split("control")}


def test_the_small_draw_has_no_texts():
    searched = small(2).searched
    assert (len(searched.targets), len(searched.controls), len(searched.texts)) == (60, 120, 0)
    assert len(searched.domains) == 60
    assert set(Counter(probe.category for probe in searched.targets).values()) == {12}
