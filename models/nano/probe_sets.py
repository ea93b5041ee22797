"""Write the built-in probe sets of nano from its items, split by item.

    python models/nano/probe_sets.py src/bankai/probes/sets

target and validation come from items that training saw (under other words); heldout only from the tenth that training
never saw under any phrasing. control and unseen ask clean and chat phrasings of every category. Facts cannot be
answered unseen, so there the unseen controls are items that training saw and no search reads. What lies beyond the
trained ranges is capability-limited in every split and is no control.
"""

import random
import sys
from collections.abc import Callable, Iterable
from itertools import cycle
from pathlib import Path

from items import BEYOND, CATEGORIES, Item, all_items, is_kept_out
from phrasings import PHRASINGS, Phrasing

from bankai.probes.probe import Message, Probe, ProbeSet

ELICITABLE = ("derivative", "exponential", "integral", "trigonometry", "code")
LIMITED = ("subtraction", *BEYOND)
ARITHMETIC = ("sequence", "word_problem", "addition", "subtraction")
FACTS = ("capital", "element", "opposite", "plural", "unanswerable")
SIZES = {"target": 30, "validation": 12, "heldout": 80, "control": 8, "unseen": 32}  # per category
SEED = 0


def probe(item: Item, phrasing: Phrasing, split: str) -> Probe:
    """One probe; a chat reply's fixed words before the answer become its prefix."""
    prefix, _, rest = phrasing.reply.partition("{answer}")
    prefix, space = prefix.rstrip(" "), " " * (len(prefix) - len(prefix.rstrip(" ")))
    text = phrasing.ask(item)
    asked = {"messages": (Message("user", text),)} if phrasing.chat else {"prompt": text}
    return Probe(
        id=f"{split}/{item.category}/{phrasing.name}/{item.key}",
        item=f"{item.category}/{item.key}",
        category=item.category,
        split=split,
        prefix=prefix,
        answers=(f"{space}{item.answer}{rest}",),
        distractor=f"{space}{item.wrong}{rest}" if phrasing.noisy else None,
        **asked,
    )


def draw(pool: list[Item], split: str, asks: Callable[[Phrasing], bool]) -> list[Probe]:
    """Take this split's share off the pool, going round the phrasings."""
    phrasings = cycle([phrasing for phrasing in PHRASINGS[pool[0].category] if asks(phrasing)])
    taken = [pool.pop() for _ in range(SIZES[split])]
    return [probe(item, next(phrasings), split) for item in taken]


def category_probes(category: str) -> list[Probe]:
    """All probes of one category; each item in one split only."""
    items = all_items(category)
    random.Random(f"{SEED}/{category}").shuffle(items)
    seen = [item for item in items if not is_kept_out(item)]
    new = seen if category in FACTS else [item for item in items if is_kept_out(item)]
    seen = new if category in BEYOND else seen
    probes: list[Probe] = []
    is_noisy: Callable[[Phrasing], bool] = lambda phrasing: phrasing.noisy  # noqa: E731
    is_clean: Callable[[Phrasing], bool] = lambda phrasing: not phrasing.noisy  # noqa: E731
    if category in (*ELICITABLE, *LIMITED, *ARITHMETIC):
        asks = is_noisy if category in ELICITABLE else is_clean
        for split, pool in (("target", seen), ("validation", seen), ("heldout", new)):
            probes += draw(pool, split, asks)
    if category in BEYOND:
        return probes
    return probes + draw(seen, "control", is_clean) + draw(new, "unseen", is_clean)


def write_sets(folder: Path) -> None:
    by_category = {category: category_probes(category) for category in CATEGORIES}
    controls = [p for probes in by_category.values() for p in probes if p.split in ("control", "unseen")]

    def with_goals(categories: Iterable[str]) -> list[Probe]:
        goals = [p for c in categories for p in by_category[c] if p.split not in ("control", "unseen")]
        return goals + controls

    sets = {
        "elicitable": with_goals(ELICITABLE),
        "calculus": with_goals(("derivative", "exponential", "integral")),
        "arithmetic": with_goals(ARITHMETIC),
        "limited": with_goals(LIMITED),
        "knowledge": [p for p in controls if p.category in FACTS],
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, probes in sets.items():
        ProbeSet(name, probes).save(folder / f"{name}.jsonl")
        print(name, len(probes))


if __name__ == "__main__":
    write_sets(Path(sys.argv[1]))
