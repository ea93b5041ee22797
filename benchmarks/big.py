"""The shapes of Bonsai 8B and 27B on the CPU, weights packed: seconds and peak memory of a round of a search.

The models are random and are written to a temporary folder one after the other, or the 8B is given by BANKAI_BENCH_8B;
each is worked on in a process of its own, whose peak memory is that of the work. `python -m benchmarks.big MODEL` is
that process.
"""

import json
import os
import random
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import torch
from transformers import PreTrainedTokenizerBase

from bankai.checkpoint.synth import synthesize
from bankai.model import load
from bankai.probes import Probe
from bankai.probes.neutral import load_neutral_texts
from bankai.search import Problem, SearchProbes, SearchSettings, Space
from benchmarks.measure import seconds

__all__ = ["BAR", "PATH", "Steps", "probes", "run", "search", "synthetic", "table"]

SHAPES, TINY = ("bonsai-8b", "bonsai-27b"), ("tiny", "tiny-hybrid")  # one of Qwen3, and a hybrid
BAR = 6.0  # GB, of 1e9 bytes; for the first
PATH = "BANKAI_BENCH_8B"
TARGETS, CONTROLS, TOKENS = 4, 2, 30
CANDIDATES, TOP, LATE = 8, 64, 5 / 6  # late layers: the last sixth
STATUS = Path("/proc/self/status")
T = TypeVar("T")


class Steps:
    """Seconds of each step of a piece of work, and the peak memory of the process after it."""

    def __init__(self) -> None:
        self.found: list[dict[str, Any]] = []
        self.peak = 0.0

    def take(self, name: str, work: Callable[[], T]) -> T:
        result, took = seconds(work)
        # Linux counts pages on every core and adds them up now and then, so what it tells can fall a little.
        self.peak = max(self.peak, peak())
        self.found.append({"step": name, "seconds": took, "peak_gb": self.peak})
        return result


def peak() -> float:
    """Of this process so far, in 1e9 bytes."""
    if STATUS.exists():  # Linux, whose ru_maxrss begins at the size of the process that started this one
        line = next(line for line in STATUS.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024 / 1e9
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9


def probes(
    tokenizer: PreTrainedTokenizerBase, targets: int = TARGETS, controls: int = CONTROLS
) -> SearchProbes:
    """Beginnings of neutral texts, of about `TOKENS` tokens with answer and stop."""
    made = []
    for index, text in enumerate(load_neutral_texts("neutral-en")[: targets + controls]):
        prompt = tokenizer.decode(tokenizer(text)["input_ids"][: TOKENS - 2])
        split = "target" if index < targets else "control"
        name = f"text {index}"
        made.append(Probe(id=name, item=name, category="text", split=split, prompt=prompt, answers=(" yes",)))
    return SearchProbes(tuple(made[:targets]), tuple(made[targets:]))


def search(path: str) -> dict[str, Any]:
    """What a round of a search does, step by step."""
    steps = Steps()
    model, tokenizer = steps.take("load", lambda: load(path))
    searched = probes(tokenizer)
    problem = steps.take("baseline", lambda: Problem(model, tokenizer, searched, SearchSettings()))
    with problem:
        ranked = steps.take("attribution", lambda: problem.rank(TOP))
        layers = range(int(problem.decoder.layers * LATE), problem.decoder.layers)
        rng, late = random.Random(0), Space(layers=tuple(layers))
        candidates = [frozenset([late.draw(problem.decoder, rng)]) for _ in range(CANDIDATES)]
        fitness = steps.take("measuring", lambda: problem.measure(candidates))
    return {
        "threads": torch.get_num_threads(),
        "steps": steps.found,
        "peak_gb": steps.peak,
        "places": problem.space.size(problem.decoder),
        "ranked": len(ranked),
        "tokens": sum(batch.tokens for part in problem.parts for batch in part.answers.batches),
        "layers": [layers.start, layers.stop - 1],
        "flips": [flip.tensor for candidate in candidates for flip in candidate],
        "fitness": fitness,
    }


def synthetic(shape: str, folder: Path) -> Path:
    """A random model of that shape, in the folder unless the environment names a file of it."""
    if shape == "bonsai-8b" and (given := os.environ.get(PATH)):
        return Path(given)
    return synthesize(folder / f"{shape}.gguf", shape)


def run(quick: bool) -> dict[str, Any]:
    """The first shape, and under "hybrid" the second."""
    first, second = map(_measured, TINY if quick else SHAPES)
    return first | {"hybrid": second}


def _measured(shape: str) -> dict[str, Any]:
    """In a process of its own; no model is left behind."""
    with tempfile.TemporaryDirectory() as folder:
        path = synthetic(shape, Path(folder))
        size = path.stat().st_size
        root = Path(__file__).resolve().parent.parent
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.big", str(path.resolve())],
            cwd=root,
            stdout=subprocess.PIPE,
            check=True,
        )
    return {"shape": shape, "file_bytes": size, **json.loads(done.stdout)}


def table(result: dict[str, Any]) -> str:
    verdict = "meets" if result["peak_gb"] <= BAR else "misses"
    bar = f"The peak of {result['peak_gb']:.2f} GB {verdict} the bar of {BAR:g} GB."
    hybrid = result["hybrid"]
    peak = f"Threads: {hybrid['threads']}. The peak is {hybrid['peak_gb']:.2f} GB; there is no bar for it."
    return "\n\n".join([_steps(result), bar, _steps(hybrid), peak])


def _steps(result: dict[str, Any]) -> str:
    """Of one shape."""
    first, last = result["layers"]
    names = {
        "load": "load, packed",
        "baseline": f"baseline of {TARGETS} targets and {CONTROLS} controls, {result['tokens']} tokens",
        "attribution": f"attribution over {result['places']:,} rows, cached streams included",
        "measuring": f"{CANDIDATES} exact measurements in layers {first} to {last}",
    }
    lines = [
        f"{result['shape']}, a file of {result['file_bytes'] / 1e9:.2f} GB.",
        "",
        "| step | seconds | peak so far |",
        "|---|---|---|",
        *(
            f"| {names[one['step']]} | {one['seconds']:.1f} | {one['peak_gb']:.2f} GB |"
            for one in result["steps"]
        ),
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    print(json.dumps(search(sys.argv[1])))
