"""Write the built-in probe sets of nano from its items, split by item, and its neutral text.

    python models/nano/probe_sets.py src/bankai/probes/sets src/bankai/probes/texts

target and validation come from items that training saw (under other words); heldout only from the tenth that training
never saw under any phrasing. control and unseen ask clean and chat phrasings of every category. Facts cannot be
answered unseen, so there the unseen controls are items that training saw and no search reads. What lies beyond the
trained ranges is capability-limited in every split and is no control.

`controls` holds more controls for the searches that want them: the eight of each category that every set has, first,
and fresh items up to 32, so that the first n of each category are nested. There are only 60 elements and 56 plurals:
without the tenth that training never saw and the 32 unseen controls, these two give 20 each.

`elicitable-more` holds more targets, nested in the same way: the 30 of each category that `elicitable` has, first, and
fresh items up to 120.

`elicitable-fresh` asks the noisy phrasings of items that training never saw and no other set holds: for a last look at
patches whose making was judged on `elicitable`.

The neutral text is right answers to clean and chat phrasings, as training packed them. Noisy phrasings are left out:
a patch is to change them. Its items may be controls, and are in no split that a report reads or a search aims at.
"""

import random
import sys
from collections.abc import Callable, Iterable
from itertools import cycle, islice
from pathlib import Path

from corpus import document
from items import BEYOND, CATEGORIES, Item, all_items, is_kept_out
from phrasings import PHRASINGS, WEIGHTS, Phrasing

from bankai.probes.probe import Message, Probe, ProbeSet

ELICITABLE = ("derivative", "exponential", "integral", "trigonometry", "code")
LIMITED = ("subtraction", *BEYOND)
ARITHMETIC = ("sequence", "word_problem", "addition", "subtraction")
FACTS = ("capital", "element", "opposite", "plural", "unanswerable")
SIZES = {"target": 30, "validation": 12, "heldout": 80, "control": 8, "unseen": 32}  # per category
CONTROLS = 32  # per category in `controls`
TARGETS = 120  # per category in `elicitable-more`
FRESH = 100  # per category in `elicitable-fresh`
PARAGRAPHS, DOCUMENTS = 200, 3  # the neutral text; three documents are about 70 tokens
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
        stop=phrasing.stop,
        distractor=f"{space}{item.wrong}{rest}" if phrasing.noisy else None,
        **asked,
    )


def draw(pool: list[Item], split: str, asks: Callable[[Phrasing], bool]) -> list[Probe]:
    """Take this split's share off the pool, going round the phrasings."""
    phrasings = cycle([phrasing for phrasing in PHRASINGS[pool[0].category] if asks(phrasing)])
    taken = [pool.pop() for _ in range(SIZES[split])]
    return [probe(item, next(phrasings), split) for item in taken]


def shuffled(category: str) -> list[Item]:
    items = all_items(category)
    random.Random(f"{SEED}/{category}").shuffle(items)
    return items


def category_probes(category: str) -> list[Probe]:
    """All probes of one category; each item in one split only."""
    items = shuffled(category)
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


def spare_items(category: str, probes: Iterable[Probe]) -> list[Item]:
    """Items that training saw and no probe asks, either way round: whoever keeps hot:cold keeps cold:hot."""
    asked = {probe.item for probe in probes}
    return [
        item
        for item in shuffled(category)
        if not is_kept_out(item) and asked.isdisjoint(f"{category}/{end}" for end in (item.key, item.answer))
    ]


def more(category: str, probes: list[Probe], split: str, count: int) -> list[Probe]:
    """Fresh probes that make those of that split up to `count`, going on round the phrasings."""
    present = sum(p.split == split for p in probes)
    asked = [phrasing for phrasing in PHRASINGS[category] if phrasing.noisy == (split == "target")]
    turns = islice(cycle(asked), present, None)
    return [probe(item, next(turns), split) for item in spare_items(category, probes)[: count - present]]


def fresh(category: str, probes: list[Probe]) -> list[Probe]:
    """Held-out probes of items that nothing has asked, going round the noisy phrasings."""
    asked = {probe.item for probe in probes}
    noisy = [phrasing for phrasing in PHRASINGS[category] if phrasing.noisy]
    left = (
        item for item in shuffled(category) if is_kept_out(item) and f"{category}/{item.key}" not in asked
    )
    return [probe(item, phrasing, "heldout") for item, phrasing in islice(zip(left, cycle(noisy)), FRESH)]


def neutral_text(by_category: dict[str, list[Probe]]) -> str:
    """Documents by training's weights, no item twice, a few to a paragraph."""
    rng = random.Random(f"{SEED}/neutral")
    names = rng.choices(list(WEIGHTS), list(WEIGHTS.values()), k=PARAGRAPHS * DOCUMENTS)
    spare = {c: spare_items(c, [p for p in by_category[c] if p.split != "control"]) for c in WEIGHTS}
    text = ""
    for number, name in enumerate(names, start=1):
        item = spare[name].pop()
        phrasing = rng.choice([phrasing for phrasing in PHRASINGS[name] if not phrasing.noisy])
        text += "".join(document(item, phrasing, item.answer)).rstrip("\n") + "\n"
        text += "\n" * (number % DOCUMENTS == 0)
    return text.rstrip("\n") + "\n"


def write_sets(folder: Path, by_category: dict[str, list[Probe]]) -> None:
    controls = [p for probes in by_category.values() for p in probes if p.split in ("control", "unseen")]

    def with_goals(categories: Iterable[str]) -> list[Probe]:
        goals = [p for c in categories for p in by_category[c] if p.split not in ("control", "unseen")]
        return goals + controls

    def split_of(category: str, split: str) -> list[Probe]:
        return [p for p in wider[category] if p.split == split]

    wider = {c: by_category[c] + more(c, by_category[c], "control", CONTROLS) for c in WEIGHTS}
    wider |= {c: wider[c] + more(c, wider[c], "target", TARGETS) for c in ELICITABLE}
    sets = {
        "elicitable": with_goals(ELICITABLE),
        "calculus": with_goals(("derivative", "exponential", "integral")),
        "arithmetic": with_goals(ARITHMETIC),
        "limited": with_goals(LIMITED),
        "knowledge": [p for p in controls if p.category in FACTS],
        "controls": [p for c in WEIGHTS for p in split_of(c, "control")],
        "elicitable-more": [p for c in ELICITABLE for p in split_of(c, "target")],
        "elicitable-fresh": [p for c in ELICITABLE for p in fresh(c, by_category[c])],
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, probes in sets.items():
        ProbeSet(name, probes).save(folder / f"{name}.jsonl")
        print(name, len(probes))


def write_text(folder: Path, by_category: dict[str, list[Probe]]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "nano-neutral.txt").write_bytes(neutral_text(by_category).encode())
    print("nano-neutral", PARAGRAPHS)


if __name__ == "__main__":
    PROBES = {category: category_probes(category) for category in CATEGORIES}
    write_sets(Path(sys.argv[1]), PROBES)
    write_text(Path(sys.argv[2]), PROBES)
