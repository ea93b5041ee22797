"""Whole-number arithmetic: sums, differences, products and quotients; every answer is computed here.

A pair of numbers is used once: a quotient never undoes a product that another item asks for, nor a difference a sum.
"""

import random

from asking import Answer, Item, Phrasing, chat, plain

__all__ = ["CATEGORIES", "PHRASINGS", "PUBLISHED"]

PER_CATEGORY = 24
PUBLISHED = {"addition": (2, 2), "multiplication": (7, 8)}  # two of the original targets
_SHOWN = ((3, 5), (4, 6))  # pairs in the examples below

_NUMBER = "Reply with the number only."


def _phrasings(examples: str) -> list[Phrasing]:
    return [
        plain("{sum} ="),
        chat("What is {sum}? " + _NUMBER, "The answer is"),
        plain("Question: What is {sum}?\nAnswer:"),
        chat("Calculate {words}. " + _NUMBER, "Answer:"),
        plain(examples + "\n{sum} ="),
    ]


PHRASINGS = {
    "addition": _phrasings("3 + 5 = 8\n4 + 6 = 10"),
    "subtraction": _phrasings("8 - 3 = 5\n10 - 4 = 6"),
    "multiplication": _phrasings("3 * 5 = 15\n4 * 6 = 24"),
    "division": _phrasings("15 / 3 = 5\n24 / 4 = 6"),
}


def _item(category: str, text: str, words: str, right: int, wrong: int) -> Item:
    answer = Answer((str(right),), str(wrong))
    return Item(category, category, text, {"sum": text, "words": words}, {"plain": answer})


def _sums(rng: random.Random) -> tuple[list[Item], list[Item]]:
    pairs = [(a, b) for a in range(2, 100) for b in range(a, 100) if (a, b) not in (*_SHOWN, (2, 2))]
    pairs = [PUBLISHED["addition"], *rng.sample(pairs, 2 * PER_CATEGORY - 1)]
    added, taken = pairs[:PER_CATEGORY], pairs[PER_CATEGORY:]
    return (
        # Wrong by a carry, or by one where there are no tens.
        [
            _item("addition", f"{a} + {b}", f"{a} plus {b}", a + b, a + b - (10 if a + b > 20 else 1))
            for a, b in added
        ],
        [
            _item("subtraction", f"{a + b} - {a}", f"{a + b} minus {a}", b, b + (10 if b > 10 else 1))
            for a, b in taken
        ],
    )


def _products(rng: random.Random) -> tuple[list[Item], list[Item]]:
    pairs = [(a, b) for a in range(2, 13) for b in range(a, 16) if (a, b) not in (*_SHOWN, (7, 8))]
    pairs = [PUBLISHED["multiplication"], *rng.sample(pairs, 2 * PER_CATEGORY - 1)]
    multiplied, divided = pairs[:PER_CATEGORY], pairs[PER_CATEGORY:]
    return (
        # Wrong by one step of the table.
        [_item("multiplication", f"{a} * {b}", f"{a} times {b}", a * b, a * (b - 1)) for a, b in multiplied],
        [_item("division", f"{a * b} / {a}", f"{a * b} divided by {a}", b, b + 1) for a, b in divided],
    )


def _categories() -> dict[str, list[Item]]:
    rng = random.Random("arithmetic")
    added, taken = _sums(rng)
    multiplied, divided = _products(rng)
    return {"addition": added, "subtraction": taken, "multiplication": multiplied, "division": divided}


CATEGORIES = _categories()
