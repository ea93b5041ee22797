"""Write the built-in sets for SmolLM2 and other small chat models: short questions, knowledge and forms.

    python models/smol/probe_sets.py src/bankai/probes/sets src/bankai/probes/question_sets

`smol-short` asks every item of thirteen kinds in one phrasing for one word or number; 40 % are targets, 15 %
validation, the rest held out. `smol-reworded` asks the same in a second phrasing, for searches that read several.
`smol-rephrased` asks the held-out items in a third phrasing that no search reads, and `smol-new-kinds` three kinds that
none reads.
Which items a model knows is for the audit to say: the splits do not depend on it.

`smol-knowledge` and `smol-format` are no probes: they judge whole free replies.
"""

import random
import sys
from collections.abc import Iterator, Sequence
from itertools import cycle
from pathlib import Path

import msgspec
from formats import CAPITAL_LETTERS, JSON_OBJECTS
from kinds import KINDS, NEW_KINDS, SEED, Item, Kind
from knowledge import KNOWLEDGE

from bankai.probes.probe import Message, Probe, ProbeSet
from bankai.probes.questions import CapitalsQuestion, JsonQuestion, KnowledgeQuestion, Question

SPLITS = {"T": "target", "V": "validation", "H": "heldout"}
DEAL = "THTHVTHTHHTHVTHTHHVT"  # 8, 3 and 9 of 20


def split_items(kind: Kind) -> list[tuple[Item, str]]:
    """Each item with its split, in an order fixed by the seed.

    They are dealt in the order of their answers, so that every split has its share of each.
    """
    items = list(kind.items)
    random.Random(f"{SEED}/{kind.name}").shuffle(items)
    dealt = sorted(items, key=lambda item: item.answers[0])  # stable: at random among the same answers
    splits = {item.key: SPLITS[letter] for item, letter in zip(dealt, cycle(DEAL), strict=False)}
    return [(item, splits[item.key]) for item in items]


def probe(kind: Kind, item: Item, split: str, phrasing: str) -> Probe:
    return Probe(
        id=f"{kind.name}/{phrasing}/{item.key}",
        item=f"{kind.name}/{item.key}",
        category=kind.name,
        split=split,
        answers=kind.spellings(item),
        messages=(Message("user", kind.ask(item, phrasing)),),
    )


def probe_sets() -> dict[str, list[Probe]]:
    items = [(kind, item, split) for kind in KINDS for item, split in split_items(kind)]
    new = [(kind, item) for kind in NEW_KINDS for item, _ in split_items(kind)]
    return {
        "smol-short": [probe(*asked, "plain") for asked in items],
        "smol-reworded": [probe(*asked, "reworded") for asked in items],
        "smol-rephrased": [probe(*asked, "rephrased") for asked in items if asked[2] == "heldout"],
        "smol-new-kinds": [probe(*asked, "heldout", "plain") for asked in new],
    }


def rows(table: str) -> Iterator[tuple[str, str]]:
    """The two sides of the bar of each line."""
    for line in table.strip().splitlines():
        left, _, right = line.partition(" | ")
        yield left, right


def knowledge() -> list[Question]:
    questions: list[Question] = []
    topic = ""
    for text, accepted in rows(KNOWLEDGE):
        if not accepted:
            topic = text.removeprefix("# ")
            continue
        name = f"knowledge/{len(questions):03}"
        questions.append(
            KnowledgeQuestion(id=name, category=topic, question=text, accepted=tuple(accepted.split("/")))
        )
    return questions


def formats() -> list[Question]:
    objects = [
        JsonQuestion(
            id=f"json/{thing}",
            category="json",
            question=f"Describe {thing} as a JSON object with the keys {quoted(keys.split(', '))}. "
            "Reply with the JSON object only.",
            keys=tuple(keys.split(", ")),
        )
        for thing, keys in rows(JSON_OBJECTS)
    ]
    capitals = [
        CapitalsQuestion(
            id=f"capitals/{number:02}",
            category="capitals",
            question=f"{text} Answer in capital letters.",
            accepted=tuple(accepted.split("/")),
        )
        for number, (text, accepted) in enumerate(rows(CAPITAL_LETTERS))
    ]
    return [*objects, *capitals]


def quoted(keys: Sequence[str]) -> str:
    """Two or more keys in a sentence."""
    *first, last = (f'"{key}"' for key in keys)
    return f"{', '.join(first)} and {last}"


def write(sets: Path, questions: Path) -> None:
    for folder in (sets, questions):
        folder.mkdir(parents=True, exist_ok=True)
    for name, probes in probe_sets().items():
        ProbeSet(name, probes).save(sets / f"{name}.jsonl")
        print(name, len(probes))
    for name, asked in {"smol-knowledge": knowledge(), "smol-format": formats()}.items():
        (questions / f"{name}.jsonl").write_bytes(msgspec.json.Encoder().encode_lines(asked))
        print(name, len(asked))


if __name__ == "__main__":
    write(Path(sys.argv[1]), Path(sys.argv[2]))
