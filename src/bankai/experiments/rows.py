"""Experiment 2, second part: rows of large scale, rows that attribution names, and random ones, flipped together."""

from collections.abc import Mapping, Sequence
from random import Random
from statistics import fmean
from typing import Any

from bankai.experiments.context import Context
from bankai.experiments.gaps import Gaps, with_distractor
from bankai.experiments.outcomes import mean_claim
from bankai.experiments.values import Claim, Experiment, Plot, Result, Series, Table
from bankai.model.decoder import Decoder
from bankai.patch import Flip
from bankai.probes import Probe
from bankai.search import Problem, SearchProbes, SearchSettings, Space
from bankai.search.parts import spread
from bankai.search.ranking import probe_effects

__all__ = ["EXPERIMENT", "claims", "orders", "plots", "run", "tables"]

PROBES = 40, 8
COUNTS = (1, 4, 16, 64), (16,)
DRAWS = 8, 2  # of random rows, per seed
WAYS = {"scale": "by scale", "gradient": "by gradient", "random": "random"}
FEW = 8  # layers of which every one is looked into


def run(context: Context) -> dict[str, Any]:
    decoder, seeds = Decoder(context.bench.model), []
    for at, seed in enumerate(context.seeds):
        gaps = Gaps(context, with_distractor(context, "broad", context.size(*PROBES), seed))
        found = {str(layer): _layer(context, gaps, decoder, layer, seed) for layer in _layers(decoder)}
        seeds.append({"seed": seed, "layers": found})
        context.listen("rows", at + 1, len(context.seeds))
    return {
        "counts": list(context.size(*COUNTS)),
        "probes": context.size(*PROBES),
        "last_but_one": str(decoder.layers - 2),
        "seeds": seeds,
    }


def _layers(decoder: Decoder) -> Sequence[int]:
    """All of a small model, else three with the published one before the last."""
    last = decoder.layers - 1
    return range(last + 1) if last < FEW else (0, last // 2, last - 1)


def _layer(context: Context, gaps: Gaps, decoder: Decoder, layer: int, seed: int) -> dict[str, list[float]]:
    """Impact of so many rows at once, chosen each way."""
    ordered, counts = orders(context, decoder, layer, gaps.pairs), context.size(*COUNTS)
    rng, draws, rows = Random(seed), context.size(*DRAWS), ordered["scale"]
    found = {way: [gaps.impact(order[:count]) for count in counts] for way, order in ordered.items()}
    found["random"] = [fmean(gaps.impact(rng.sample(rows, count)) for _ in range(draws)) for count in counts]
    return found


def orders(context: Context, decoder: Decoder, layer: int, pairs: Sequence[Probe]) -> dict[str, list[Flip]]:
    """Rows of gate and up by mean |scale|, and by the mean |estimated effect| on the gaps; largest first.

    `pairs` are probes as `bankai.experiments.gaps.paired` gives them.
    """
    space, searched = (
        Space(layers=(layer,), projections=("gate_proj", "up_proj")),
        SearchProbes(tuple(pairs)),
    )
    rows = list(space.row_flips(decoder))
    scales = {tensor: decoder.matrix(tensor).magnitudes().tolist() for tensor in space.tensors(decoder)}
    with Problem(
        context.bench.model, context.bench.tokenizer, searched, SearchSettings(space=space)
    ) as problem:
        effects = probe_effects(problem.parts, problem.objective, space)
    order, half = spread(pairs), len(pairs) // 2
    place = sorted(range(len(order)), key=order.__getitem__)  # where each probe went
    gaps = {
        tensor: (found[place[:half]] - found[place[half:]]).abs().mean(0)[:, 0].tolist()
        for tensor, found in effects.items()
    }
    return {"scale": _largest_first(rows, scales), "gradient": _largest_first(rows, gaps)}


def _largest_first(rows: Sequence[Flip], values: Mapping[str, Sequence[float]]) -> list[Flip]:
    return sorted(rows, key=lambda flip: -values[flip.tensor][flip.row])


def claims(result: Result) -> list[Claim]:
    layers = [seed["layers"] for seed in result["seeds"]]
    at = result["last_but_one"] if result["last_but_one"] in layers[0] else max(layers[0], key=int)
    what = (
        f"{result['counts'][-1]} rows of the layer before the last do more than random ones: ratio of impacts"
    )
    published = {"scale": "64 rows of layer 34: 0.459 / 0.118 = 3.88", "gradient": "not measured"}
    return [
        mean_claim(
            f"{what}, chosen {WAYS[way]}",
            published[way],
            [rows[at][way][-1] / rows[at]["random"][-1] for rows in layers],
            above=1.0,
        )
        for way in published
    ]


def tables(result: Result) -> list[Table]:
    rows = []
    for layer in result["seeds"][0]["layers"]:
        for at, count in enumerate(result["counts"]):
            found = {way: _mean(result, layer, way, at) for way in WAYS}
            ratios = (found[way] / found["random"] for way in ("scale", "gradient"))
            rows.append(
                [layer, str(count), *(f"{found[way]:.3f}" for way in WAYS), *(f"{r:.2f}" for r in ratios)]
            )
    columns = ["layer", "rows", *WAYS.values(), "scale / random", "gradient / random"]
    note = f"{result['probes']} probes a seed, {len(result['seeds'])} seeds; nats."
    return [Table("Impact of rows of gate and up, flipped together", columns, rows, note)]


def _mean(result: Result, layer: str, way: str, at: int) -> float:
    return fmean(seed["layers"][layer][way][at] for seed in result["seeds"])


def plots(result: Result) -> list[Plot]:
    layers = list(result["seeds"][0]["layers"])
    series = [
        Series(label, layers, [_mean(result, layer, way, -1) for layer in layers])
        for way, label in WAYS.items()
    ]
    title = f"Impact of {result['counts'][-1]} rows by how they were chosen"
    return [Plot(title, "layer", "impact, nats", series)]


EXPERIMENT = Experiment(run, claims, tables, plots)
