"""All baselines on the same probes, one after the other."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from time import perf_counter

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from bankai.baselines.baseline import Baseline, Outcome, measure
from bankai.baselines.few_shot import choose_examples
from bankai.baselines.gains import train_gains
from bankai.baselines.lora import train_lora
from bankai.baselines.norms import train_norms
from bankai.baselines.scales import train_scales
from bankai.baselines.steering import find_steering
from bankai.probes.probe import Probe
from bankai.search.parts import SearchProbes
from bankai.search.settings import SearchSettings
from bankai.search.training import DEFAULTS
from bankai.steps import StepListener, ignore_steps

__all__ = ["BASELINES", "compare_baselines"]

BASELINES: dict[str, Callable[..., Baseline]] = {
    "lora-1": partial(train_lora, rank=1),
    "lora-2": partial(train_lora, rank=2),
    "lora-4": partial(train_lora, rank=4),
    "lora-8": partial(train_lora, rank=8),
    "scales": train_scales,
    "norms": train_norms,
    "norms-300": partial(train_norms, count=300),
    "norms-1000": partial(train_norms, count=1000),
    "gains": train_gains,
    "steering": find_steering,
    "few-shot": choose_examples,
}
"""How each is made: called with model, tokenizer, probes, `settings` and `seed`; the first nine with `steps` too."""

TRAINED = ("lora-1", "lora-2", "lora-4", "lora-8", "scales", "norms", "norms-300", "norms-1000", "gains")


def compare_baselines(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    probes: SearchProbes,
    sets: Mapping[str, Sequence[Probe]],
    *,
    names: Iterable[str] = tuple(BASELINES),
    steps: int = 200,
    settings: SearchSettings = DEFAULTS,
    seed: int = 0,
    listen: StepListener = ignore_steps,
) -> list[Outcome]:
    """Make each baseline from what a search may read and measure it on sets that it never saw, such as held-out.

    `settings` make the fitness that they are trained and chosen by, as they make that of a search. The model is as
    before afterwards.
    """
    outcomes, names = [], tuple(names)
    for name in names:
        options = {"steps": steps} if name in TRAINED else {}
        start = perf_counter()
        made = BASELINES[name](model, tokenizer, probes, settings=settings, seed=seed, **options)
        seconds = perf_counter() - start
        outcomes.append(measure(name, made, model, tokenizer, sets, make_seconds=seconds))
        listen("baselines", len(outcomes), len(names))
    return outcomes
