"""Requests with patches of their own on stock llama.cpp, against requests with none. Needs llama-cpp-python.

A random model of the shape of Bonsai 1.7B and patches of 93 rows: how long a swap takes beside reading a prompt again,
what a request with a patch gets beside one without when they take turns step by step, and what texts of several
patches get that run at once.
"""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from bankai.patch import Patch
from bankai.serving.engine import Generation
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
    """Rounds of everything, swaps of each kind, tokens of a prompt and of what follows it."""

    shape: str
    rounds: int
    swaps: int
    prompt: int
    tokens: int


FULL = _Setting("bonsai-1.7b", 16, 200, 64, 32)
QUICK = _Setting("tiny", 2, 4, 64, 4)


def run(quick: bool) -> dict[str, Any]:
    setting = QUICK if quick else FULL
    with tempfile.TemporaryDirectory() as folder:
        model = synthetic(setting.shape, Path(folder))
        patches = [random_patch(model, PLACES["anywhere in the MLPs"], seed) for seed in range(PATCHES)]
        with _opened(model, turn=1) as engine:
            swap = _swaps(engine, patches, setting.swaps)
            requests = _requests(engine, patches[0], setting)
        return {
            **asdict(setting),
            "threads": THREADS,
            "flips": len(patches[0]),
            "swap": swap,
            "requests": requests,
            "together": _together(model, patches, setting),
        }


@contextmanager
def _opened(model: Path, **settings: int) -> Iterator[Any]:
    from bankai.serving.engines.llama_engine import LlamaEngine

    with closing(
        LlamaEngine(model, places=PATCHES, kept=0, context=CONTEXT, threads=THREADS, **settings)
    ) as engine:
        yield engine


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


def _requests(engine: Any, patch: Patch, setting: _Setting) -> dict[str, Any]:
    """Tokens per second of two requests that take turns step by step, base and patch: every step has its swap.

    Per round, of prompt and generation, from the median of the steps; and the ratio of the two.
    """
    rng = np.random.default_rng(0)
    patches = {"base": Patch.empty(), "patched": patch}
    speed: dict[str, dict[str, list[float]]] = {
        key: {"prompt": [], "generation": []} for key in (*patches, "ratio")
    }
    for number in range(setting.rounds + 1):
        prompt = tuple(map(int, rng.integers(100, 900, setting.prompt)))
        keys = sorted(patches, reverse=bool(number % 2))
        texts = [Generation(prompt, patches[key], key) for key in keys]
        steps = _turns(engine, texts, setting.tokens)
        for key, (reading, writing) in zip(keys, steps, strict=True):
            speed[key]["prompt"].append(setting.prompt / sum(reading))
            speed[key]["generation"].append(1 / median(writing))
        for kind in speed["ratio"]:
            speed["ratio"][kind].append(speed["patched"][kind][-1] / speed["base"][kind][-1])
    return {key: {kind: summary(one[1:]) for kind, one in found.items()} for key, found in speed.items()}


def _turns(engine: Any, texts: Sequence[Generation], tokens: int) -> list[tuple[list[float], list[float]]]:
    """Seconds of each text's steps, those that read the prompt and those that write so many tokens."""
    times: list[tuple[list[float], list[float]]] = [([], []) for _ in texts]
    for text in texts:
        engine.add(text)
    while not all(len(text.tokens) > tokens for text in texts):
        for text, (reading, writing) in zip(texts, times, strict=True):
            kind = writing if text.tokens else reading
            found, took = seconds(engine.step)
            kind.append(took)
            _choose(found)
    for text in texts:
        engine.remove(text)
    return times


def _together(model: Path, patches: Sequence[Patch], setting: _Setting) -> dict[str, Any]:
    """Tokens per second of as many texts at once as there are patches, after their prompts were read."""
    sides = {
        "base": [("base", Patch.empty())] * len(patches),
        "one": [("0", patches[0])] * len(patches),
        "each": [(str(number), patch) for number, patch in enumerate(patches)],
    }
    speed: dict[str, list[float]] = {name: [] for name in sides}
    with ExitStack() as stack:
        engines = {name: stack.enter_context(_opened(model)) for name in sides}
        for name, engine in engines.items():
            texts = [Generation((100 + at, 101), patch, key) for at, (key, patch) in enumerate(sides[name])]
            for text in texts:
                engine.add(text)
            while not all(text.tokens for text in texts):
                _choose(engine.step())
        for number in range(2 * setting.rounds + 1):
            for name in sorted(sides, reverse=bool(number % 2)):
                _, took = seconds(lambda name=name: _until(engines[name], len(patches)))
                speed[name].append(len(patches) / took)
    return {name: summary(found[1:]) for name, found in speed.items()}


def _until(engine: Any, tokens: int) -> None:
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
    ratios = requests["ratio"]
    again = result["prompt"] / requests["patched"]["prompt"]["median"]
    worst = max(swap[name]["median"] for name in ("on", "off", "patch to patch"))
    in_ms = {name: {part: value * MILLI for part, value in found.items()} for name, found in swap.items()}
    speeds = [
        [
            kind,
            str(result[size]),
            *(ranged(requests[key][kind], 1) for key in ("base", "patched")),
            ranged(ratio, 3),
        ]
        for (kind, ratio), size in zip(ratios.items(), ("prompt", "tokens"), strict=True)
    ]
    sides = [
        [SIDES[name], ranged(found, 1), f"{found['median'] / together['base']['median']:.3f}"]
        for name, found in together.items()
    ]
    met = all(LOW <= ratio["median"] <= HIGH for ratio in ratios.values())
    return "\n".join(
        [
            f"{result['shape']}, {result['flips']} rows flipped by each patch, {result['threads']} thread; medians of "
            f"{result['rounds']} rounds in turn, of {result['swaps']} swaps.",
            "",
            table_of(("swap", "ms"), [[name, ranged(found, 3)] for name, found in in_ms.items()]),
            "",
            f"To read a prompt of {result['prompt']} tokens again takes {again * MILLI:,.0f} ms. A swap takes at most "
            f"{worst * MILLI:.2f} ms, bar at most {SWAP * MILLI:g} ms: {'met' if worst <= SWAP else '**missed**'}.",
            "",
            "Two requests at once that take turns step by step, so that every step has its swap; tokens per second:",
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
