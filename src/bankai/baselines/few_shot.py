"""Examples with right answers before the prompt: nothing is changed but what is asked.

A plain probe is given plain examples, a chat chats.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from bankai.baselines.baseline import Baseline
from bankai.probes.encode import encode
from bankai.probes.examples import right_text, with_examples
from bankai.probes.probe import Probe
from bankai.search.parts import SearchProbes
from bankai.search.settings import SearchSettings
from bankai.search.training import DEFAULTS, TrainingFitness

__all__ = ["FewShot", "choose_examples"]

COUNTS = (1, 2, 4, 8)


@dataclass(frozen=True)
class FewShot(Baseline):
    """Probes that are answered before the one that is asked."""

    examples: tuple[Probe, ...]

    @property
    def bytes(self) -> int:
        """Of their text."""
        texts = [f"{_prompt(probe)}{right_text(probe)}" for probe in self.examples]
        return len("".join(texts).encode())

    def asked(self, probe: Probe) -> Probe:
        """See :meth:`Baseline.asked`."""
        others = [one for one in self.examples if one.item != probe.item]  # none may tell its own answer
        return with_examples(probe, others)


def _prompt(probe: Probe) -> str:
    return probe.prompt or "".join(message.content for message in probe.messages or ())


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
    training = TrainingFitness(model, tokenizer, probes, settings=settings, seed=seed)
    longest = _longest(FewShot(()), tokenizer, (*training.judges, *probes.controls))
    best, found = 0.0, FewShot(())
    for count in counts:
        candidate = FewShot(tuple(order[:count]))
        added = _longest(candidate, tokenizer, order[:1]) - _longest(FewShot(()), tokenizer, order[:1])
        if 2 * longest + added > model.config.max_position_embeddings:  # held-out probes may be longer
            break
        fitness = training.fitness(candidate.asked)
        if fitness > best:
            best, found = fitness, candidate
    return found


def _longest(baseline: FewShot, tokenizer: PreTrainedTokenizerBase, probes: Sequence[Probe]) -> int:
    """Tokens of the longest probe as it is asked."""
    return max(len(answer.ids) for probe in probes for answer in encode(baseline.asked(probe), tokenizer))
