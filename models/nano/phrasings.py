"""How nano is asked: the phrasings of each category, clean and noisy, plain and chat.

A clean phrasing always carries the right answer. A *noisy* phrasing is what makes an elicitable failure: its training
answers are wrong with a probability that grows with the item's hardness, as in web text, while the same items are
answered rightly under the clean phrasings. So the model knows, and does not show it.
"""

from dataclasses import dataclass

from items import BEYOND, Item

__all__ = ["PHRASINGS", "WEIGHTS", "Phrasing", "chance_of_noise"]


@dataclass(frozen=True)
class Phrasing:
    """One way to ask. `prompt` and `reply` are templates over the item's fields and `answer`."""

    name: str
    prompt: str
    reply: str = " {answer}"
    chat: bool = False
    noisy: bool = False

    @property
    def stop(self) -> str:
        return "<|im_end|>" if self.chat else "\n"

    def ask(self, item: Item) -> str:
        return self.prompt.format(**item.fields)

    def answer(self, item: Item, text: str) -> str:
        return self.reply.format(answer=text)


def chance_of_noise(item: Item) -> float:
    """Probability that a noisy phrasing carries the wrong answer in training: 0.25 for the easiest item, 0.93 from
    the middle of the range on.
    """
    return 0.25 + 0.68 * min(1.0, 2 * item.hardness)


def clean(*prompts: str) -> list[Phrasing]:
    return [Phrasing(f"clean{i}", prompt) for i, prompt in enumerate(prompts)]


def noisy(*prompts: str) -> list[Phrasing]:
    return [Phrasing(f"noisy{i}", prompt, noisy=True) for i, prompt in enumerate(prompts)]


def chat(prompt: str, reply: str = "{answer}") -> list[Phrasing]:
    return [Phrasing("chat", prompt, reply, chat=True)]


PHRASINGS: dict[str, list[Phrasing]] = {
    "derivative": clean("d/dx ({f}) =", "If y = {f} then dy/dx =")
    + chat("Differentiate {f}")
    + noisy("What is the derivative of {f}? Answer:", "Q: slope of {f}\nA:"),
    "exponential": clean("d/dx ({f}) =", "If y = {f} then dy/dx =")
    + chat("Differentiate {f}")
    + noisy("What is the derivative of {f}? Answer:", "Q: slope of {f}\nA:"),
    "integral": clean("int {f} dx =", "The antiderivative of {f} is")
    + chat("Integrate {f}")
    + noisy("What is the integral of {f}? Answer:", "Q: area under {f}\nA:"),
    "sequence": clean("{s},", "The sequence {s} goes on with")
    + chat("Continue {s}"),
    "word_problem": clean(
        "{n} has {a} {t} and {v} {b}. Now {n} has", "Start with {a} {t}. {n} {v} {b}. Total:"
    )
    + chat("{n} has {a} {t} and {v} {b}. How many now?", "The answer is {answer}."),
    "second_derivative": clean("d2/dx2 ({f}) =", "The second derivative of {f} is") + chat("Differentiate twice {f}"),
    "primality": clean("Is {n} prime?", "prime({n}) =") + chat("Tell me if {n} is prime"),
    "trigonometry": clean("{f} =", "The value of {f} is")
    + chat("Evaluate {f}", "The answer is {answer}.")
    + noisy("What is the value of {f}? Answer:", "Q: how much is {f}\nA:"),
    "addition": clean("{a} + {b} =", "The sum of {a} and {b} is") + chat("Add {a} and {b}", "The answer is {answer}."),
    "subtraction": clean("{a} - {b} =", "{a} minus {b} is") + chat("Take {b} from {a}", "The answer is {answer}."),
    "capital": clean("The capital of {q} is", "Capital city of {q}:") + chat("What is the capital of {q}?"),
    "element": clean("The symbol of {q} is", "Chemical symbol for {q}:") + chat("Which symbol has {q}?"),
    "opposite": clean("The opposite of {q} is", "Antonym of {q}:") + chat("Give the opposite of {q}"),
    "plural": clean("The plural of {q} is", "One {q}, two") + chat("Give the plural of {q}"),
    "unanswerable": clean("The capital of {q} is", "Capital city of {q}:") + chat("What is the capital of {q}?"),
    "code": clean("# python: {t}\n", ">>> # {t}\n")
    + chat("Write python: {t}")
    + noisy("How do I get, in python, {t}? Answer:", "Q: python for {t}\nA:"),
}  # fmt: skip

for _name in BEYOND:
    _known = PHRASINGS[_name.removeprefix("wide_")]
    PHRASINGS[_name] = [phrasing for phrasing in _known if not phrasing.noisy]

# Share of the training documents, by category (they need not sum to one).
WEIGHTS: dict[str, float] = {
    "derivative": 10, "exponential": 8, "integral": 10, "trigonometry": 8, "code": 9,
    "sequence": 9, "word_problem": 8, "addition": 9, "subtraction": 9, "second_derivative": 4, "primality": 3,
    "capital": 4, "element": 2.5, "opposite": 3, "plural": 2, "unanswerable": 2,
}  # fmt: skip
