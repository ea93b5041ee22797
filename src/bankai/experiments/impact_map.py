"""Experiment 2: how much each layer's MLP matters, and whether rows of large scale do more than random ones.

Impact is the published one, the mean absolute change of the gap between right answer and distractor, with whole answers
in place of single tokens.
"""

from collections.abc import Iterable, Sequence
from random import Random
from statistics import fmean
from typing import Any

import msgspec

from bankai.experiments.context import Context
from bankai.experiments.values import Claim, Experiment, Plot, Result, Series, Table
from bankai.experiments.verdicts import mean_interval
from bankai.model import patched
from bankai.model.decoder import Decoder
from bankai.patch import Flip, Patch
from bankai.probes import Probe
from bankai.search import Problem, SearchProbes, SearchSettings, Space
from bankai.search.parts import spread
from bankai.search.ranking import probe_effects
from bankai.search.space import row_scales

__all__ = ["EXPERIMENT", "claims", "impact", "paired", "plots", "row_orders", "run", "tables"]

PROBES, QUICK_PROBES = 40, 8
COUNTS, QUICK_COUNTS = (1, 4, 16, 64), (16,)
PUBLISHED_COUNT = 64
DRAWS, QUICK_DRAWS = 8, 2  # of random rows, per seed
PROJECTIONS = ("gate_proj", "up_proj", "down_proj")
WAYS = ("scale", "gradient", "random")
FEW = 8  # layers of which every one is looked into


