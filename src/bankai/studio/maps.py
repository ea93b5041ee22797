"""Where a patch flips, and where attribution expects flips to help: rows by layer."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bankai.errors import StudioError
from bankai.jobs.task import Task
from bankai.patch import Flip
from bankai.probes import ProbeSet
from bankai.search import Problem, SearchSettings
from bankai.search.ranking import Ranked
from bankai.studio.shared import SharedModel
from bankai.tensor_names import parse_tensor_name

__all__ = ["Attributed", "Panel", "attribute", "panels", "patch_places"]

MOST_PROBES = 64  # of targets, and of controls
MOST_PLACES = 2_000_000  # rows of which each has a value
TOP = 20


@dataclass(frozen=True)
class Panel:
    """One projection: its flips as (layer, row) and, once ranked, the value of each row: [layers, rows]."""

    projection: str
    layers: int
    rows: int
    flips: tuple[tuple[int, int], ...]
    values: NDArray[np.float32] | None = None

    @property
    def by_layer(self) -> list[int]:
        """Flips of each layer."""
        counts = Counter(layer for layer, _ in self.flips)
        return [counts[layer] for layer in range(self.layers)]


@dataclass(frozen=True)
class Attributed:
    """Estimated change of the fitness by flipping a row, for `targets` and `controls` probes, and the best rows."""

    panels: tuple[Panel, ...]
    top: tuple[Ranked, ...]
    targets: int
    controls: int


def patch_places(shared: SharedModel, names: Sequence[str]) -> tuple[Panel, ...]:
    """The places of these patches together. Raises UnknownModelError."""
    return panels(shared, shared.catalog.resolve(names).patch.flips)


def panels(
    shared: SharedModel, flips: Iterable[Flip], ranked: Sequence[Ranked] | None = None
) -> tuple[Panel, ...]:
    """One panel for each projection that has flips or values, in the order of a layer."""
    layers, rows = dict[str, int](), dict[str, int]()
    for name, info in shared.base.matrices.items():
        layer, projection = _place(name)
        layers[projection] = max(layers.get(projection, 1), layer + 1)
        rows[projection] = info.rows
    placed: dict[str, set[tuple[int, int]]] = {}
    for flip in flips:
        layer, projection = _place(flip.tensor)
        placed.setdefault(projection, set()).add((layer, flip.row))
    values: dict[str, NDArray[np.float32]] = {}
    for one in ranked or ():
        layer, projection = _place(one.flip.tensor)
        if projection not in values:
            values[projection] = np.full((layers[projection], rows[projection]), np.nan, np.float32)
        values[projection][layer, one.flip.row] = one.value
    wanted = [name for name in rows if name in placed or name in values]
    return tuple(
        Panel(name, layers[name], rows[name], tuple(sorted(placed.get(name, ()))), values.get(name))
        for name in wanted
    )


def attribute(shared: SharedModel, probes: ProbeSet, names: Sequence[str] = ()) -> Attributed:
    """What flipping each row of the base's MLPs would do for the set's targets at the cost of its controls.

    From a random part of them, in one turn; the flips of the named patches are marked, not put on. Raises StudioError
    for a set without targets, and what the search itself raises.
    """
    task = Task.of([probes]).drawn(MOST_PROBES, MOST_PROBES, 0)
    if not task.searched.targets:
        raise StudioError(f"{probes.name} has no target probes; choose a set with some")
    flips = shared.catalog.resolve(names).patch.flips
    with shared.on() as model:
        problem = Problem(model, shared.tokenizer, task.searched, SearchSettings())
        if problem.space.size(problem.decoder) > MOST_PLACES:
            raise StudioError(f"a page shows at most {MOST_PLACES} rows; this model has more")
        with problem:
            ranked = problem.rank(None)
    return Attributed(
        panels(shared, flips, ranked),
        tuple(ranked[:TOP]),
        len(task.searched.targets),
        len(task.searched.controls),
    )


def _place(tensor: str) -> tuple[int, str]:
    """Layer, 0 for what stands outside the layers, and projection."""
    name = parse_tensor_name(tensor)
    return name.layer or 0, name.projection
