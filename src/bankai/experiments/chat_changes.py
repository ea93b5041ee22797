"""Ways to change a chat model's answers: a patch, what stands beside it, and chance."""

from collections.abc import Iterable
from random import Random
from time import perf_counter
from typing import TYPE_CHECKING, Any

from bankai.evaluation.statistics import percent
from bankai.experiments.chat import Chat
from bankai.experiments.context import Context
from bankai.jobs.chat_settings import chat_settings
from bankai.jobs.task import Task
from bankai.model import ModelMatrices
from bankai.patch import Flip, Patch, bind
from bankai.probes import ProbeSet
from bankai.search import SearchProbes, matched_flips, shuffled_answers

if TYPE_CHECKING:
    from bankai.baselines import Baseline

__all__ = ["FLIPS", "LORA", "RANDOM", "SHUFFLED", "WAYS", "fixed", "found_patch", "make", "make_patch"]

BUDGET = 45, 40  # evaluations; a step of training is a part of one
STEPS = 100, 2  # of training, for what is trained by gradient
RATE = 3e-3
BETWEEN = 5, 15  # layers from one that is steered to the next
FLIPS, RANDOM, SHUFFLED, LORA = "flips", "random flips", "shuffled answers", "lora-1"
WAYS = (
    FLIPS,
    RANDOM,
    SHUFFLED,
    LORA,
    "lora-8",
    "norms",
    "norms-1000",
    "norms-300",
    "gains",
    "steering",
    "few-shot",
)


def make(chat: Chat, way: str, probes: SearchProbes, seed: int) -> "tuple[Baseline, dict[str, Any]]":
    """The change that one of the ways makes from these probes, and what is to be said of how it was made."""
    context, rng = chat.context, Random(seed)
    if way == FLIPS:
        return _patch(context, _flips(context, probes, seed, FLIPS))
    if way == SHUFFLED:
        wrong = SearchProbes(shuffled_answers(probes.targets, rng), texts=probes.texts)
        return _patch(context, _flips(context, wrong, seed, SHUFFLED))
    if way == RANDOM:
        found = _flips(context, probes, seed, FLIPS)
        flips = [Flip(*flip) for flip in found["flips"]]
        drawn = matched_flips(flips, ModelMatrices(context.bench.model), rng)
        return _patch(context, found | {"flips": [[one.tensor, one.row, one.group] for one in drawn]})
    return _trained(context, way, probes, seed)


def make_patch(
    context: Context, probes: SearchProbes, seed: int, name: str, **settings: Any
) -> "tuple[Baseline, dict[str, Any]]":
    """As `make`, of a search with settings of its own; `name` tells it from others. See `chat_settings`."""
    return _patch(context, _flips(context, probes, seed, name, **settings))


def _flips(context: Context, probes: SearchProbes, seed: int, name: str, **settings: Any) -> dict[str, Any]:
    """What a search finds, kept by its seed and the number of targets, so that others may start from it."""

    def search() -> dict[str, Any]:
        task = Task(probes, ProbeSet(name, probes.targets))
        found = context.search(task, chat_settings(seed, context.size(*BUDGET), **settings)).finished
        flips = [[flip.tensor, flip.row, flip.group] for flip in found.flips]
        return {"flips": flips, "seconds": found.seconds, "evaluations": found.evaluations}

    return dict(context.cell(f"found-{len(probes.targets)}-{seed}-{name}", search))


def found_patch(context: Context, probes: SearchProbes, seed: int) -> Patch:
    """The patch that a search finds for these probes, bound to the model."""
    return _bound(context, _flips(context, probes, seed, FLIPS))


def _patch(context: Context, found: dict[str, Any]) -> "tuple[Baseline, dict[str, Any]]":
    from bankai.baselines import PatchBaseline

    return PatchBaseline(_bound(context, found)), found


def _bound(context: Context, found: dict[str, Any]) -> Patch:
    flips = frozenset(Flip(*flip) for flip in found["flips"])
    return bind(Patch(flips), ModelMatrices(context.bench.model))


def _trained(
    context: Context, way: str, probes: SearchProbes, seed: int
) -> "tuple[Baseline, dict[str, Any]]":
    from bankai.baselines import BASELINES

    bench = context.bench
    options: dict[str, Any] = (
        {"steps": context.size(*STEPS)} if way.startswith(("lora", "norms", "gains")) else {}
    )
    if way.startswith("lora"):
        options["rate"] = RATE
    if way == "steering":
        options["layers"] = range(2, bench.model.config.num_hidden_layers, context.size(*BETWEEN))
    start = perf_counter()
    change = BASELINES[way](
        bench.model,
        bench.tokenizer,
        probes,
        settings=chat_settings(seed, context.size(*BUDGET)),
        seed=seed,
        **options,
    )
    return change, {"seconds": perf_counter() - start}


def fixed(found: Iterable[Any]) -> list[float]:
    """Of the failing, percent, seed by seed."""
    return [percent(one["fixed"], one["failing"]) for one in found]