def run(context: Context) -> dict[str, Any]:
    decoder = Decoder(context.bench.model)
    layers, seeds = range(decoder.layers), []
    for at, seed in enumerate(context.seeds):
        probes = _probes(context, seed)
        base = _gaps(context, probes)

        def change(
            flips: Iterable[Flip], probes: Sequence[Probe] = probes, base: list[float] = base
        ) -> float:
            with patched(context.bench.model, Patch(frozenset(flips)), unbound=True):
                return impact(base, _gaps(context, probes))

        whole = [
            {
                "all": change(Space(layers=(layer,)).row_flips(decoder)),
                **{name: change(_rows(decoder, layer, name)) for name in PROJECTIONS},
            }
            for layer in layers
        ]
        rows = {
            str(layer): _by_way(context, decoder, layer, probes, seed, change)
            for layer in _looked_into(decoder)
        }
        seeds.append({"seed": seed, "layers": whole, "rows": rows})
        context.listen("impact map", at + 1, len(context.seeds))
    return {"probes": len(_probes(context, context.seeds[0])) // 2, "seeds": seeds}


def _looked_into(decoder: Decoder) -> Sequence[int]:
    """The layers whose rows are compared: all of a small model, else three with the published one before the last."""
    last = decoder.layers - 1
    return range(last + 1) if last < FEW else (0, last // 2, last - 1)


def _probes(context: Context, seed: int) -> list[Probe]:
    """Right answers, then the distractors of the same probes as if they were right."""
    found = [probe for probe in context.load("broad").split("target") if probe.distractor]
    order = spread(found, seed)[: context.size(PROBES, QUICK_PROBES)]
    return paired([found[index] for index in order])


def paired(probes: Sequence[Probe]) -> list[Probe]:
    """The probes, then the same with the distractor as their only answer."""
    wrong = [
        msgspec.structs.replace(probe, id=f"{probe.id}/wrong", answers=(probe.distractor,), distractor=None)
        for probe in probes
        if probe.distractor
    ]
    return [*probes, *wrong]


def _gaps(context: Context, probes: Sequence[Probe]) -> list[float]:
    scores, half = [found.score for found in context.score(probes)], len(probes) // 2
    return [right - wrong for right, wrong in zip(scores[:half], scores[half:], strict=True)]


def impact(base: Sequence[float], now: Sequence[float]) -> float:
    """Mean absolute change."""
    return fmean(abs(after - before) for before, after in zip(base, now, strict=True))


def _rows(decoder: Decoder, layer: int, *projections: str) -> list[Flip]:
    return list(Space(layers=(layer,), projections=projections).row_flips(decoder))


def row_orders(
    context: Context, decoder: Decoder, layer: int, probes: Sequence[Probe]
) -> dict[str, list[Flip]]:
    """Rows of gate and up by mean |scale|, and by the mean |estimated effect| on the gaps; largest first."""
    space, searched = (
        Space(layers=(layer,), projections=("gate_proj", "up_proj")),
        SearchProbes(tuple(probes)),
    )
    rows = list(space.row_flips(decoder))
    scales = {tensor: row_scales(decoder, tensor) for tensor in space.tensors(decoder)}
    with Problem(
        context.bench.model, context.bench.tokenizer, searched, SearchSettings(space=space)
    ) as problem:
        effects = probe_effects(problem.parts, problem.objective, space)
    order, half = spread(probes), len(probes) // 2
    place = sorted(range(len(order)), key=order.__getitem__)  # where each probe went
    gaps = {
        tensor: (found[place[:half]] - found[place[half:]]).abs().mean(0)[:, 0].tolist()
        for tensor, found in effects.items()
    }
    return {
        name: sorted(rows, key=lambda flip, values=values: -values[flip.tensor][flip.row])
        for name, values in (("scale", scales), ("gradient", gaps))
    }


def _by_way(
    context: Context, decoder: Decoder, layer: int, probes: Sequence[Probe], seed: int, change: Any
) -> Any:
    """Impact of so many rows at once, chosen each way: {way: [per count]}."""
    orders, counts = row_orders(context, decoder, layer, probes), context.size(COUNTS, QUICK_COUNTS)
    draws = context.size(DRAWS, QUICK_DRAWS)
    rng, rows = Random(seed), orders["scale"]
    found = {way: [change(order[:count]) for count in counts] for way, order in orders.items()}
    chance = [fmean(change(rng.sample(rows, count)) for _ in range(draws)) for count in counts]
    return {"counts": list(counts), **found, "random": chance}


def _over_seeds(result: Result, value: Any) -> list[float]:
    return [value(one) for one in result["seeds"]]


def _ratio(seed: Any, way: str) -> float:
    """Of the largest number of rows to as many random ones, in the layer before the last."""
    layers = list(seed["rows"])
    rows = seed["rows"][layers[-2] if len(layers) == len(seed["layers"]) else layers[-1]]
    return rows[way][-1] / rows["random"][-1]


def claims(result: Result) -> list[Claim]:
    spread_of = _over_seeds(result, lambda one: max(_whole(one)) / min(_whole(one)))
    last_but_one = _over_seeds(result, lambda one: _whole(one)[-2] / max(_others(_whole(one))))
    scale = _over_seeds(result, lambda one: _ratio(one, "scale"))
    count = next(iter(result["seeds"][0]["rows"].values()))["counts"][-1]
    return [
        _claim("Layers differ: largest impact over smallest", "9.0 / 0.7 = 13", spread_of, 2.0),
        _claim(
            "The layer before the last matters most: its impact over the largest other",
            "9.0 / 7.2 = 1.25",
            last_but_one,
            1.0,
        ),
        _claim(
            f"{count} rows of the largest scale do more than random ones, in the layer before the last: ratio",
            "64 rows of layer 34: 0.459 / 0.118 = 3.88",
            scale,
            1.0,
        ),
    ]


def _whole(seed: Any) -> list[float]:
    return [layer["all"] for layer in seed["layers"]]


def _others(values: list[float]) -> list[float]:
    return [*values[:-2], values[-1]]


def _claim(what: str, published: str, values: list[float], above: float) -> Claim:
    low, high = min(values), max(values)
    return Claim(
        what,
        published,
        f"{fmean(values):.2f} (seeds {low:.2f} to {high:.2f})",
        fmean(values),
        mean_interval(values),
        above=above,
    )


def tables(result: Result) -> list[Table]:
    layers = range(len(result["seeds"][0]["layers"]))
    names = {"all": "gate, up and down", **{name: name.removesuffix("_proj") for name in PROJECTIONS}}
    whole = [[str(layer), *(f"{_mean_whole(result, layer, name):.2f}" for name in names)] for layer in layers]
    some = result["seeds"][0]["rows"]
    rows = [
        [
            layer,
            str(count),
            *(f"{_mean_rows(result, layer, way, at):.3f}" for way in WAYS),
            *(
                f"{_mean_rows(result, layer, way, at) / _mean_rows(result, layer, 'random', at):.2f}"
                for way in WAYS[:2]
            ),
        ]
        for layer, found in some.items()
        for at, count in enumerate(found["counts"])
    ]
    note = (
        f"{result['probes']} probes a seed, {len(result['seeds'])} seeds; nats. Flipping up and down together "
        "cancels out, so the whole MLP is that of a flipped gate."
    )
    return [
        Table("Impact of a whole layer", ["layer", *names.values()], whole, note),
        Table(
            "Impact of rows of gate and up, flipped together",
            ["layer", "rows", *map(_chosen, WAYS), "scale / random", "gradient / random"],
            rows,
        ),
    ]


def _chosen(way: str) -> str:
    return way if way == "random" else f"by {way}"


def _mean_whole(result: Result, layer: int, name: str) -> float:
    return fmean(_over_seeds(result, lambda one: one["layers"][layer][name]))


def _mean_rows(result: Result, layer: str, way: str, at: int) -> float:
    return fmean(_over_seeds(result, lambda one: one["rows"][layer][way][at]))


def plots(result: Result) -> list[Plot]:
    layers = range(len(result["seeds"][0]["layers"]))
    whole = [[one["layers"][layer]["all"] for one in result["seeds"]] for layer in layers]
    found = result["seeds"][0]["rows"]
    return [
        Plot(
            "Impact of flipping a whole layer's MLP: mean and range over the seeds",
            "layer",
            "impact, nats",
            [
                Series(
                    "gate, up and down",
                    [str(layer) for layer in layers],
                    [fmean(one) for one in whole],
                    [min(one) for one in whole],
                    [max(one) for one in whole],
                )
            ],
        ),
        Plot(
            f"Impact of {next(iter(found.values()))['counts'][-1]} rows by how they were chosen",
            "layer",
            "impact, nats",
            [
                Series(_chosen(way), list(found), [_mean_rows(result, layer, way, -1) for layer in found])
                for way in WAYS
            ],
        ),
    ]


EXPERIMENT = Experiment(run, claims, tables, plots)
