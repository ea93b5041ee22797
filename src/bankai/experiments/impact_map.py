"""Experiments 2 and 15: how much each layer's MLP matters, to many kinds of problems and to calculus alone."""

from statistics import fmean
from typing import Any

from bankai.experiments.context import Context
from bankai.experiments.gaps import Gaps, with_distractor
from bankai.experiments.outcomes import mean_claim
from bankai.experiments.values import Claim, Experiment, Plot, Result, Series, Table
from bankai.model.decoder import Decoder
from bankai.patch import Flip
from bankai.search import Space

__all__ = ["EXPERIMENT", "claims", "plots", "run", "tables"]

PROBES = {"broad": (40, 8), "calculus": (90, 8)}  # of each set; 90 as published
PROJECTIONS = ("gate_proj", "up_proj", "down_proj")
WHOLE = {"all": "gate, up and down", **{name: name.removesuffix("_proj") for name in PROJECTIONS}}


def run(context: Context) -> dict[str, Any]:
    decoder, seeds = Decoder(context.bench.model), []
    for at, seed in enumerate(context.seeds):
        found: dict[str, Any] = {"seed": seed}
        for kind, sizes in PROBES.items():
            gaps = Gaps(context, with_distractor(context, kind, context.size(*sizes), seed))
            found[kind] = [_layer(gaps, decoder, layer) for layer in range(decoder.layers)]
        seeds.append(found)
        context.listen("impact map", at + 1, len(context.seeds))
    return {"probes": {kind: context.size(*sizes) for kind, sizes in PROBES.items()}, "seeds": seeds}


def _layer(gaps: Gaps, decoder: Decoder, layer: int) -> dict[str, float]:
    """Impact of the whole MLP of a layer and of each of its projections."""
    return {
        "all": gaps.impact(_rows(decoder, layer, *PROJECTIONS)),
        **{name: gaps.impact(_rows(decoder, layer, name)) for name in PROJECTIONS},
    }


def _rows(decoder: Decoder, layer: int, *projections: str) -> list[Flip]:
    return list(Space(layers=(layer,), projections=projections).row_flips(decoder))


def _whole(seed: Any, kind: str) -> list[float]:
    return [layer["all"] for layer in seed[kind]]


def _lead(values: list[float]) -> float:
    """Impact of the layer before the last over the largest other."""
    return values[-2] / max(*values[:-2], values[-1])


def claims(result: Result) -> list[Claim]:
    broad, calculus = ([_whole(seed, kind) for seed in result["seeds"]] for kind in PROBES)
    last_but_one = "The layer before the last matters most: its impact over the largest other"
    return [
        mean_claim(
            "Layers differ: largest impact over smallest",
            "9.0 / 0.7 = 13",
            [max(values) / min(values) for values in broad],
            above=2.0,
        ),
        mean_claim(last_but_one, "9.0 / 7.2 = 1.25", [_lead(values) for values in broad], above=1.0),
        mean_claim(
            f"{last_but_one}, on calculus",
            "26.0 / 11.8 = 2.2, 90 probes",
            [_lead(values) for values in calculus],
            above=1.0,
        ),
    ]


def tables(result: Result) -> list[Table]:
    rows = [
        [str(layer), *(f"{_mean(result, kind, layer, name):.2f}" for kind in PROBES for name in WHOLE)]
        for layer in _layers(result)
    ]
    columns = ["layer", *(f"{name}, {kind}" for kind in PROBES for name in WHOLE.values())]
    sizes = " and ".join(f"{result['probes'][kind]} {kind}" for kind in PROBES)
    note = (
        f"{sizes} probes a seed, {len(result['seeds'])} seeds; nats. Flipping up and down together cancels out, so the "
        "whole MLP is that of a flipped gate."
    )
    return [Table("Impact of a whole layer", columns, rows, note)]


def _layers(result: Result) -> range:
    return range(len(result["seeds"][0]["broad"]))


def _mean(result: Result, kind: str, layer: int, name: str) -> float:
    return fmean(seed[kind][layer][name] for seed in result["seeds"])


def plots(result: Result) -> list[Plot]:
    layers, series = _layers(result), []
    for kind in PROBES:
        values = [[_whole(seed, kind)[layer] for seed in result["seeds"]] for layer in layers]
        ends = ([of(one) for one in values] for of in (fmean, min, max))
        series.append(Series(kind, [str(layer) for layer in layers], *ends))
    title = "Impact of flipping a whole layer's MLP: mean and range over the seeds"
    return [Plot(title, "layer", "impact, nats", series)]


EXPERIMENT = Experiment(run, claims, tables, plots)
