"""What all baselines have in common: how they go on, what they weigh, and the one measurement of all of them."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from statistics import median
from time import perf_counter

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from bankai.evaluation.report import Comparison, compare
from bankai.evaluation.scoring import score_probes
from bankai.model.generation import CachedStep, Writer, write
from bankai.model.patching import patched
from bankai.model.sampling import Sampler
from bankai.model.text_stream import TextStream
from bankai.patch import Patch
from bankai.patch.codec import encode
from bankai.probes.encode import context_ids
from bankai.probes.probe import Probe

__all__ = ["Baseline", "Outcome", "PatchBaseline", "measure"]

SWAPS = 5
TOKENS = 32


class Baseline(ABC):
    """A way to change answers: of the model, while it is on, or of what is asked."""

    @property
    @abstractmethod
    def bytes(self) -> int:
        """What must be kept or sent, without names and headers."""

    def on(self, model: PreTrainedModel) -> AbstractContextManager[PreTrainedModel]:
        """The model with the change; on exit every output is what it was, bit for bit."""
        return _unchanged(model)

    def asked(self, probe: Probe) -> Probe:
        """The probe as it is asked with this baseline."""
        return probe


@contextmanager
def _unchanged(model: PreTrainedModel) -> Iterator[PreTrainedModel]:
    yield model


@dataclass(frozen=True)
class PatchBaseline(Baseline):
    """A patch in the same shape, to stand beside the others."""

    patch: Patch

    @property
    def bytes(self) -> int:
        return len(encode(self.patch, manifest=False))

    def on(self, model: PreTrainedModel) -> AbstractContextManager[PreTrainedModel]:
        """See :func:`bankai.model.patched`; the flips are taken as they are."""
        return patched(model, self.patch, unbound=True)


@dataclass(frozen=True, slots=True)
class Outcome:
    """One baseline on the same probes as the others.

    `sets`: comparison with the base for each set of probes. Times in seconds; `swap_seconds` is the median of putting
    it on a loaded model. `tokens_per_second`: greedy text after the first probe, the reading of the prompt included.
    """

    name: str
    sets: dict[str, Comparison]
    bytes: int
    make_seconds: float
    swap_seconds: float
    tokens_per_second: float


def measure(
    name: str,
    baseline: Baseline,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    sets: Mapping[str, Sequence[Probe]],
    *,
    make_seconds: float = 0.0,
) -> Outcome:
    """Measure a baseline on sets of probes, none of them empty; the model is as before afterwards."""
    found = {}
    for key, probes in sets.items():
        base = score_probes(model, tokenizer, probes)
        with baseline.on(model):
            changed = score_probes(model, tokenizer, [baseline.asked(probe) for probe in probes])
        found[key] = compare(base, changed, probes)
    first = baseline.asked(next(iter(sets.values()))[0])
    with baseline.on(model):
        speed = _tokens_per_second(model, tokenizer, context_ids(first, tokenizer))
    swap = median(_seconds_on(baseline, model) for _ in range(SWAPS))
    return Outcome(name, found, baseline.bytes, make_seconds, swap, speed)


def _seconds_on(baseline: Baseline, model: PreTrainedModel) -> float:
    start = perf_counter()
    with baseline.on(model):
        return perf_counter() - start


def _tokens_per_second(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]
) -> float:
    """Of `TOKENS` greedy tokens, or as many as the context has room for; an end of turn does not stop them."""
    count = min(TOKENS, model.config.max_position_embeddings - len(ids))
    writer = Writer(Sampler(0.0), TextStream(tokenizer), (), count)
    start = perf_counter()
    for _ in write(CachedStep(model), [ids], [writer]):
        pass
    return count / (perf_counter() - start)
