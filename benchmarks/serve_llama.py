"""Requests with patches of their own on stock llama.cpp, against requests with none. Needs llama-cpp-python.

A random model of the shape of Bonsai 1.7B and patches of 93 rows: how long a swap takes beside reading a prompt again,
what a request with a patch gets beside one without, in turn, and what texts of several patches get that run at once.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bankai.patch import Patch
from bankai.serving.engine import Engine, Generation
from benchmarks.big import synthetic
from benchmarks.measure import ranged, seconds, summary
from benchmarks.outcomes import table_of
from benchmarks.swap import PLACES, random_patch

__all__ = ["run", "table"]

SWAP, LOW, HIGH = 1e-3, 0.97, 1.03
PATCHES, CONTEXT, THREADS = 4, 256, 1
MILLI = 1e3
SIDES = {
    "base": "none",
    "one": "one patch, the same for all",
    "each": "a patch each",
}


@dataclass(frozen=True)
class _Setting:
    """Rounds of everything, swaps between two patches, tokens of a prompt and of what follows it."""

    shape: str
    rounds: int
    swaps: int
    prompt: int
    tokens: int


FULL = _Setting("bonsai-1.7b", 20, 200, 64, 32)
QUICK = _Setting("tiny", 2, 4, 8, 4)


def run(quick: bool) -> dict[str, Any]:
    from bankai.serving.llama_engine import LlamaEngine

    setting = QUICK if quick else FULL
    with tempfile.TemporaryDirectory() as folder:
        model = synthetic(setting.shape, Path(folder))
        patches = [random_patch(model, PLACES["anywhere in the MLPs"], seed) for seed in range(PATCHES)]
        engine = LlamaEngine(model, places=PATCHES, kept=0, context=CONTEXT, threads=THREADS)
        try:
            return {
                **asdict(setting),
                "threads": THREADS,
                "flips": len(patches[0]),
                "swap": _swaps(engine, patches, setting.swaps),
                "requests": _requests(engine, patches[0], setting),
                "together": _together(engine, patches, setting),
            }
        finally:
            engine.close()


def _swaps(engine: Any, patches: Sequence[Patch], repeats: int) -> dict[str, Any]:
    """Seconds from base to patch, patch to base, and patch to another; each leads through the base."""
    model, base = engine._model, Patch.empty()
    first = [seconds(lambda patch=patch: model.put_on(patch))[1] for patch in patches]
    model.put_on(base)
    ways = {"on": (base, patches[0]), "off": (patches[0], base), "patch to patch": (patches[0], patches[1])}
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repeats):
        for name, (before, after) in ways.items():
            model.put_on(before)
            times[name].append(seconds(lambda after=after: model.put_on(after))[1])
    return {"first": summary(first), **{name: summary(found) for name, found in times.items()}}


def _requests(engine: Engine, patch: Patch, setting: _Setting) -> dict[str, Any]:
    """Tokens per second of one request at a time, base and patch in turn, swap included: prompt and generation."""
    rng = np.random.default_rng(0)
    speed: dict[str, dict[str, list[float]]] = {
        key: {"prompt": [], "generation": []} for key in ("base", "patched")
    }
    for number in range(setting.rounds + 1):
        prompt = tuple(map(int, rng.integers(100, 900, setting.prompt)))
        for key in sorted(speed, reverse=bool(number % 2)):
            generation = Generation(prompt, patch if key == "patched" else Patch.empty(), key)
            engine.add(generation)
            _, read = seconds(lambda: _until(engine, 1))
            _, wrote = seconds(lambda: _until(engine, setting.tokens))
            engine.remove(generation)
            speed[key]["prompt"].append(setting.prompt / read)
            speed[key]["generation"].append(setting.tokens / wrote)
    return {key: {kind: summary(one[1:]) for kind, one in found.items()} for key, found in speed.items()}


def _together(engine: Engine, patches: Sequence[Patch], setting: _Setting) -> dict[str, Any]:
    """Tokens per second of as many texts at once as there are patches, after their prompts were read."""
    base = Patch.empty()
    sides = {
        "base": [("base", base)] * len(patches),
        "one": [("0", patches[0])] * len(patches),
        "each": [(str(number), patch) for number, patch in enumerate(patches)],
    }
    speed: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(setting.rounds + 1):
        for name in sorted(sides, reverse=bool(number % 2)):
            texts = [
                Generation((100 + at, 101, 102, 103), patch, key)
                for at, (key, patch) in enumerate(sides[name])
            ]
            for text in texts:
                engine.add(text)
            while not all(text.tokens for text in texts):
                _choose(engine.step())
            before = _written(texts)
            _, took = seconds(lambda: _until(engine, PATCHES * setting.tokens // 2))
            speed[name].append((_written(texts) - before) / took)
            for text in texts:
                engine.remove(text)
    return {name: summary(found[1:]) for name, found in speed.items()}


def _written(texts: Sequence[Generation]) -> int:
    """Tokens after the prompts."""
    return sum(len(text.tokens) for text in texts)


def _until(engine: Engine, tokens: int) -> None:
    """Steps until so many tokens were chosen."""
    while tokens > 0:
        tokens -= _choose(engine.step())


def _choose(found: Sequence[tuple[Generation, Any]]) -> int:
    """The next token of each, always the same; how many there are."""
    for generation, _ in found:
        generation.tokens.append(100 + len(generation.tokens))
    return len(found)


def table(result: dict[str, Any]) -> str:
    swap, requests, together = result["swap"], result["requests"], result["together"]
    ratios = {
        kind: requests["patched"][kind]["median"] / requests["base"][kind]["median"]
        for kind in ("prompt", "generation")
    }
    again = result["prompt"] / requests["patched"]["prompt"]["median"]
    worst = max(swap[name]["median"] for name in ("on", "off", "patch to patch"))
    in_ms = {name: {part: value * MILLI for part, value in found.items()} for name, found in swap.items()}
    speeds = [
        [
            kind,
            str(result[size]),
            ranged(requests["base"][kind], 1),
            ranged(requests["patched"][kind], 1),
            f"{ratio:.3f}",
        ]
        for (kind, ratio), size in zip(ratios.items(), ("prompt", "tokens"), strict=True)
    ]
    sides = [
        [SIDES[name], ranged(found, 1), f"{found['median'] / together['base']['median']:.3f}"]
        for name, found in together.items()
    ]
    met = all(LOW <= ratio <= HIGH for ratio in ratios.values())
    return "\n".join(
        [
            f"{result['shape']}, {result['flips']} rows flipped by each patch, {result['threads']} threads; medians of "
            f"{result['rounds']} rounds in turn, of {result['swaps']} swaps.",
            "",
            table_of(("swap", "ms"), [[name, ranged(found, 3)] for name, found in in_ms.items()]),
            "",
            f"To read a prompt of {result['prompt']} tokens again takes {again * MILLI:,.0f} ms. A swap takes at most "
            f"{worst * MILLI:.2f} ms, bar at most {SWAP * MILLI:g} ms: {'met' if worst <= SWAP else '**missed**'}.",
            "",
            "One request at a time, with a patch and without in turn, the swap included; tokens per second:",
            "",
            table_of(("work", "tokens", "base", "patched", "ratio"), speeds),
            "",
            f"Ratios between {LOW:g} and {HIGH:g}: {'met' if met else '**missed**'}.",
            "",
            f"{PATCHES} texts at once; tokens per second of all:",
            "",
            table_of(("patches", "generation", "ratio"), sides),
        ]
    )
