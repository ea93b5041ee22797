"""Putting 93 row flips on a file of the shape of Bonsai 8B: in the map, verified, durably, from the command line.

Beside it what copying the same bytes takes, and what PEFT takes to switch between two LoRA adapters of the same flips
and to load one. For PEFT the weights of the model are left out (torch's meta device), which makes nothing slower: to
switch or load an adapter touches none of them. The model is random, or given by BANKAI_BENCH_8B, which is copied first.
"""

import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bankai.checkpoint.lora import write_peft
from bankai.checkpoint.model_file import Checkpoint, open_checkpoint
from bankai.journal import Edit
from bankai.patch import Flip, Patch, write_patch
from bankai.patching import LiveModel, apply_in_place, bind_patch, revert_in_place
from bankai.patching.edits import edits
from bankai.patching.transition import Transition
from benchmarks.big import synthetic
from benchmarks.measure import ranged, summary
from benchmarks.outcomes import table_of

__all__ = ["PLACES", "random_patch", "run", "table"]

FLIPS = 93
MICRO, MILLI = 1e6, 1e3
BARS = {"xor": 100e-6, "volatile": 1e-3, "durable": 100e-3, "cold": 1.0}
PLACES = {
    "anywhere in the MLPs": ("mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"),
    "the longest rows": ("mlp.down_proj",),
    "attention": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj"),
    "embedding and head": ("embed_tokens", "lm_head"),
}


