"""What attribution foretells on `nano`: estimated against exact effects of single flips, measured by the engine.

The effect of a flip is the change of the mean score of the targets; that on neutral text is the KL divergence.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bankai.architectures.base import ATTENTION, MLP
from bankai.model import load
from bankai.model.decoder import Decoder
from bankai.patch import Flip
from bankai.patch.places import number_of
from bankai.probes.encode import encode
from bankai.search import Space
from bankai.search.objective import GAINS, LOSSES, Objective
from bankai.search.parts import Part, join, windows
from bankai.search.ranking import probe_effects, rank
from benchmarks.draw import drawn, small
from benchmarks.measure import Candidates, ranged, spearman, summary

__all__ = ["BARS", "Measured", "found_among", "run", "table"]

BARS = {"median": 0.85, "share": 0.9}
NOTHING: frozenset[Flip] = frozenset()
SHORT = {name: name.split(".")[1].removesuffix("_proj") for name in (*MLP, *ATTENTION)}
PROJECTIONS = {
    "mlp": tuple(name.split(".")[1] for name in MLP),
    "attention": tuple(name.split(".")[1] for name in ATTENTION),
}


@dataclass(frozen=True)
class _Setting:
    targets: int
    draws: int
    rows: int  # of each MLP tensor, all of them the pool
    attention_rows: int  # of each tensor of the attention, on the first draw only
    places: int  # groups and bits, each over all MLP tensors
    texts: int
    drift_rows: int
    at_once: int
    top: int  # the exact best; looked for among twice as many estimated ones


FULL = _Setting(60, 3, 150, 100, 400, 60, 360, 64, 32)
QUICK = _Setting(5, 1, 3, 2, 6, 2, 6, 8, 4)


@dataclass(frozen=True)
class Measured:
    """Places with the estimated and the exact effect of each."""

    flips: list[Flip]
    estimated: NDArray[np.float64]
    exact: NDArray[np.float64]

    @property
    def correlation(self) -> float:
        return spearman(self.estimated, self.exact)

    def of(self, tensor: str) -> "Measured":
        """Those in one tensor."""
        at = [index for index, flip in enumerate(self.flips) if flip.tensor == tensor]
        return Measured([self.flips[index] for index in at], self.estimated[at], self.exact[at])


def found_among(measured: Measured, top: int) -> float:
    """Share of the exact best `top` that are among the estimated best twice as many."""
    best = set(np.argsort(-measured.exact, kind="stable")[:top].tolist())
    return len(best & set(np.argsort(-measured.estimated, kind="stable")[: 2 * top].tolist())) / top


class _Draw:
    """The targets of a seed on the base model."""

    def __init__(self, decoder: Decoder, tokenizer: Any, seed: int, setting: _Setting) -> None:
        self.decoder, self.setting, self.rng = decoder, setting, random.Random(seed)
        targets = small(seed, targets=setting.targets).searched.targets
        self.part = Part(decoder, [encode(probe, tokenizer) for probe in targets], [], [])
        self.base = self.part.read([NOTHING])
        self.objective = Objective(
            self.base.at(0), torch.zeros(len(targets), dtype=torch.long), GAINS["mean"], LOSSES["score"], 0.0
        )

    def measured(self, flips: Sequence[Flip], space: Space) -> Measured:
        """Estimated and exact change of the mean score of the targets."""
        effects = probe_effects([self.part], self.objective, space)  # per tensor [targets, rows, places]
        means = {name: values.mean(0) for name, values in effects.items()}
        estimated = [
            float(means[flip.tensor][flip.row, number_of(flip, self.decoder.matrix(flip.tensor).info)])
            for flip in flips
        ]
        scores = [self.part.read(some).targets.double() for some in self._batches(flips)]
        exact = (torch.cat(scores) - self.base.targets.double()).mean(1)
        return Measured(list(flips), np.array(estimated), exact.numpy())

    def drift(self, texts: Part, flips: Sequence[Flip]) -> Measured:
        """Estimated and exact KL divergence on the texts, in nats per token."""
        now = join([self.base.at(0), texts.read([NOTHING]).at(0)])
        objective = Objective(
            now, self.objective.domain, self.objective.gain, self.objective.loss, 0.0, drift=1.0
        )
        by_place = {
            one.flip: one.drift for one in rank(self.decoder, [self.part, texts], objective, now, Space())
        }
        exact = torch.cat([texts.read(some).drift.mean(1) for some in self._batches(flips)])
        return Measured(list(flips), np.array([by_place[flip] for flip in flips]), exact.double().numpy())

    def rows(self, family: str, count: int) -> list[Flip]:
        """So many random rows of every tensor of that family."""
        return [
            Flip(tensor, row)
            for tensor in Space(projections=PROJECTIONS[family]).tensors(self.decoder)
            for row in self.rng.sample(range(self.decoder.matrix(tensor).info.rows), count)
        ]

    def places(self, space: Space, count: int) -> list[Flip]:
        """So many different random places."""
        found: dict[Flip, None] = {}
        while len(found) < count:
            found[space.draw(self.decoder, self.rng)] = None
        return list(found)

    def _batches(self, flips: Sequence[Flip]) -> list[Candidates]:
        size = self.setting.at_once
        return [
            [frozenset([flip]) for flip in flips[start : start + size]]
            for start in range(0, len(flips), size)
        ]


def run(quick: bool) -> dict[str, Any]:
    setting = QUICK if quick else FULL
    model, tokenizer = load("nano", dense=True)
    decoder = Decoder(model)
    draws = [_Draw(decoder, tokenizer, seed, setting) for seed in range(setting.draws)]
    pools = []
    for seed, draw in enumerate(draws):
        pools.append(draw.measured(draw.rows("mlp", setting.rows), Space()))
        print(f"  draw {seed}: {len(pools[-1].flips)} rows measured", flush=True)
    first = draws[0]
    attention = first.measured(
        first.rows("attention", setting.attention_rows), Space(projections=PROJECTIONS["attention"])
    )
    texts = Part(decoder, [], [], windows(drawn(0, texts=setting.texts).searched.texts, tokenizer))
    others = {
        kind: first.measured(first.places(space, setting.places), space)
        for kind, space in (("groups", Space(granularity="group")), ("bits", Space(granularity="bit")))
    }
    others["drift of rows"] = first.drift(texts, first.places(Space(), setting.drift_rows))
    return {
        "targets": setting.targets,
        "windows": texts.texts,
        "pool": len(pools[0].flips),
        "top": setting.top,
        "rows": [
            {"tensor": tensor, **summary([pool.of(tensor).correlation for pool in pools])}
            for tensor in Space().tensors(decoder)
        ],
        "attention": _by_tensor(attention, decoder),
        "found": [found_among(pool, setting.top) for pool in pools],
        "others": [
            {"kind": kind, "places": len(one.flips), "correlation": one.correlation, "effect": _size(one)}
            for kind, one in others.items()
        ],
    }


def _by_tensor(measured: Measured, decoder: Decoder) -> list[dict[str, Any]]:
    tensors = Space(projections=PROJECTIONS["attention"]).tensors(decoder)
    return [{"tensor": tensor, **summary([measured.of(tensor).correlation])} for tensor in tensors]


def _size(measured: Measured) -> float:
    """Median size of the exact effects."""
    return float(np.median(np.abs(measured.exact)))


def table(result: dict[str, Any]) -> str:
    draws, rows = len(result["found"]), result["rows"]
    layers = sorted({_layer(one) for one in (*rows, *result["attention"])})
    lines = [
        f"{result['targets']} targets; {draws} draws of targets and of {result['pool']} MLP rows, as many of every "
        "tensor (median over the draws, with ranges); the attention and all below on the first draw.",
        "",
        "| Spearman, rows | " + " | ".join(f"layer {layer}" for layer in layers) + " |",
        "|---" * (len(layers) + 1) + "|",
        *(_row(name, [*rows, *result["attention"]]) for name in SHORT),
        "",
        "| over the tensors | median | range |",
        "|---|---|---|",
        *(
            _overall(name, result[key])
            for name, key in (("MLP rows", "rows"), ("attention rows", "attention"))
        ),
        "",
        "| of the MLP | places | Spearman | median effect |",
        "|---|---|---|---|",
        *(
            f"| {one['kind']} | {one['places']} | {one['correlation']:.3f} | {one['effect']:.1e} nats |"
            for one in result["others"]
        ),
        "",
        f"Of the exact best {result['top']} of {result['pool']} rows, among the estimated best {2 * result['top']}: "
        + ", ".join(f"{share:.0%}" for share in result["found"])
        + f". The drift is the KL divergence on {result['windows']} windows of neutral text.",
        "",
        _verdict(summary([one["median"] for one in rows])["median"], summary(result["found"])["median"]),
    ]
    return "\n".join(lines)


def _layer(one: dict[str, Any]) -> int:
    return int(one["tensor"].split(".")[2])


def _row(name: str, found: Sequence[dict[str, Any]]) -> str:
    cells = [ranged(one, 3) for one in found if one["tensor"].endswith(name)]
    return f"| {SHORT[name]} | " + " | ".join(cells) + " |"


def _overall(name: str, found: Sequence[dict[str, Any]]) -> str:
    overall = summary([one["median"] for one in found])
    return f"| {name} | {overall['median']:.3f} | {overall['low']:.3f} to {overall['high']:.3f} |"


def _verdict(median: float, share: float) -> str:
    first = "meets" if median >= BARS["median"] else "misses"
    second = "meets" if share >= BARS["share"] else "misses"
    return (
        f"The median over the MLP tensors, {median:.3f}, {first} the bar of {BARS['median']:g}; "
        f"the median share found, {share:.0%}, {second} the bar of {BARS['share']:.0%}."
    )
