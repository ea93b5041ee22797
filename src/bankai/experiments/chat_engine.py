"""Whether a chat model's patch does in stock llama.cpp, on a patched copy of the file, what it does in torch.

llama.cpp multiplies the file's own blocks and rounds activations to 8 bits, where torch computes in floats.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bankai.evaluation.engines import LlamaEngine
from bankai.evaluation.scoring import ProbeScore
from bankai.evaluation.statistics import percent
from bankai.experiments.chat import Chat
from bankai.experiments.chat_changes import found_patch
from bankai.experiments.chat_elicitation import ITEMS
from bankai.experiments.context import Context
from bankai.experiments.outcomes import mean_claim, over
from bankai.experiments.values import Claim, Experiment, Plot, Result, Table
from bankai.model import patched
from bankai.patch import Patch
from bankai.patching import apply_patch

__all__ = ["EXPERIMENT", "claims", "plots", "run", "tables"]

SETS = ("known", "unknown")
NEAR = 3.0  # points of right answers


def run(context: Context) -> dict[str, Any]:
    chat = Chat(context)
    before = context.cell("engine-base", partial(_in_llama, chat, context.bench.source))
    seeds = []
    for at, seed in enumerate(context.seeds):
        patch = found_patch(context, chat.probes(context.size(*ITEMS), seed), seed)
        found = {
            "torch": _in_torch(chat, patch),
            "llama.cpp": context.cell(f"engine-{seed}", partial(_patched_in_llama, chat, patch)),
        }
        seeds.append({"seed": seed, "found": found})
        context.listen("patched files in llama.cpp", at + 1, len(context.seeds))
    return {"base": before, "seeds": seeds}


def _in_torch(chat: Chat, patch: Patch) -> dict[str, Any]:
    with patched(chat.context.bench.model, patch):
        return {name: _right(chat.context.score(chat.sets[name])) for name in SETS}


def _patched_in_llama(chat: Chat, patch: Patch) -> dict[str, Any]:
    with TemporaryDirectory() as folder:
        copy = Path(folder) / "patched.gguf"
        apply_patch(chat.context.bench.source, patch, copy)
        return _in_llama(chat, copy)


def _in_llama(chat: Chat, source: str | Path) -> dict[str, Any]:
    engine = LlamaEngine(source)
    return {name: _right(engine.score(chat.sets[name])) for name in SETS}


def _right(scores: Sequence[ProbeScore]) -> dict[str, int]:
    return {"probes": len(scores), "right": sum(score.solved for score in scores)}


def _share(counts: dict[str, int]) -> float:
    return percent(counts["right"], counts["probes"])


def _shares(result: Result, engine: str, name: str) -> list[float]:
    return [_share(seed["found"][engine][name]) for seed in result["seeds"]]


def claims(result: Result) -> list[Claim]:
    pairs = zip(_shares(result, "torch", "known"), _shares(result, "llama.cpp", "known"), strict=True)
    return [
        mean_claim(
            f"On a patched file llama.cpp gives as many right answers as torch, within {NEAR:g} points",
            "not published: true 1-bit models only",
            [theirs - ours for ours, theirs in pairs],
            " points",
            above=-NEAR,
            below=NEAR,
        )
    ]


def tables(result: Result) -> list[Table]:
    rows = [["llama.cpp, base", *(f"{_share(result['base'][name]):.1f}" for name in SETS)]]
    rows += [
        [f"{engine}, patched", *(over(_shares(result, engine, name)) for name in SETS)]
        for engine in ("torch", "llama.cpp")
    ]
    note = "Probes that the base fails in torch. llama.cpp rounds activations to 8 bits."
    return [Table("The same patch in two engines", ["", *(f"{name}, right %" for name in SETS)], rows, note)]


def plots(result: Result) -> list[Plot]:
    return []


EXPERIMENT = Experiment(run, claims, tables, plots)
