"""Experiment 7: two patches on one model: the order of putting them on, how they disturb each other, one joint search.

An arithmetic and a calculus patch are searched apart, each with half of the evaluations of a search for both at once.
"""

from collections.abc import Sequence
from statistics import fmean
from typing import Any

import torch

from bankai.experiments.context import CONTROLS, TEXTS, Context
from bankai.experiments.outcomes import mean_claim, net, over
from bankai.experiments.values import Claim, Experiment, Plot, Result, Series, Table
from bankai.jobs.judge import Judge
from bankai.model import ModelMatrices, patched
from bankai.patch import Flip, Patch
from bankai.patch.binding import content_digest

__all__ = ["EXPERIMENT", "claims", "order_check", "plots", "run", "tables"]

KINDS = ("arithmetic", "calculus")
# Of each kind of target.
TARGETS = 24, 6
BUDGET = 90, 30
TOKENS = 64
WAYS = ("arithmetic alone", "calculus alone", "stacked", "joint search")


def run(context: Context) -> dict[str, Any]:
    sets = {kind: context.some(context.load(kind).split("heldout")) for kind in KINDS}
    sets["unseen"] = context.some(context.load("broad").split("unseen"))
    judge, seeds = Judge(context.bench, sets), []
    for at, seed in enumerate(context.seeds):
        alone = [_flips(context, [kind], seed) for kind in KINDS]
        joint = _flips(context, KINDS, seed)
        patches = dict(zip(WAYS, (*alone, alone[0] ^ alone[1], joint), strict=True))
        seeds.append(
            {
                "seed": seed,
                "common": len(alone[0] & alone[1]),
                "order": order_check(context, *alone),
                "found": {way: {"flips": len(flips), **judge(flips)} for way, flips in patches.items()},
            }
        )
        context.listen("stacking", at + 1, len(context.seeds))
    return {"seeds": seeds}


def _flips(context: Context, kinds: Sequence[str], seed: int) -> frozenset[Flip]:
    """With as many targets and evaluations for each kind."""
    targets, controls, texts = (context.size(*pair) for pair in (TARGETS, CONTROLS, TEXTS))
    task = context.task(kinds, targets * len(kinds), controls, seed, texts=texts, failing=True)
    budget = (BUDGET[0] * len(kinds), BUDGET[1] * len(kinds))
    return context.search(task, context.guided(seed, budget)).flips


def order_check(context: Context, first: frozenset[Flip], second: frozenset[Flip]) -> dict[str, bool]:
    """Whether bits and logits are the same, bit for bit, in both orders, as one patch, and after taking them off."""
    base = _state(context)
    states = []
    for one, other in ((first, second), (second, first)):
        with (
            patched(context.bench.model, Patch(one), unbound=True),
            patched(context.bench.model, Patch(other), unbound=True),
        ):
            states.append(_state(context))
    with patched(context.bench.model, Patch(first) ^ Patch(second), unbound=True):
        states.append(_state(context))
    return {
        "orders agree": _same(states[0], states[1]),
        "composed agrees": _same(states[0], states[2]),
        "base is back": _same(base, _state(context)),
        "something changed": not _same(base, states[0]),
    }


State = tuple[bytes, torch.Tensor]


def _state(context: Context) -> State:
    """Digest of all weights, and logits of a text."""
    ids = context.bench.tokenizer(context.texts(1)[0], return_tensors="pt")["input_ids"][:, :TOKENS]
    with torch.no_grad():
        logits = context.bench.model(ids.to(context.bench.model.device), use_cache=False).logits
    return content_digest(ModelMatrices(context.bench.model)), logits


def _same(one: State, other: State) -> bool:
    return one[0] == other[0] and torch.equal(one[1], other[1])


def _net(seed: Any, way: str) -> float:
    """Net gain on both kinds together, in percent of the probes of each."""
    return fmean(net(seed["found"][way][kind]) for kind in KINDS)


def _alone(seed: Any) -> float:
    """What the two patches would gain if each did on its own kind what it does alone."""
    return fmean(net(seed["found"][f"{kind} alone"][kind]) for kind in KINDS)


def claims(result: Result) -> list[Claim]:
    seeds = result["seeds"]
    exact = fmean(all(one["order"].values()) for one in seeds)
    share = f"{sum(all(one['order'].values()) for one in seeds)} of {len(seeds)} pairs of patches"
    return [
        Claim(
            "Stacking is exact: bits and logits are the same in both orders and the base comes back, bit for bit",
            "order-independent, exact",
            share,
            exact,
            (exact, exact),
            above=0.99,
        ),
        mean_claim(
            "Stacked patches partly cancel: their gain less that of each alone on its own kind, points",
            "2 fixed and 1 broke each alone; stacked 1 fixed, 0 broke",
            [_net(one, "stacked") - _alone(one) for one in seeds],
            " points",
            below=0.0,
        ),
        mean_claim(
            "One joint search does better than stacking, points",
            "not measured",
            [_net(one, "joint search") - _net(one, "stacked") for one in seeds],
            " points",
            above=0.0,
        ),
    ]


def tables(result: Result) -> list[Table]:
    seeds = result["seeds"]
    parts = (*KINDS, "unseen")
    rows = [
        [
            way,
            over([one["found"][way]["flips"] for one in seeds], 0),
            *(
                over([one["found"][way][part][what] for one in seeds], 0)
                for part in parts
                for what in ("fixed", "broke")
            ),
        ]
        for way in WAYS
    ]
    first = seeds[0]["found"][WAYS[0]]
    sizes = ", ".join(
        f"{part} {first[part]['failing']} failing and {first[part]['solved']} solved" for part in parts
    )
    columns = ["patch", "flips", *(f"{part} {what}" for part in parts for what in ("fixed", "broken"))]
    return [
        Table(
            "Held-out probes of both kinds", columns, rows, f"{len(seeds)} seeds, median and range; {sizes}."
        )
    ]


def plots(result: Result) -> list[Plot]:
    def values(way: str, kind: str) -> list[float]:
        return [net(one["found"][way][kind]) for one in result["seeds"]]

    series = [
        Series(
            kind,
            WAYS,
            [fmean(values(way, kind)) for way in WAYS],
            [min(values(way, kind)) for way in WAYS],
            [max(values(way, kind)) for way in WAYS],
        )
        for kind in KINDS
    ]
    return [Plot("Held-out net gain: mean and range over the seeds", "", "fixed less broken, %", series)]


EXPERIMENT = Experiment(run, claims, tables, plots)
