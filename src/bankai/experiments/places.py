"""Experiments 10 to 12: where the flips may be: attention, groups, bits, few or all layers."""

from typing import Any

from bankai.experiments.context import Context
from bankai.experiments.outcomes import mean_claim
from bankai.experiments.values import Claim, Experiment, Result
from bankai.experiments.variants import gains, run_variants, variant_plots, variant_table
from bankai.model.decoder import Decoder
from bankai.search import Space

__all__ = ["EXPERIMENT", "claims", "published_layers", "run"]

NOTHING = 2.0  # points of net held-out gain that count as none
ALL, FEW = "MLP rows", "MLP rows, published layers"


def run(context: Context) -> dict[str, Any]:
    layers = published_layers(Decoder(context.bench.model).layers)
    spaces = {
        ALL: Space(),
        FEW: Space(layers=layers, projections=("gate_proj", "up_proj")),
        "first half of the layers": Space(layers=tuple(range(max(layers) // 2 + 1))),
        "attention rows": Space(projections=("q_proj", "k_proj", "v_proj", "o_proj")),
        "MLP groups": Space(granularity="group"),
        "MLP bits": Space(granularity="bit"),
    }
    return run_variants(context, "places", {name: {"space": space} for name, space in spaces.items()})


def published_layers(layers: int) -> tuple[int, ...]:
    """Layers 1, 2, 3, 4 and 34 of 36, in proportion."""
    return tuple(sorted({*(round(layer * layers / 36) for layer in (1, 2, 3, 4)), max(0, layers - 2)}))


def claims(result: Result) -> list[Claim]:
    wider = [few - whole for few, whole in zip(gains(result, FEW), gains(result, ALL), strict=True)]
    return [
        mean_claim(
            f"Attention rows gain nothing on held-out probes: net within {NOTHING:g} points of none",
            "85 flips, held-out gain 0",
            gains(result, "attention rows"),
            " points",
            above=-NOTHING,
            below=NOTHING,
        ),
        mean_claim(
            f"Groups of 128 bits gain nothing: net within {NOTHING:g} points of none",
            "1,500 evaluations, 6 accepted, no effect",
            gains(result, "MLP groups"),
            " points",
            above=-NOTHING,
            below=NOTHING,
        ),
        mean_claim(
            "A few chosen layers do better on held-out probes than all, points",
            "19 of 30 with five layers, 17 with more: 7 points",
            wider,
            " points",
            above=0.0,
        ),
    ]


EXPERIMENT = Experiment(run, claims, variant_table, variant_plots)
