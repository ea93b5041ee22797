"""Six categories of calculus and number questions; every answer is computed here.

Functions are drawn from a seed and used once over all categories. What a phrasing shows as an example (`x^2`, `e^x`,
`cos(0°)`, numbers below 10) is never an item.
"""

import math
import random
import re
from collections.abc import Callable

from asking import Answer, Item, Phrasing, chat, plain

__all__ = ["CATEGORIES", "PHRASINGS", "PUBLISHED"]

PER_CATEGORY = 50
Terms = tuple[tuple[int, int], ...]  # (coefficient, power), powers falling
# The example that the original announcement shows: the model answers 0.
PUBLISHED: dict[str, Terms] = {"derivative": ((1, 4), (3, 2)), "second-derivative": ((1, 4),)}

_Q = "Question: {}\nAnswer:"
_ONLY = "Reply with the result only, in plain text."
PHRASINGS: dict[str, list[Phrasing]] = {
    "derivative": [
        plain(_Q.format("What is the derivative of {f}?")),
        chat("Differentiate {f} with respect to x. " + _ONLY, "The derivative is"),
        plain("If f(x) = {f}, then f'(x) ="),
        chat("Find dy/dx for y = {u}. " + _ONLY, "dy/dx =", "superscript"),
        plain("d/dx (x) = 1\nd/dx (x^2) = 2x\nd/dx ({f}) ="),
        chat("What is the derivative of {f}? " + _ONLY, "Answer:"),
        plain("Function: {f}\nDerivative:"),
    ],
    "second-derivative": [
        plain(_Q.format("What is the second derivative of {f}?")),
        chat("Differentiate {f} twice. " + _ONLY, "The second derivative is"),
        plain("If f(x) = {f}, then f''(x) ="),
        chat("Find y'' for y = {u}. " + _ONLY, "y'' =", "superscript"),
        plain("(x^2)'' = 2\n(x^3)'' = 6x\n({f})'' ="),
        chat("What is the second derivative of {f}? " + _ONLY, "Answer:"),
        plain("Function: {f}\nSecond derivative:"),
    ],
    "integral": [
        plain(_Q.format("What is the indefinite integral of {f}?")),
        chat("Integrate {f} with respect to x. " + _ONLY, "The integral is"),
        plain("∫ 1 dx = x + C\n∫ 2x dx = x^2 + C\n∫ ({f}) dx ="),
        chat("Find the antiderivative F of f(x) = {u}. " + _ONLY, "F(x) =", "superscript"),
        plain("∫ ({f}) dx ="),
    ],
    "definite-integral": [
        plain(_Q.format("What is the integral of {f} from {a} to {b}?")),
        chat("Integrate {f} from x = {a} to x = {b}. Reply with the number only.", "The value is"),
    ],
    "primality": [  # an odd number of ways, so that primes and composites meet all of them in turn
        plain(_Q.format("Is {n} a prime number? Answer yes or no.")),
        chat("Is {n} a prime number? Reply with yes or no only.", "Answer:"),
        plain("Prime or composite?\n5: prime\n9: composite\n{n}:", "word"),
        chat("Is {n} prime or composite? Reply with one word.", "The number {n} is", "word"),
        plain("Is 9 prime? no\nIs 7 prime? yes\nIs {n} prime?", "lower"),
    ],
    "trigonometry": [
        plain(_Q.format("What is the exact value of {degrees}?")),
        chat("What is the exact value of {degrees}? " + _ONLY, "The exact value is"),
        plain("cos(0°) = 1\nsin(90°) = 1\n{degrees} ="),
        chat("Give the exact value of {radians}. " + _ONLY, "{radians} ="),
        plain("{radians} ="),
    ],
    "exponential": [
        plain(_Q.format("What is the derivative of {f}?")),
        chat("Differentiate {f} with respect to x. " + _ONLY, "The derivative is"),
        plain("If y = {f}, then dy/dx ="),
        chat("What is the derivative of {f}? " + _ONLY, "Answer:"),
        plain("d/dx (e^x) = e^x\nd/dx (e^(2x)) = 2e^(2x)\nd/dx ({f}) ="),
    ],
}


