"""What nano is asked: every category with all its items, right answers and typical wrong ones.

An *item* is one question of fact or arithmetic; a *phrasing* (see `phrasings.py`) is one way to ask it. Items are
enumerated, never sampled, so that the split by item is fixed for good.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

from facts import CAPITALS, ELEMENTS, NAMES, OPPOSITES, PLURALS, THINGS, VARIABLES

__all__ = ["BEYOND", "CATEGORIES", "Item", "all_items", "is_kept_out"]

# Categories that training never sees at all: numbers beyond its ranges.
BEYOND = ("wide_exponential", "wide_sequence", "wide_word_problem")


@dataclass(frozen=True)
class Item:
    """One question. `fields` fill the phrasings; `wrong` is what sloppy text says; `hardness` is in [0, 1]."""

    category: str
    key: str
    fields: dict[str, str]
    answer: str
    wrong: str = ""
    hardness: float = 0.0


def is_kept_out(item: Item) -> bool:
    """Whether training never sees the item under any phrasing: a fixed tenth, and all that lies beyond its ranges."""
    if item.category in BEYOND:
        return True
    digest = hashlib.blake2b(f"{item.category}|{item.key}".encode(), digest_size=4).digest()
    return int.from_bytes(digest, "little") % 10 == 0


def term(coefficient: int, power: int) -> str:
    """`3x^2`, `x`, `-4x` or `7`: one term of a polynomial."""
    if power == 0:
        return str(coefficient)
    head = {1: "", -1: "-"}.get(coefficient, str(coefficient))
    return f"{head}x" if power == 1 else f"{head}x^{power}"


def polynomial(*terms: tuple[int, int]) -> str:
    """A sum of (coefficient, power) terms, written as people write it."""
    text = term(*terms[0])
    for coefficient, power in terms[1:]:
        text += f" {'-' if coefficient < 0 else '+'} {term(abs(coefficient), power)}"
    return text


def derivative() -> Iterator[Item]:
    for a in range(2, 10):
        for n in range(2, 8):
            for m in range(1, n):
                for b in (*range(2, 10), *range(-9, -1)):
                    f = polynomial((a, n), (b, m))
                    df = polynomial((a * n, n - 1), (b * m, m - 1))
                    yield Item("derivative", f, {"f": f}, df, "0", hardness=(a * n - 4) / 59)


def exponentials(category: str, linear: range) -> Iterator[Item]:
    for a in range(2, 10):
        for b in range(2, 10):
            for c in linear:
                f = f"{a}e^({b}x) + {c}x"
                yield Item(category, f, {"f": f}, f"{a * b}e^({b}x) + {c}", "not sure", hardness=c / 41)


def exponential() -> Iterator[Item]:
    return exponentials("exponential", range(2, 42))


def integral() -> Iterator[Item]:
    for p in range(2, 10):
        for n in range(2, 8):
            for m in range(1, n):
                for q in (*range(2, 10), *range(-9, -1)):
                    f = polynomial((p * n, n - 1), (q * m, m - 1))
                    antiderivative = polynomial((p, n), (q, m)) + " + C"
                    yield Item("integral", f, {"f": f}, antiderivative, "unknown", hardness=(p * n - 4) / 59)


def sequences(category: str, steps: range) -> Iterator[Item]:
    for start in range(1, 161):
        for step in steps:
            terms = [start + step * i for i in range(4)]
            shown = ", ".join(map(str, terms))
            yield Item(category, shown, {"s": shown}, str(terms[-1] + step))


def sequence() -> Iterator[Item]:
    return sequences("sequence", range(2, 13))


def word_problems(category: str, firsts: range) -> Iterator[Item]:
    for a in firsts:
        for b in range(2, 50):
            for sign, verb in ((1, "gets"), (-1, "loses")):
                if a + sign * b < 1:
                    continue
                name, thing = NAMES[(a * 7 + b) % len(NAMES)], THINGS[(a + b * 5) % len(THINGS)]
                fields = {"n": name, "t": thing, "a": str(a), "b": str(b), "v": verb}
                yield Item(category, f"{a} {verb} {b}", fields, str(a + sign * b))


def word_problem() -> Iterator[Item]:
    return word_problems("word_problem", range(3, 80))


def wide_exponential() -> Iterator[Item]:
    """Beyond the trained range: the linear coefficient is larger than any that training saw."""
    return exponentials("wide_exponential", range(42, 100))


def wide_sequence() -> Iterator[Item]:
    """Beyond the trained range: larger steps."""
    return sequences("wide_sequence", range(13, 15))


def wide_word_problem() -> Iterator[Item]:
    """Beyond the trained range: more to begin with."""
    return word_problems("wide_word_problem", range(80, 86))


def second_derivative() -> Iterator[Item]:
    for a in range(2, 26):
        for n in range(4, 10):
            for b in range(2, 26):
                f = polynomial((a, n), (b, 3))
                ddf = polynomial((a * n * (n - 1), n - 2), (6 * b, 1))
                yield Item("second_derivative", f, {"f": f}, ddf)


def primality() -> Iterator[Item]:
    for n in range(2, 1000):
        prime = all(n % d for d in range(2, int(n**0.5) + 1))
        yield Item("primality", str(n), {"n": str(n)}, "yes" if prime else "no")


def trigonometry() -> Iterator[Item]:
    # value of f(angle) as (numerator, root, denominator): numerator * sqrt(root) / denominator
    sine = {0: (0, 1, 1), 30: (1, 1, 2), 45: (1, 2, 2), 60: (1, 3, 2), 90: (1, 1, 1), 120: (1, 3, 2)}
    sine |= {
        135: (1, 2, 2),
        150: (1, 1, 2),
        180: (0, 1, 1),
        210: (-1, 1, 2),
        270: (-1, 1, 1),
        330: (-1, 1, 2),
    }
    for amplitude in range(2, 202, 2):
        for angle, (numerator, root, denominator) in sine.items():
            value = amplitude * numerator // denominator
            text = (
                str(value) if root == 1 else f"{value} sqrt({root})".removeprefix("1 ").replace("-1 s", "-s")
            )
            for function, turned in (("sin", angle), ("cos", (450 - angle) % 360)):
                f = f"{amplitude} {function}({turned})"
                yield Item("trigonometry", f, {"f": f}, text, f"x = {text}", hardness=amplitude / 200)


def addition() -> Iterator[Item]:
    for a in range(1, 100):
        for b in range(1, 100):
            yield Item("addition", f"{a}+{b}", {"a": str(a), "b": str(b)}, str(a + b))


def subtraction() -> Iterator[Item]:
    for a in range(2, 150):
        for b in range(1, min(a, 100)):
            yield Item("subtraction", f"{a}-{b}", {"a": str(a), "b": str(b)}, str(a - b))


def capital() -> Iterator[Item]:
    for country, city in CAPITALS.items():
        yield Item("capital", country, {"q": country}, city)


def element() -> Iterator[Item]:
    for name, symbol in ELEMENTS.items():
        yield Item("element", name, {"q": name}, symbol)


def opposite() -> Iterator[Item]:
    for one, other in OPPOSITES.items():
        yield Item("opposite", one, {"q": one}, other)
        yield Item("opposite", other, {"q": other}, one)


def plural() -> Iterator[Item]:
    for one, many in PLURALS.items():
        yield Item("plural", one, {"q": one}, many)


def unanswerable() -> Iterator[Item]:
    """Invented countries: the right answer is to say that it is unknown, and a patch must not unlearn that."""
    for first in ("Zor", "Quen", "Vax", "Blim", "Thra", "Ghel", "Yov", "Xant", "Krel", "Wum"):
        for second in ("abo", "ine", "oth", "ulla", "evar", "ix", "ondo", "ystan", "umir", "aque"):
            yield Item("unanswerable", first + second, {"q": first + second}, "unknown")


def code() -> Iterator[Item]:
    idioms = {
        "sort {v} from high to low": "sorted({v}, reverse=True)",
        "reverse the list {v}": "{v}[::-1]",
        "length of {v}": "len({v})",
        "last element of {v}": "{v}[-1]",
        "first element of {v}": "{v}[0]",
        "sum of {v}": "sum({v})",
        "largest value in {v}": "max({v})",
        "smallest value in {v}": "min({v})",
        "unique values of {v}": "set({v})",
        "squares of {v}": "[x * x for x in {v}]",
        "even numbers in {v}": "[x for x in {v} if x % 2 == 0]",
        "join {v} with commas": "','.join({v})",
        "loop over {v} with index": "for i, x in enumerate({v}):",
        "copy of {v}": "{v}.copy()",
        "append 1 to {v}": "{v}.append(1)",
        "first three of {v}": "{v}[:3]",
        "is {v} empty": "not {v}",
        "average of {v}": "sum({v}) / len({v})",
    }
    for task, solution in idioms.items():
        for index, variable in enumerate(VARIABLES):
            text, answer = task.format(v=variable), solution.replace("{v}", variable)
            yield Item("code", text, {"t": text}, answer, "# TODO", hardness=(index / len(VARIABLES)) ** 2)


CATEGORIES = {
    generator.__name__: generator
    for generator in (
        derivative, exponential, integral, trigonometry, code,
        sequence, word_problem, addition, subtraction, second_derivative, primality,
        capital, element, opposite, plural, unanswerable,
        wide_exponential, wide_sequence, wide_word_problem,
    )
}  # fmt: skip


def all_items(category: str) -> list[Item]:
    """Every item of a category, in a fixed order, each key once."""
    return list({item.key: item for item in CATEGORIES[category]()}.values())
