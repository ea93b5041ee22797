"""Tokens per second in stock llama.cpp, of a patched file against its base, in turn. Needs llama-cpp-python.

A random model of the shape of Bonsai 1.7B and the same with 93 rows flipped; prompts and lengths are the same.
"""

import tempfile
from pathlib import Path
from typing import Any

from bankai.patching import apply_patch
from benchmarks.big import synthetic
from benchmarks.measure import ranged, seconds, summary
from benchmarks.outcomes import table_of
from benchmarks.swap import PLACES, random_patch

__all__ = ["run", "table"]

LOW, HIGH = 0.97, 1.03
PROMPT, THREADS = 64, 2


def run(quick: bool) -> dict[str, Any]:
    shape, rounds, tokens = ("tiny", 2, 4) if quick else ("bonsai-1.7b", 20, 32)
    with tempfile.TemporaryDirectory() as folder:
        base = synthetic(shape, Path(folder))
        patch = random_patch(base, PLACES["anywhere in the MLPs"], 0)
        apply_patch(base, patch, patched := base.with_name("patched.gguf"))
        models = {"base": _open(base), "patched": _open(patched)}
        speeds: dict[str, list[dict[str, float]]] = {name: [] for name in models}
        for number in range(rounds + 1):
            for name in sorted(models, reverse=bool(number % 2)):
                speeds[name].append(_speed(models[name], tokens))
    kinds = ("prompt", "generation")
    return {
        "shape": shape,
        "flips": len(patch),
        "rounds": rounds,
        "tokens": {"prompt": PROMPT, "generation": tokens},
        "threads": THREADS,
        "speed": {
            name: {kind: summary([one[kind] for one in found[1:]]) for kind in kinds}
            for name, found in speeds.items()
        },
    }


def _open(path: Path) -> Any:
    from llama_cpp import Llama

    return Llama(str(path), n_ctx=256, n_threads=THREADS, n_threads_batch=THREADS, verbose=False)


def _speed(llama: Any, tokens: int) -> dict[str, float]:
    """Tokens per second: a prompt in one batch, then one token after the other, always the same."""
    ids = [100 + 7 * index for index in range(PROMPT + tokens)]
    llama.reset()
    _, prompt = seconds(lambda: llama.eval(ids[:PROMPT]))

    def generate() -> None:
        for token in ids[PROMPT:]:
            llama.eval([token])

    _, generation = seconds(generate)
    return {"prompt": PROMPT / prompt, "generation": tokens / generation}


def table(result: dict[str, Any]) -> str:
    base, patched = result["speed"]["base"], result["speed"]["patched"]
    ratios = {kind: patched[kind]["median"] / base[kind]["median"] for kind in base}
    rows = [
        [
            kind,
            str(result["tokens"][kind]),
            ranged(base[kind], 1),
            ranged(patched[kind], 1),
            f"{ratios[kind]:.3f}",
        ]
        for kind in base
    ]
    met = all(LOW <= ratio <= HIGH for ratio in ratios.values())
    return "\n".join(
        [
            f"{result['shape']}, {result['flips']} rows flipped, {result['threads']} threads, medians of "
            f"{result['rounds']} rounds in turn; tokens per second.",
            "",
            table_of(("work", "tokens", "base", "patched", "ratio"), rows),
            "",
            f"Ratios between {LOW:g} and {HIGH:g}: {'met' if met else '**missed**'}.",
        ]
    )
