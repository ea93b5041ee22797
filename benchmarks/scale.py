"""Points that the cost model of docs/scale.md is fitted on and checked against, on the shape of Bonsai 1.7B.

Weights packed. Fitted on: forwards of few tokens and of many. Checked against: exact measurements of one flip by layer,
the cached stream of a new state, attribution. Beside them what else a worker does: drawing tokens from the model's
distribution, and proving the bytes of a file.
"""

import random
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from bankai.cluster.files import digest
from bankai.model import load
from bankai.model.decoder import Decoder
from bankai.patch import Flip
from bankai.probes.encode import EncodedAnswer
from bankai.search import Space
from bankai.search.objective import GAINS, LOSSES, Objective
from bankai.search.parts import Part
from bankai.search.ranking import rank
from benchmarks.big import synthetic
from benchmarks.measure import ranged, seconds, summary
from benchmarks.outcomes import table_of

__all__ = ["ANSWER", "LENGTH", "encoded", "run", "table"]

LENGTH, ANSWER = 32, 4  # tokens of a probe, and of its answer
PROBES, SOME = (1, 4, 16), 4
DRAWN = 256  # tokens
NOTHING: frozenset[Flip] = frozenset()


def run(quick: bool) -> dict[str, Any]:
    shape, repeats = ("tiny", 2) if quick else ("bonsai-1.7b", 3)
    with tempfile.TemporaryDirectory() as folder:
        path = synthetic(shape, Path(folder))
        size = path.stat().st_size
        decoder = Decoder(load(path)[0])
        steps = _steps(decoder) | {"digest": lambda: digest(path)}
        found = _in_turn(steps, repeats)
    return {
        "shape": shape,
        "file_bytes": size,
        "length": LENGTH,
        "answer": ANSWER,
        "repeats": repeats,
        "forwards": [{"tokens": n * LENGTH, "seconds": found[f"forward {n}"]} for n in PROBES],
        "probes": SOME,
        "layers": [{"layer": n, "seconds": found[f"layer {n}"]} for n in _depths(decoder)],
        "refresh": found["refresh"],
        "attribution": found["attribution"],
        "draw": {"tokens": DRAWN, "seconds": found["draw"]},
        "digest": found["digest"],
    }


def _steps(decoder: Decoder) -> dict[str, Callable[[], Any]]:
    parts = {probes: _part(decoder, probes) for probes in PROBES}
    some = parts[SOME]
    steps: dict[str, Callable[[], Any]] = {f"forward {n}": part.read_plainly for n, part in parts.items()}
    for layer in _depths(decoder):
        flip = Flip(decoder.name(layer, "mlp.up_proj"), 7)
        steps[f"layer {layer}"] = lambda flip=flip: some.read([frozenset([flip])])
    probabilities = torch.rand(DRAWN, decoder.vocabulary)
    return steps | {
        "refresh": lambda: some.refresh(0),
        "attribution": lambda: _attribute(some),
        "draw": lambda: torch.multinomial(probabilities, 1),
    }


def _depths(decoder: Decoder) -> list[int]:
    """The first layer, those at the quarters, the last."""
    last = decoder.layers - 1
    return sorted({0, last // 4, last // 2, 3 * last // 4, last})


def _in_turn(steps: dict[str, Callable[[], Any]], repeats: int) -> dict[str, dict[str, float]]:
    """Seconds of each step; all take turns, and the first round is not counted."""
    found: dict[str, list[float]] = {name: [] for name in steps}
    for number in range(1 + repeats):
        for name, work in steps.items():
            took = seconds(work)[1]
            if number:
                found[name].append(took)
    return {name: summary(values) for name, values in found.items()}


def encoded(probes: int, length: int, answer: int, vocabulary: int = 256) -> list[list[EncodedAnswer]]:
    """Probes of random tokens, so many of which are read: what they are does not change the time."""
    rng = random.Random(0)
    return [
        [EncodedAnswer(tuple(rng.randrange(vocabulary) for _ in range(length + 1)), length + 1 - answer)]
        for _ in range(probes)
    ]


def _part(decoder: Decoder, probes: int) -> Part:
    return Part(decoder, encoded(probes, LENGTH, ANSWER, decoder.vocabulary), [], [])


def _attribute(part: Part) -> None:
    now = part.read([NOTHING]).at(0)
    domain = torch.zeros(part.targets, dtype=torch.long)
    rank(
        part.decoder, [part], Objective(now, domain, GAINS["mean"], LOSSES["score"], 0.0), now, Space(), top=1
    )


def table(result: dict[str, Any]) -> str:
    def took(found: dict[str, float]) -> str:
        return ranged(found, 3)

    rows = [[f"full forward of {one['tokens']} tokens", took(one["seconds"])] for one in result["forwards"]]
    about = f"{result['probes'] * result['length']} tokens"
    rows += [
        [f"exact measurement of a flip in layer {one['layer']}, {about}", took(one["seconds"])]
        for one in result["layers"]
    ]
    drawn = f"draw {result['draw']['tokens']} tokens from the vocabulary"
    rows += [
        [f"cached stream of a new state, {about}", took(result["refresh"])],
        [f"attribution over all MLP rows, {about}, and reading them once", took(result["attribution"])],
        [drawn, took(result["draw"]["seconds"])],
        [f"digest of the file of {result['file_bytes'] / 1e9:.2f} GB", took(result["digest"])],
    ]
    return (
        f"{result['shape']}, packed, probes of {result['length']} tokens of which {result['answer']} are the answer; "
        f"medians of {result['repeats']}, with ranges.\n\n{table_of(('step', 'seconds'), rows)}"
    )