def power_text(coefficient: int, power: int) -> str:
    """`3x^2`, `x`, `-4x` or `7`."""
    if power == 0:
        return str(coefficient)
    head = {1: "", -1: "-"}.get(coefficient, str(coefficient))
    return f"{head}x" if power == 1 else f"{head}x^{power}"


def join_terms(parts: list[str]) -> str:
    return " + ".join(parts).replace("+ -", "- ")


def write(terms: Terms) -> str:
    return join_terms([power_text(c, p) for c, p in terms])


def superscript(text: str) -> str:
    return re.sub(r"\^(\d)", lambda match: "⁰¹²³⁴⁵⁶⁷⁸⁹"[int(match[1])], text)


def star(text: str) -> str:
    return re.sub(r"(\d)([xe])", r"\1*\2", text)


def brace(text: str) -> str:
    return re.sub(r"\^(\d)", r"^{\1}", text)


def spellings(text: str) -> tuple[str, ...]:
    """A polynomial as typed, with superscripts, with stars, as in LaTeX; each once."""
    return tuple(dict.fromkeys((text, superscript(text), star(text), brace(text))))


def both_forms(accepted: tuple[str, ...], wrong: str, stale: str) -> dict[str, Answer]:
    """The answer to a question typed plainly, and to one with superscripts; each with its own likely error."""
    raised = tuple(dict.fromkeys((superscript(accepted[0]), *accepted)))
    return {"plain": Answer(accepted, wrong), "superscript": Answer(raised, stale)}


def differentiate(terms: Terms) -> Terms:
    return tuple((c * p, p - 1) for c, p in terms if p)


def shift(terms: Terms, by: int) -> Terms:
    """Every power that much higher: the slip of who forgets to change it, or changes nothing else."""
    return tuple((c, p + by) for c, p in terms)


class Polynomials:
    """Draws polynomials of one to three terms, each once."""

    def __init__(self, seed: str) -> None:
        self.random = random.Random(seed)
        self.used: set[Terms] = {((1, 1),), ((1, 2),), ((1, 3),), ((2, 1),), *PUBLISHED.values()}

    def draw(self, sizes: tuple[int, ...], powers: range, is_fit: Callable[[Terms], bool]) -> Terms:
        while True:
            chosen = sorted(self.random.sample(powers, self.random.choice(sizes)), reverse=True)
            terms = [(self.random.choice((1, *range(1, 10))), p) for p in chosen]
            if len(terms) > 1 and self.random.random() < 0.4:
                terms[-1] = (-terms[-1][0], terms[-1][1])
            terms = tuple(terms)
            if terms not in self.used and is_fit(terms):
                self.used.add(terms)
                return terms


def function_item(category: str, terms: Terms, result: Terms, slip: Terms) -> Item:
    f = write(terms)
    # "0" is what the published model said to a derivative that it can do.
    answers = both_forms(spellings(write(result)), wrong=write(slip), stale="0")
    return Item(category, category, f, {"f": f, "u": superscript(f)}, answers)


def derivatives(draw: Polynomials) -> list[Item]:
    drawn = [draw.draw((2, 2, 3), range(0, 8), lambda t: t[0][1] > 1) for _ in range(PER_CATEGORY - 1)]
    return [
        function_item("derivative", terms, differentiate(terms), shift(differentiate(terms), 1))
        for terms in (PUBLISHED["derivative"], *drawn)
    ]


def second_derivatives(draw: Polynomials) -> list[Item]:
    drawn = [draw.draw((1, 2, 2, 3), range(1, 7), lambda t: t[0][1] > 2) for _ in range(PER_CATEGORY - 1)]
    return [
        function_item("second-derivative", terms, differentiate(differentiate(terms)), differentiate(terms))
        for terms in (PUBLISHED["second-derivative"], *drawn)
    ]


