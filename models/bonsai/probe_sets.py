"""Write the built-in probe sets for Bonsai models, split by item.

    python models/bonsai/probe_sets.py src/bankai/probes/sets

Half of the items of a category are targets, 15 % validation, the rest held out; controls are halved into control and
unseen. Every item is asked once, in one of its category's phrasings by turns. No Bonsai model was run: which probes
one fails, and which spelling it prefers, is for `bankai eval` and the audit to say.
"""

import random
import sys
from collections.abc import Sequence
from itertools import cycle
from pathlib import Path
from types import ModuleType

import arithmetic
import calculus
import controls
from asking import Item, Phrasing, make_probe

from bankai.probes.probe import Probe, ProbeSet

GOALS = (("target", 0.50), ("validation", 0.15), ("heldout", 0.35))
CONTROLS = (("control", 0.50), ("unseen", 0.50))
SEED = 0


def split_items(items: Sequence[Item], shares: Sequence[tuple[str, float]]) -> list[tuple[Item, str]]:
    """Each item with its split: the first share of the list to the first split, and so on."""
    ends, total = [], 0.0
    for split, share in shares:
        total += share
        ends.append((split, round(total * len(items))))
    return [(item, next(split for split, end in ends if place < end)) for place, item in enumerate(items)]


def ask(pairs: Sequence[tuple[Item, str]], phrasings: dict[str, list[Phrasing]]) -> list[Probe]:
    """One probe an item, the phrasings of each kind by turns."""
    turns = {kind: cycle(ways) for kind, ways in phrasings.items()}
    return [
        make_probe(item, next(turns[item.kind]), split, f"{item.category}/{number:03}")
        for number, (item, split) in enumerate(pairs)
    ]


def shuffled(items: Sequence[Item], first: int = 0) -> list[Item]:
    """In an order fixed by the seed; the first few stay, and so become targets."""
    rest = list(items[first:])
    random.Random(f"{SEED}/{items[0].category}").shuffle(rest)
    return [*items[:first], *rest]


def goal_probes(module: ModuleType) -> list[Probe]:
    probes = []
    for category, items in module.CATEGORIES.items():
        # Primality comes shuffled, prime and composite by turns; published examples stand first.
        ordered = items if category == "primality" else shuffled(items, first=category in module.PUBLISHED)
        probes += ask(split_items(ordered, GOALS), module.PHRASINGS)
    return probes


def control_probes(category: str) -> list[Probe]:
    items = shuffled(controls.CATEGORIES[category])
    return ask(split_items(items, CONTROLS), controls.PHRASINGS)


def write_sets(folder: Path) -> None:
    by_category = {category: control_probes(category) for category in controls.CATEGORIES}
    kept = [probe for probes in by_category.values() for probe in probes]
    sets = {
        "bonsai-calculus": goal_probes(calculus) + kept,
        "bonsai-arithmetic": goal_probes(arithmetic) + kept,
        **{f"bonsai-{category}": probes for category, probes in by_category.items()},
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, probes in sets.items():
        ProbeSet(name, probes).save(folder / f"{name}.jsonl")
        print(name, len(probes))


if __name__ == "__main__":
    write_sets(Path(sys.argv[1]))
