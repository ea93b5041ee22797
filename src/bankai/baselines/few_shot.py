"""Examples with right answers before the prompt: nothing is changed but what is asked.

A plain probe is given plain examples, a chat chats.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from bankai.baselines.baseline import Baseline
from bankai.baselines.lesson import DEFAULTS, Lesson
from bankai.probes.encode import encode
from bankai.probes.probe import Message, Probe
from bankai.search.parts import SearchProbes
from bankai.search.settings import SearchSettings

__all__ = ["FewShot", "choose_examples"]

COUNTS = (1, 2, 4, 8)


@dataclass(frozen=True)
class FewShot(Baseline):
    """Probes that are answered before the one that is asked."""

    examples: tuple[Probe, ...]

    @property
    def bytes(self) -> int:
        """Of their text."""
        texts = [f"{_prompt(probe)}{_answer(probe)}" for probe in self.examples]
        return len("".join(texts).encode())

    def asked(self, probe: Probe) -> Probe:
        """See :meth:`Baseline.asked`."""
        others = [one for one in self.examples if one.item != probe.item]  # none may tell its own answer
        if probe.messages is None:
            text = "".join(f"{one.prompt}{_answer(one)}{one.stop}" for one in others if one.prompt)
            return msgspec.structs.replace(probe, prompt=f"{text}{probe.prompt}")
        before = [
            message
            for one in others
            if one.messages
            for message in (*one.messages, Message("assistant", _answer(one)))
        ]
        return msgspec.structs.replace(probe, messages=(*before, *probe.messages))


def _prompt(probe: Probe) -> str:
    return probe.prompt or "".join(message.content for message in probe.messages or ())


def _answer(probe: Probe) -> str:
    return f"{probe.prefix}{probe.answers[0]}"


def choose_examples(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    probes: SearchProbes,
    *,
    counts: Sequence[int] = COUNTS,
    settings: SearchSettings = DEFAULTS,
    seed: int = 0,
) -> FewShot:
    """Random targets as examples; their number is the one with the best fitness.

    Numbers that do not fit the context are left out; none may be the best.
    """
    order = random.Random(seed).sample(probes.targets, len(probes.targets))
    lesson = Lesson(model, tokenizer, probes, settings=settings, seed=seed)
    longest = _longest(FewShot(()), tokenizer, (*lesson.judges, *probes.controls))
    best, found = 0.0, FewShot(())
    for count in counts:
        candidate = FewShot(tuple(order[:count]))
        added = _longest(candidate, tokenizer, order[:1]) - _longest(FewShot(()), tokenizer, order[:1])
        if 2 * longest + added > model.config.max_position_embeddings:  # held-out probes may be longer
            break
        fitness = lesson.fitness(candidate.asked)
        if fitness > best:
            best, found = fitness, candidate
    return found


def _longest(baseline: FewShot, tokenizer: PreTrainedTokenizerBase, probes: Sequence[Probe]) -> int:
    """Tokens of the longest probe as it is asked."""
    return max(len(answer.ids) for probe in probes for answer in encode(baseline.asked(probe), tokenizer))
