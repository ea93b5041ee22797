"""A search on an accelerator, in the shape of a large model: its pieces, the whole of it, memory.

    python -m benchmarks accelerator --device cuda --shape bonsai-8b --dtype bfloat16

60 probes of 30 random tokens on a random model. The plain loop flips, runs everything and flips back, with packed
weights and with expanded ones. The same effects in float32 say what the dtype costs. The whole search reads 60 probes
of the same length. Packed weights are expanded by a table of bytes; what torch.compile makes of it is timed beside.
"""

import random
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel

from bankai.model import load
from bankai.model.decoder import Decoder
from bankai.probes.encode import EncodedAnswer
from bankai.search import Finished, SearchSettings, Space, run_search
from bankai.search.objective import GAINS, LOSSES, Objective
from bankai.search.parts import Part
from bankai.search.ranking import rank
from benchmarks.big import probes, synthetic
from benchmarks.engine import plainly
from benchmarks.expansion import expansion
from benchmarks.measure import Candidates, one_flip_each, ranged, seconds, spearman, summary

__all__ = ["AIMS", "run", "table"]

AIMS = {"seconds": 0.08, "ratio": 10.0, "search": 60.0}
LENGTH, ANSWER = 30, 4  # tokens of a probe, and of its answer
TOP = 64
NOTHING: frozenset[Any] = frozenset()


@dataclass(frozen=True)
class _Setting:
    probes: int
    candidates: int  # measured at once
    plain: int  # of them by the plain loop
    repeats: int
    compared: int  # candidates whose effects are compared with those in float32
    searched: tuple[int, int]  # targets and controls of the whole search
    budget: float  # of it, in evaluations


FULL = _Setting(60, 32, 4, 3, 64, (40, 20), 500)
QUICK = _Setting(3, 4, 2, 1, 4, (2, 1), 30)


class _Side:
    """One model on the device, with the probes; weights packed or expanded."""

    def __init__(self, path: Path, device: str, dtype: str, *, dense: bool, probes: int) -> None:
        self.device = device
        self._forget_peak()
        (self.model, self.tokenizer), self.load_seconds = seconds(
            lambda: load(path, dense=dense, device=device, dtype=dtype)
        )
        self.weights_gb = self._memory(torch.cuda.memory_allocated)
        self.decoder = Decoder(self.model)
        self.part = Part(self.decoder, _targets(self.model, probes), [], [])
        self.base = self.part.read([NOTHING]).at(0)

    def attribution(self) -> float:
        """Seconds of ranking every row of every MLP."""
        domain = torch.zeros(self.part.targets, dtype=torch.long)
        objective = Objective(self.base, domain, GAINS["mean"], LOSSES["score"], 0.0)
        return seconds(lambda: rank(self.part.decoder, [self.part], objective, self.base, Space(), top=TOP))[
            1
        ]

    def batched(self, candidates: Candidates) -> float:
        """Seconds per candidate."""
        return seconds(lambda: self.part.read(candidates))[1] / len(candidates)

    def plain(self, candidates: Candidates) -> float:
        """Seconds per candidate."""
        return seconds(lambda: plainly(self.model, self.part, candidates))[1] / len(candidates)

    def effects(self, candidates: Candidates) -> np.ndarray:
        """Change of the score of every probe, in nats: [candidates, probes]."""
        return (self.part.read(candidates).targets.double() - self.base.targets.double()).numpy()

    def search(self, counts: tuple[int, int], budget: float) -> Finished:
        """A guided search with the settings of the command."""
        searched = probes(self.tokenizer, *counts)
        *_, finished = run_search(self.model, self.tokenizer, searched, SearchSettings(budget=budget))
        assert isinstance(finished, Finished)
        return finished

    def _forget_peak(self) -> None:
        if torch.device(self.device).type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(self.device)

    def _memory(self, counted: Callable[[str], int]) -> float | None:
        """Of the device, in 1e9 bytes; None where nobody counts it."""
        return counted(self.device) / 1e9 if torch.device(self.device).type == "cuda" else None

    def about(self) -> dict[str, Any]:
        peak = self._memory(torch.cuda.max_memory_allocated)
        return {"load_seconds": self.load_seconds, "weights_gb": self.weights_gb, "peak_gb": peak}


def _targets(model: PreTrainedModel, probes: int) -> list[list[EncodedAnswer]]:
    """Random tokens: what they are does not change the time."""
    rng, vocabulary = random.Random(0), model.config.vocab_size
    return [
        [EncodedAnswer(tuple(rng.randrange(vocabulary) for _ in range(LENGTH + 1)), LENGTH + 1 - ANSWER)]
        for _ in range(probes)
    ]


def run(
    quick: bool, *, device: str = "cuda", shape: str = "bonsai-8b", dtype: str = "bfloat16"
) -> dict[str, Any]:
    setting = QUICK if quick else FULL
    with tempfile.TemporaryDirectory() as folder:
        path = synthetic(shape, Path(folder))
        found = {
            name: _side(path, device, dtype, setting, dense=dense)
            for name, dense in (("packed", False), ("dense", True))
        }
        agreement = _agreement(path, device, dtype, setting)
        expanded = expansion(path, device, dtype, setting.repeats)
    return {
        "device": torch.cuda.get_device_name(device) if torch.device(device).type == "cuda" else device,
        "shape": shape,
        "dtype": dtype,
        "probes": setting.probes,
        "tokens": setting.probes * LENGTH,
        "candidates": setting.candidates,
        "searched": setting.searched,
        "expansion": expanded,
        **found,
        "agreement": agreement,
    }