def run(quick: bool) -> dict[str, Any]:
    shape, repeats = ("tiny", 3) if quick else ("bonsai-8b", 200)
    with tempfile.TemporaryDirectory() as folder:
        model = _own(shape, Path(folder))
        places = {name: _place(model, ends, repeats) for name, ends in PLACES.items()}
        patch = random_patch(model, PLACES["anywhere in the MLPs"], 0)
        return {
            "shape": shape,
            "file_bytes": model.stat().st_size,
            "flips": len(patch),
            "places": places,
            "durable": summary(_durable(model, patch, max(3, repeats // 10))),
            "cold": summary(_cold(model, patch, 1 if quick else 10)),
            "peft": _peft(model, patch, max(3, repeats // 10)),
        }


def _own(shape: str, folder: Path) -> Path:
    """A model that we may change."""
    path = synthetic(shape, folder)
    return path if path.parent == folder else Path(shutil.copyfile(path, folder / "model.gguf"))


def random_patch(model: Path, ends: Sequence[str], seed: int) -> Patch:
    """So many random rows of the tensors whose names end so."""
    rng = random.Random(seed)
    with open_checkpoint(model) as checkpoint:
        names = [name for name in checkpoint.matrices if name.endswith(tuple(ends))]
        rows = {name: checkpoint.matrices[name].rows for name in names}
    flips: set[Flip] = set()
    while len(flips) < min(FLIPS, sum(rows.values()) // 2):
        flips.add(Flip(name := rng.choice(names), rng.randrange(rows[name])))
    return bind_patch(model, Patch(frozenset(flips)))


def _place(model: Path, ends: Sequence[str], repeats: int) -> dict[str, Any]:
    patch = random_patch(model, ends, 1)
    with open_checkpoint(model) as checkpoint:
        found = _bare(checkpoint, model, patch, repeats)
    with LiveModel(model) as live:
        _, first = _timed(lambda: live.swap(patch, volatile=True))
        live.swap(volatile=True)
        swaps = [lambda: live.swap(patch, volatile=True), lambda: live.swap(volatile=True)] * (
            repeats // 2 + 1
        )
        both = [_timed(swap)[1] for swap in swaps]
    return found | {"first": first, "volatile": summary(both)}


def _bare(checkpoint: Checkpoint, model: Path, patch: Patch, repeats: int) -> dict[str, Any]:
    """The XOR in the map alone, and copies of the same bytes: row by row as they lie, and in one piece."""
    places = edits(checkpoint, patch.flips)
    mapped = np.memmap(model, np.uint8, "r+").view(np.ndarray)

    def view(edit: Edit) -> np.ndarray:
        return mapped[edit.offset : edit.offset + len(edit.mask)]

    transition, views = Transition(places, view), list(map(view, places))
    rows = [np.empty_like(view) for view in views]
    whole = np.concatenate(views)
    other = np.empty_like(whole)

    def copy_rows() -> None:
        for row, view in zip(rows, views, strict=True):
            np.copyto(row, view)

    works = {"xor": transition.xor, "copy_rows": copy_rows, "copy_whole": lambda: np.copyto(other, whole)}
    for work in works.values():  # warm; an even number of XORs leaves the bits as they were
        work()
        work()
    times: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(2 * (repeats // 2 + 1)):
        for name, work in works.items():
            times[name].append(_timed(work)[1])
    return {"bytes": len(whole), **{name: summary(values) for name, values in times.items()}}


def _durable(model: Path, patch: Patch, repeats: int) -> list[float]:
    """On and off: opened, checked, journaled, synced, recorded."""
    times = []
    for _ in range(repeats):
        times += [
            _timed(lambda: apply_in_place(model, patch))[1],
            _timed(lambda: revert_in_place(model, patch))[1],
        ]
    return times


def _cold(model: Path, patch: Patch, repeats: int) -> list[float]:
    """The whole command, interpreter included."""
    file = model.with_name("p.bankai")
    write_patch(patch, file)
    times = []
    for number in range(2 * repeats):
        command = [
            sys.executable,
            "-m",
            "bankai",
            ("apply", "revert")[number % 2],
            str(model),
            str(file),
            "--in-place",
        ]
        _, took = _timed(
            lambda command=command: subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        )
        times.append(took)
    return times[::2]


def _peft(model: Path, patch: Patch, repeats: int) -> dict[str, Any]:
    import torch
    from peft import PeftModel
    from transformers import AutoConfig, AutoModelForCausalLM

    adapter = model.with_name("adapter")
    with open_checkpoint(model) as checkpoint:
        write_peft(adapter, checkpoint, patch.flips)
        config = AutoConfig.for_model(**checkpoint.config)
    with torch.device("meta"):
        skeleton = AutoModelForCausalLM.from_config(config)
    real = {"torch_device": "cpu", "low_cpu_mem_usage": True}  # the adapter's weights, unlike the model's
    adapted = PeftModel.from_pretrained(skeleton, str(adapter), adapter_name="one", **real)
    _, load = _timed(lambda: adapted.load_adapter(str(adapter), adapter_name="two", **real))
    switch = [lambda: adapted.set_adapter("one"), lambda: adapted.set_adapter("two")] * repeats
    switches = [_timed(work)[1] for work in switch]
    size = sum(file.stat().st_size for file in adapter.iterdir())
    return {"load": load, "switch": summary(switches), "adapter_bytes": size}


def _timed(work: Callable[[], object]) -> tuple[object, float]:
    start = time.perf_counter()
    result = work()
    return result, time.perf_counter() - start


def table(result: dict[str, Any]) -> str:
    rows = [
        [
            name,
            f"{one['bytes']:,}",
            ranged(_times(one["xor"], MICRO), 0),
            f"{one['xor']['median'] / one['copy_rows']['median']:.2f}",
            f"{one['xor']['median'] / one['copy_whole']['median']:.1f}",
            ranged(_times(one["volatile"], MICRO), 0),
            f"{one['first'] * MILLI:.1f}",
        ]
        for name, one in result["places"].items()
    ]
    head = ("rows", "bytes", "XOR, µs", "/ copy by rows", "/ one copy", "verified swap, µs", "the first, ms")
    worst = {
        kind: max(one[kind]["median"] for one in result["places"].values()) for kind in ("xor", "volatile")
    }
    found = worst | {"durable": result["durable"]["median"], "cold": result["cold"]["median"]}
    peft = result["peft"]
    return "\n".join(
        [
            f"{result['flips']} row flips, {result['shape']}, a file of {result['file_bytes'] / 1e9:.2f} GB in memory.",
            "",
            table_of(head, rows),
            "",
            f"Durable `apply_in_place`, model opened and checked: {ranged(_times(result['durable'], MILLI), 0)} ms. "
            f"Cold `bankai apply --in-place`: {ranged(_times(result['cold'], MILLI), 0)} ms.",
            "",
            f"PEFT, the same flips as a LoRA of {peft['adapter_bytes']:,} bytes: `set_adapter` "
            f"{ranged(_times(peft['switch'], MILLI), 1)} ms, `load_adapter` {peft['load'] * MILLI:.0f} ms.",
            "",
            " ".join(_verdict(name, found[name], bar) for name, bar in BARS.items()),
        ]
    )


def _times(found: dict[str, float], unit: float) -> dict[str, float]:
    return {name: value * unit for name, value in found.items()}


def _verdict(name: str, value: float, bar: float) -> str:
    what = {
        "xor": "XOR in the map, the slowest places",
        "volatile": "Verified volatile swap",
        "durable": "Durable change",
        "cold": "Cold command",
    }[name]
    unit, label = (MICRO, "µs") if bar <= BARS["volatile"] else (MILLI, "ms")
    met = "met" if value <= bar else "**missed**"
    return f"{what}: {value * unit:.0f} {label}, bar at most {bar * unit:g} {label}: {met}."