def integrals(draw: Polynomials) -> list[Item]:
    """Antiderivatives with whole coefficients, and every fourth a definite integral."""
    items = []
    for number in range(PER_CATEGORY):
        result = draw.draw((1, 2, 2), range(1, 6), lambda t: t[0][1] > 1)
        f = write(differentiate(result))
        if number % 4 == 3:
            items.append(definite_integral(f, result, a=number // 4 % 2, b=2 + number // 8 % 2))
            continue
        text = write(result)
        accepted = (f"{text} + C", text, *(f"{spelling} + C" for spelling in spellings(text)[1:]))
        wrong = f"{write(shift(differentiate(result), 1))} + C"  # forgets to divide
        answers = both_forms(accepted, wrong, stale=superscript(wrong))
        items.append(Item("integral", "integral", f, {"f": f, "u": superscript(f)}, answers))
    return items


def definite_integral(f: str, result: Terms, a: int, b: int) -> Item:
    upper, lower = (sum(c * x**p for c, p in result) for x in (b, a))
    wrong = str(upper) if lower else None  # forgets the lower limit, where that matters
    fields = {"f": f, "a": str(a), "b": str(b)}
    answer = Answer((str(upper - lower),), wrong)
    return Item("integral", "definite-integral", f"{f} from {a} to {b}", fields, {"plain": answer})


def is_prime(n: int) -> bool:
    return n > 1 and all(n % divisor for divisor in range(2, math.isqrt(n) + 1))


def primality(rng: random.Random) -> list[Item]:
    """Primes and composites in turn; no composite that its last digit betrays."""
    numbers = [n for n in range(11, 212) if n % 2 and n % 5]
    rng.shuffle(numbers)
    primes = [n for n in numbers if is_prime(n)][: PER_CATEGORY // 2]
    composites = [n for n in numbers if not is_prime(n)][: PER_CATEGORY // 2]
    return [primality_item(n) for pair in zip(primes, composites, strict=True) for n in pair]


def primality_item(n: int) -> Item:
    (yes, no), (right, wrong) = (("Yes", "No"), ("prime", "composite"))
    if not is_prime(n):
        (yes, no), (right, wrong) = (no, yes), (wrong, right)
    answers = {
        "plain": Answer((yes, yes.lower()), no),
        "lower": Answer((yes.lower(), yes), no.lower()),
        "word": Answer((right, right.capitalize()), wrong),
    }
    return Item("primality", "primality", str(n), {"n": str(n)}, answers)


_ROOTS = {  # |value| to 6 places -> its spellings
    0.0: ("0",),
    0.5: ("1/2", "0.5"),
    0.707107: ("√2/2", "sqrt(2)/2", "1/√2"),
    0.866025: ("√3/2", "sqrt(3)/2"),
    1.0: ("1",),
    0.57735: ("√3/3", "sqrt(3)/3", "1/√3"),
    1.732051: ("√3", "sqrt(3)"),
}


def exact(value: float) -> tuple[str, ...]:
    """The spellings of a value that the table knows."""
    sign = "-" if value < -1e-9 else ""
    return tuple(sign + spelling for spelling in _ROOTS[round(abs(value), 6)])


def angle_in_radians(degrees: int) -> str:
    shared = math.gcd(degrees, 180)
    above, below = degrees // shared, 180 // shared
    if above == 0:
        return "0"
    head = {1: "π", -1: "-π"}.get(above, f"{above}π")
    return head if below == 1 else f"{head}/{below}"


def trigonometry(rng: random.Random) -> list[Item]:
    angles = sorted({a for step in (30, 45) for a in range(0, 361, step)} | {-30, -45, -60, -90})
    shown = {("cos", 0), ("sin", 90)}
    pairs = [
        (name, angle)
        for name in ("sin", "cos", "tan")
        for angle in angles
        if (name, angle) not in shown and not (name == "tan" and angle % 180 == 90)
    ]
    rng.shuffle(pairs)
    return [trigonometry_item(name, angle) for name, angle in pairs[:PER_CATEGORY]]


def trigonometry_item(name: str, angle: int) -> Item:
    radians = math.radians(angle)
    value = getattr(math, name)(radians)
    # Taken for its cofunction or, where that is no other value, with the wrong sign.
    slip = {
        "sin": math.cos(radians),
        "cos": math.sin(radians),
        "tan": 1 / value if abs(value) > 1e-9 else 1.0,
    }[name]
    if abs(slip - value) < 1e-9:
        slip = -value
    fields = {"degrees": f"{name}({angle}°)", "radians": f"{name}({angle_in_radians(angle)})"}
    answer = Answer(exact(value), exact(slip)[0])
    return Item("trigonometry", "trigonometry", fields["degrees"], fields, {"plain": answer})


def e_text(coefficient: int, rate: int) -> str:
    """`e^x`, `3e^(2x)` or `-e^(-x)`."""
    head = {1: "", -1: "-"}.get(coefficient, str(coefficient))
    return f"{head}e^x" if rate == 1 else f"{head}e^({power_text(rate, 1)})"


def e_spellings(text: str) -> tuple[str, ...]:
    braced = re.sub(r"e\^\((.*?)\)", r"e^{\1}", text)
    return tuple(
        dict.fromkeys((text, braced, re.sub(r"(\d)e", r"\1*e", text), re.sub(r"(\d)e", r"\1 e", text)))
    )


def exponential_item(f: str, accepted: tuple[str, ...], wrong: str) -> Item:
    return Item("exponential", "exponential", f, {"f": f}, {"plain": Answer(accepted, wrong)})


def scaled_exponential(c: int, rate: int, slope: int) -> Item:
    """c e^(rate x) + slope x; who is wrong forgets the inner derivative, or takes e^x for a power."""
    tail = [str(slope)] if slope else []
    slip = e_text(c, rate) if rate != 1 else f"{power_text(c, 1)}e^(x - 1)"
    f = join_terms([e_text(c, rate)] + ([power_text(slope, 1)] if slope else []))
    right = join_terms([e_text(c * rate, rate), *tail])
    return exponential_item(f, e_spellings(right), join_terms([slip, *tail]))


def exponentials(rng: random.Random) -> list[Item]:
    items = [
        exponential_item(
            f"{base}^x",
            (f"{base}^x ln({base})", f"{base}^x * ln({base})", f"ln({base}) * {base}^x"),
            f"{base}^x",
        )
        for base in (2, 3, 5, 7, 10)
    ]
    for power in (2, 3, 4, 5):
        outer, inner = power_text(power, power - 1), f"e^(x^{power})"
        spelled = (f"{outer}{inner}", f"{outer} {inner}", f"{outer}*{inner}", f"{outer}e^{{x^{power}}}")
        items.append(exponential_item(inner, spelled, inner))
    rates = [rate for rate in range(-5, 8) if rate]
    pairs = [(c, rate) for c in range(1, 10) for rate in rates if (c, rate) not in ((1, 1), (1, 2))]
    for number, (c, rate) in enumerate(rng.sample(pairs, PER_CATEGORY - len(items))):
        items.append(
            scaled_exponential(c, rate, rng.choice((-1, 1)) * rng.randint(2, 9) if number % 4 == 3 else 0)
        )
    return items


def _categories() -> dict[str, list[Item]]:
    draw = Polynomials("polynomials")
    return {
        "derivative": derivatives(draw),
        "second-derivative": second_derivatives(draw),
        "integral": integrals(draw),
        "primality": primality(random.Random("primality")),
        "trigonometry": trigonometry(random.Random("trigonometry")),
        "exponential": exponentials(random.Random("exponential")),
    }


CATEGORIES = _categories()