def _side(path: Path, device: str, dtype: str, setting: _Setting, *, dense: bool) -> dict[str, Any]:
    side = _Side(path, device, dtype, dense=dense, probes=setting.probes)
    layers = side.decoder.layers
    depths = sorted({0, layers // 4, layers // 2, 3 * layers // 4, layers - 1})
    spaces = {"all layers": Space()} | {f"layer {layer}": Space(layers=(layer,)) for layer in depths}
    side.batched(one_flip_each(side.decoder, Space(), 2, 0))  # streams and kernels are made
    attribution, plain = [], []
    batched: dict[str, list[float]] = {name: [] for name in spaces}
    for repeat in range(setting.repeats):
        attribution.append(side.attribution())
        for name, space in spaces.items():
            batched[name].append(
                side.batched(one_flip_each(side.decoder, space, setting.candidates, 1 + repeat))
            )
        plain.append(side.plain(one_flip_each(side.decoder, Space(), setting.plain, 1 + repeat)))
        print(f"  {'dense' if dense else 'packed'}, repeat {repeat + 1} of {setting.repeats}", flush=True)
    finished, took = seconds(lambda: side.search(setting.searched, setting.budget))
    return {
        **side.about(),
        "search": {"seconds": took, "evaluations": finished.evaluations, "flips": len(finished.flips)},
        "attribution": summary(attribution),
        "plain": summary(plain),
        "batched": {name: summary(values) for name, values in batched.items()},
    }


def _agreement(path: Path, device: str, dtype: str, setting: _Setting) -> dict[str, Any]:
    """Effects of the same candidates in the dtype and in float32: of every probe, and their means."""
    effects = []
    for kind in (dtype, "float32"):
        side = _Side(path, device, kind, dense=False, probes=setting.probes)
        effects.append(side.effects(one_flip_each(side.decoder, Space(), setting.compared, 99)))
    low, exact = effects
    return {
        "candidates": setting.compared,
        "per_probe": float(np.corrcoef(low.ravel(), exact.ravel())[0, 1]),
        "means": float(np.corrcoef(low.mean(1), exact.mean(1))[0, 1]),
        "means_spearman": spearman(low.mean(1), exact.mean(1)),
        "effect": float(np.median(np.abs(exact.mean(1)))),
    }


def table(result: dict[str, Any]) -> str:
    sides, agreement = (result["packed"], result["dense"]), result["agreement"]
    rows = {
        "attribution over all MLP rows, s": [ranged(side["attribution"], 3) for side in sides],
        "plain loop, s per evaluation": [ranged(side["plain"], 4) for side in sides],
    }
    for name in result["packed"]["batched"]:
        rows[f"batched, {name}, s per evaluation"] = [ranged(side["batched"][name], 4) for side in sides]
    rows["whole search, s"] = [f"{side['search']['seconds']:.1f}" for side in sides]
    rows["its evaluations"] = [f"{side['search']['evaluations']:.0f}" for side in sides]
    rows["its flips"] = [f"{side['search']['flips']}" for side in sides]
    rows["weights, GB"] = [_gigabytes(side["weights_gb"]) for side in sides]
    rows["peak, GB"] = [_gigabytes(side["peak_gb"]) for side in sides]
    lines = [
        f"{result['device']}, {result['shape']}, {result['dtype']}: {result['probes']} probes, {result['tokens']:,} "
        f"tokens; {result['candidates']} candidates at once; medians, with ranges.",
        "",
        "| | packed | dense |",
        "|---|---|---|",
        *(f"| {name} | {packed} | {dense} |" for name, (packed, dense) in rows.items()),
        "",
        f"Effects of {agreement['candidates']} row flips in {result['dtype']} against float32, packed: correlation "
        f"{agreement['per_probe']:.3f} for single probes, {agreement['means']:.3f} for their means (Spearman "
        f"{agreement['means_spearman']:.3f}; median effect {agreement['effect']:.1e} nats).",
        "",
        _expansion(result["expansion"]),
        "",
        *(_verdict(name, result[name]) for name in ("packed", "dense")),
    ]
    return "\n".join(lines)


def _gigabytes(value: float | None) -> str:
    return "not counted" if value is None else f"{value:.1f}"


def _verdict(name: str, side: dict[str, Any]) -> str:
    full, uniform = side["batched"]["layer 0"]["median"], side["batched"]["all layers"]["median"]
    ratio = side["plain"]["median"] / uniform
    took = side["search"]["seconds"]
    third = "within" if took <= AIMS["search"] else "over"
    first = "within" if full <= AIMS["seconds"] else "over"
    second = "reaches" if ratio >= AIMS["ratio"] else "misses"
    return (
        f"- {name}: {full:.4f} s for an exact evaluation through all layers, {first} {AIMS['seconds']:g} s; "
        f"{ratio:.1f} times the plain loop over all layers, which {second} {AIMS['ratio']:g}; a whole search in "
        f"{took:.1f} s, {third} {AIMS['search']:g} s."
    )


def _expansion(found: dict[str, Any]) -> str:
    ratio = found["table"]["median"] / found["compiled"]["median"]
    same = "the same bits" if found["same"] else "**other bits**"
    return (
        f"To expand a matrix of {found['rows']:,} x {found['columns']:,}: {ranged(found['table'], 3)} ms by the table, "
        f"{ranged(found['compiled'], 3)} ms by torch.compile ({ratio:.2f} times as fast, {same}; made in "
        f"{found['made']:.1f} s)."
    )
