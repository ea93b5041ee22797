"""The kinds of short question in the smol sets: their tables, how they are asked, and which spellings count.

A table is text: entries of key and answer with a colon between, further right answers after a slash. A question is
asked in three phrasings: `plain`, `reworded`, which a search may read as well, and `rephrased`, which none reads.
"""

import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise

from tables import (
    ADJECTIVES,
    CAPITALS,
    COMPARISONS,
    CONTINENTS,
    FALSE,
    LANGUAGES,
    LETTER_WORDS,
    LIVING,
    OPPOSITES,
    PLURALS,
    SENTIMENTS,
    TRUE,
    UNITS,
    UNITS_SEVERAL,
    VERBS,
)

__all__ = ["KINDS", "NEW_KINDS", "Item", "Kind"]

SEED = 0
SUMS = 120
LARGEST_TERM = 20
DIGITS = 110
NUMBERS_NEXT = 70
ONES = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
    "seventeen eighteen nineteen"
).split()
TENS = "zero ten twenty thirty forty fifty sixty seventy eighty ninety".split()
DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
MONTHS = "January February March April May June July August September October November December".split()
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


@dataclass(frozen=True)
class Item:
    """One question of fact: its name, what fills a phrasing, and the right answers."""

    key: str
    answers: tuple[str, ...]
    fields: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Kind:
    """Items of one sort. `spell` gives the spellings of an answer, without the full stop."""

    name: str
    items: tuple[Item, ...]
    phrasings: Mapping[str, str]
    spell: Callable[[str], tuple[str, ...]]

    def ask(self, item: Item, phrasing: str) -> str:
        """The question as a user writes it; it begins with a capital."""
        text = self.phrasings[phrasing].format(**{"x": item.key, **item.fields})
        return text[0].upper() + text[1:]

    def spellings(self, item: Item) -> tuple[str, ...]:
        """All that count, each with and without a full stop, the usual one first."""
        found = [spelling for answer in item.answers for spelling in self.spell(answer)]
        return tuple(dict.fromkeys(found + [f"{spelling}." for spelling in found]))


def word(answer: str) -> tuple[str, ...]:
    return answer.capitalize(), answer


def name(answer: str) -> tuple[str, ...]:
    return (answer,)


def letter(answer: str) -> tuple[str, ...]:
    return answer.upper(), answer.lower()


def number(answer: str) -> tuple[str, ...]:
    return answer, f"{int(answer):,}"


