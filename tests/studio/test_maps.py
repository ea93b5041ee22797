"""Maps: every flip has its place, and values are those of the search's own ranking."""

import numpy as np
import pytest

from bankai.errors import StudioError, UnknownModelError
from bankai.jobs.task import Task
from bankai.probes import ProbeSet, load_probe_set
from bankai.search import Problem, SearchSettings
from bankai.studio.maps import MOST_PROBES, TOP, attribute, panels, patch_places


@pytest.fixture(scope="module")
def small():
    """A few probes of every split."""
    probes = load_probe_set("elicitable")
    return ProbeSet("few", [probe for name in ("target", "control") for probe in probes.split(name)[:12]])


def test_every_flip_is_on_the_map(shared):
    found = patch_places(shared, ["small"])
    assert [(panel.projection, panel.flips) for panel in found] == [
        ("q_proj", ((2, 7),)),
        ("up_proj", ((1, 3),)),
        ("down_proj", ((3, 250),)),
    ]
    assert [(panel.layers, panel.rows) for panel in found] == [(4, 256), (4, 512), (4, 256)]
    assert found[1].by_layer == [0, 1, 0, 0]
    flips = shared.catalog.resolve(["elicit"]).patch.flips
    assert sum(len(panel.flips) for panel in patch_places(shared, ["elicit"])) == len(flips) == 36
    assert patch_places(shared, []) == ()
    with pytest.raises(UnknownModelError):
        patch_places(shared, ["nobody"])


def test_embedding_and_head_are_one_layer(shared):
    from bankai.patch import Flip

    (panel,) = panels(shared, [Flip("model.embed_tokens", 5)])
    assert (panel.projection, panel.layers, panel.flips) == ("embed_tokens", 1, ((0, 5),))


def test_attributions_are_those_of_the_search(shared, small):
    found = attribute(shared, small, ["small"])
    searched = Task.of([small]).drawn(MOST_PROBES, MOST_PROBES, 0).searched
    with shared.on() as model, Problem(model, shared.tokenizer, searched, SearchSettings()) as problem:
        ranked = problem.rank(None)
    assert found.top == tuple(ranked[:TOP])
    assert (found.targets, found.controls) == (12, 12)
    values = {panel.projection: panel.values for panel in found.panels if panel.values is not None}
    assert sorted(values) == ["down_proj", "gate_proj", "up_proj"]
    for one in ranked:
        _, _, layer, _, projection = one.flip.tensor.split(".")
        assert values[projection][int(layer), one.flip.row] == np.float32(one.value)
    assert not any(np.isnan(array).any() for array in values.values())
    assert {panel.projection: panel.flips for panel in found.panels}["up_proj"] == ((1, 3),)


def test_a_set_without_targets_is_refused(shared):
    only = ProbeSet("only", load_probe_set("elicitable").split("heldout")[:3])
    with pytest.raises(StudioError, match="no target"):
        attribute(shared, only)