def entries(table: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Key and right answers of each entry."""
    for entry in table.replace("\n", " ").split(","):
        key, _, answers = entry.partition(":")
        yield key.strip(), tuple(answers.strip().split("/"))


def pairs(table: str) -> tuple[Item, ...]:
    return tuple(Item(key, answers) for key, answers in entries(table))


def lines(text: str, answer: str) -> tuple[Item, ...]:
    return tuple(Item(line, (answer,)) for line in text.strip().splitlines())


def sums() -> tuple[Item, ...]:
    """Each pair of numbers in one order only, small ones included."""
    rng = random.Random(f"{SEED}/sums")
    found = [(a, b) for a in range(2, LARGEST_TERM + 1) for b in range(a, LARGEST_TERM + 1)]
    terms = [rng.sample(pair, 2) for pair in rng.sample(found, SUMS)]
    return tuple(Item(f"{a} + {b}", (str(a + b),), {"a": str(a), "b": str(b)}) for a, b in terms)


def in_words(value: int) -> str:
    """A number from 1 to 999 in words."""
    hundreds, rest = divmod(value, 100)
    tens, ones = divmod(rest, 10)
    small = ONES[rest] if rest < 20 else TENS[tens] + (f"-{ONES[ones]}" if ones else "")
    if not hundreds:
        return small
    return f"{ONES[hundreds]} hundred" + (f" and {small}" if rest else "")


def digits() -> tuple[Item, ...]:
    rng = random.Random(f"{SEED}/digits")
    values = [*range(11, 100), *rng.sample(range(100, 1000), DIGITS - 89)]
    return tuple(Item(in_words(value), (str(value),)) for value in values)


def successors() -> tuple[Item, ...]:
    rng = random.Random(f"{SEED}/next")
    numbers = sorted(rng.sample(range(10, 200), NUMBERS_NEXT))
    follows = [("number", str(value), (str(value + 1),)) for value in numbers]
    follows += [("letter", a, (b, b.lower())) for a, b in pairwise(ALPHABET)]
    follows += [("day", a, (b,)) for a, b in pairwise(DAYS)]
    follows += [("month", a, (b,)) for a, b in pairwise(MONTHS)]
    return tuple(Item(key, answers, {"thing": thing}) for thing, key, answers in follows)


def comparisons() -> tuple[Item, ...]:
    """The right one stands first and second by turns."""
    items = []
    for adjective, table in COMPARISONS.items():
        for entry in table.split(","):
            more, less = (part.strip() for part in entry.split(">"))
            first, second = (more, less) if len(items) % 2 else (less, more)
            key = f"{adjective}/{first}/{second}"
            items.append(Item(key, (more.split()[-1],), {"adjective": adjective, "a": first, "b": second}))
    return tuple(items)


def conversions() -> tuple[Item, ...]:
    def item(unit: str, whole: str, value: int) -> Item:
        return Item(f"{unit} in {whole}", (str(value),), {"unit": unit, "whole": whole})

    single = [
        item(*(part.strip() for part in key.split(" in ")), int(answers[0]))
        for key, answers in entries(UNITS)
    ]
    several = []
    for key, (value, counts) in entries(UNITS_SEVERAL):
        unit, whole = (part.strip() for part in key.split(" in "))
        several += [item(unit, f"{count} {whole}", int(value) * int(count)) for count in counts.split()]
    return (*single, *several)


def kind(
    name: str, items: tuple[Item, ...], spell: Callable[[str], tuple[str, ...]], *phrasings: str
) -> Kind:
    names = ("plain", "reworded", "rephrased")
    return Kind(name, items, dict(zip(names, phrasings, strict=False)), spell)


KINDS = (
    kind(
        "capital",
        pairs(CAPITALS),
        name,
        "What is the capital of {x}? Answer with one word.",
        "Which city is the capital of {x}? Reply with its name only.",
        "Name the capital city of {x}. Use a single word.",
    ),
    kind(
        "opposite",
        pairs(OPPOSITES),
        word,
        'What is the opposite of "{x}"? Answer with one word.',
        'Which word means the opposite of "{x}"? Reply with that word only.',
        'Name the opposite of "{x}". Use a single word.',
    ),
    kind(
        "plural",
        pairs(PLURALS),
        word,
        'What is the plural of "{x}"? Answer with one word.',
        'Write the plural of "{x}". Reply with that word only.',
        'How do you spell the plural of "{x}"? Use a single word.',
    ),
    kind(
        "past",
        pairs(VERBS),
        word,
        'Today they {x}. What did they do yesterday? Answer with the past tense of "{x}", one word.',
        'They {x} this week. What did they do last week? Reply with the past tense of "{x}" only.',
        'If they {x} today, what did they do the day before? Use a single word, the past tense of "{x}".',
    ),
    kind(
        "comparative",
        pairs(ADJECTIVES),
        word,
        'Put the adjective "{x}" into the comparative. Answer with one word.',
        'Give the comparative of the adjective "{x}". Reply with that word only.',
        'What is the comparative form of the adjective "{x}"? Use a single word.',
    ),
    kind(
        "sum",
        sums(),
        number,
        "What is the sum of {a} and {b}? Answer with one number.",
        "Add {a} and {b}. Reply with the number only.",
        "What is {a} + {b}? Use a single number.",
    ),
    kind(
        "next",
        successors(),
        name,
        "Which {thing} comes right after {x}? Answer with one word or number.",
        "What is the next {thing} after {x}? Reply with the {thing} only.",
        "Name the {thing} that comes next after {x}. Use a single word or number.",
    ),
    kind(
        "comparison",
        comparisons(),
        word,
        "Which is {adjective}, {a} or {b}? Answer with one word.",
        "{a} or {b}: which is {adjective}? Reply with that word only.",
        "Of {a} and {b}, name the one that is {adjective}. Use a single word.",
    ),
    kind(
        "unit",
        conversions(),
        number,
        "How many {unit} are in {whole}? Answer with one number.",
        "What is the number of {unit} in {whole}? Reply with the number only.",
        "Tell me how many {unit} make {whole}. Use a single number.",
    ),
    kind(
        "yes-no",
        (*lines(TRUE, "yes"), *lines(FALSE, "no")),
        word,
        "{x}? Answer with one word, yes or no.",
        "Yes or no: {x}? Reply with that word only.",
        "I need a yes or a no: {x}? Use a single word.",
    ),
    kind(
        "continent",
        pairs(CONTINENTS),
        name,
        "Which continent is {x} in? Answer with the name only.",
        "To what continent does {x} belong? Reply with its name only.",
        "Name the continent where {x} lies. Use no other words.",
    ),
    kind(
        "digits",
        digits(),
        number,
        "Write the number {x} in digits. Answer with one number.",
        "How do you write {x} in digits? Reply with the number only.",
        "Give the digits of the number {x}. Use a single number.",
    ),
    kind(
        "letter",
        tuple(Item(text, (text[0],)) for text in LETTER_WORDS.split()),
        letter,
        'What is the first letter of "{x}"? Answer with one letter.',
        'Which letter does the word "{x}" begin with? Reply with that letter only.',
        'Name the letter that "{x}" starts with. Use a single letter.',
    ),
)
"""A search may read these."""

NEW_KINDS = (
    kind(
        "sentiment",
        tuple(i for n, text in SENTIMENTS.items() for i in lines(text, n)),
        word,
        'Is this review positive or negative? "{x}" Answer with one word.',
    ),
    kind(
        "living",
        pairs(LIVING),
        word,
        "Is {x} an animal or a plant? Answer with one word.",
    ),
    kind(
        "language",
        pairs(LANGUAGES),
        name,
        "What language do most people speak in {x}? Answer with one word.",
    ),
)
"""No search reads these."""
