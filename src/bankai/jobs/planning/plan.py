"""What a search would take, told before it starts: work, time and memory. Nothing here searches.

The probes are encoded and cut into batches as the search does it, so counts are exact. How times and memory are
estimated is told in `bankai.jobs.planning.times` and `bankai.jobs.planning.footprint`.
"""

from collections.abc import Iterator, Sequence
from math import prod
from pathlib import Path

import msgspec
import torch

from bankai.architectures import architecture
from bankai.checkpoint.model_file import Checkpoint, open_checkpoint
from bankai.errors import AuditError
from bankai.jobs.planning.footprint import Footprint, available_bytes, footprint
from bankai.jobs.planning.pace import measure_pace
from bankai.jobs.planning.times import Times
from bankai.jobs.planning.work import Work
from bankai.jobs.task import Task
from bankai.jobs.workbench import keeps_dense
from bankai.model import make_tokenizer
from bankai.model.decoder import Decoder
from bankai.model.loader import check_device, empty_model
from bankai.patch.places import places_in_row
from bankai.search import ATTRIBUTING, SearchSettings, Space
from bankai.tensor_names import layer_tensor

__all__ = ["Plan", "memory_warnings", "plan_checkpoint", "plan_search"]


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What a search would read and take. `budget` in evaluations: given, or about as many as the minutes allow.

    `seconds`: low and high, of the whole command. `texts` are windows of neutral text; `tokens` of one evaluation,
    `padded_tokens` as they are computed. `available` bytes of the device are None when unknown.
    """

    model: str
    weights: int
    dense: bool
    device: str
    dtype: str
    threads: int
    targets: int
    controls: int
    texts: int
    validation: int
    tokens: int
    padded_tokens: int
    places: int
    seconds_per_evaluation: float
    seconds_per_attribution: float
    seconds_per_candidate: float
    budget: float
    minutes: float | None
    seconds: tuple[float, float]
    memory: Footprint
    available: int | None
    run: str | None
    warnings: tuple[str, ...]

    def lines(self) -> dict[str, str]:
        """Label and text, for people."""
        about = f"{self.minutes:g} minutes, about " if self.minutes else ""
        held = {name: getattr(self.memory, name) for name in self.memory.__struct_fields__ if name != "peak"}
        pieces = ", ".join(f"{_bytes(size)} {name}" for name, size in held.items() if size >= 2**20)
        return {
            "model": f"{self.model}, {self.weights:,} weights kept {'expanded' if self.dense else 'packed'}",
            "computes": f"{self.device}, {self.dtype}, {self.threads} threads",
            "reads": f"{self.targets} targets, {self.controls} controls, {self.texts} texts; "
            f"{self.validation} for validation",
            "tokens": f"{self.tokens:,} an evaluation, {self.padded_tokens:,} with padding",
            "places": f"{self.places:,}",
            "evaluation": _seconds(self.seconds_per_evaluation),
            "attribution": _seconds(self.seconds_per_attribution) if self.seconds_per_attribution else "",
            "candidate": _seconds(self.seconds_per_candidate),
            "budget": f"{about}{self.budget:.0f} evaluations",
            "time": _span(*self.seconds),
            "memory": f"{_bytes(self.memory.peak)} on {self.device}: {pieces}",
            "available": "" if self.available is None else _bytes(self.available),
            "run": self.run or "",
        }


def plan_search(
    source: str | Path,
    task: Task,
    settings: SearchSettings,
    *,
    device: str = "cpu",
    dtype: str = "float32",
    run: Path | None = None,
) -> Plan:
    """The plan of a search for a model, by its source. Reads one layer of each kind, and changes nothing.

    Raises what opening the model raises, DeviceError, AuditError for no targets, PlaceError for layers that the model
    does not have, and what encoding the probes raises.
    """
    check_device(device)
    with open_checkpoint(source) as checkpoint:
        return plan_checkpoint(checkpoint, task, settings, device=device, dtype=dtype, run=run)


def plan_checkpoint(
    checkpoint: Checkpoint,
    task: Task,
    settings: SearchSettings,
    *,
    device: str = "cpu",
    dtype: str = "float32",
    run: Path | None = None,
) -> Plan:
    """As :func:`plan_search`, of an open checkpoint."""
    if not task.searched.targets:
        raise AuditError("no target probes; give a set that has a target split")
    config, dense = checkpoint.config, keeps_dense(checkpoint, dtype)
    layers, arch = _layers(config, settings.space), architecture(checkpoint.architecture)
    work = Work.of(
        task, make_tokenizer(checkpoint.tokenizer()), arch, config["num_hidden_layers"], settings.neutral
    )
    places = _places(checkpoint, settings.space, layers)
    memory = footprint(checkpoint, work, settings, places, dense=dense, device=device, dtype=dtype)
    widest = max(work.batches(), key=lambda batch: batch.tokens)
    pace = measure_pace(checkpoint, widest, settings.space, dense=dense, device=device, dtype=dtype)
    weights = sum(prod(info.shape) for info in checkpoint.matrices.values())
    kinds = arch.layer_kinds(config)
    times = Times(work, pace, kinds, layers, settings, weights)
    available = available_bytes(device)
    return Plan(
        model=checkpoint.path.name,
        weights=weights,
        dense=dense,
        device=device,
        dtype=dtype,
        threads=torch.get_num_threads(),
        targets=work.targets,
        controls=work.controls,
        texts=work.texts,
        validation=work.validation.probes,
        tokens=work.tokens,
        padded_tokens=work.padded_tokens,
        places=places,
        seconds_per_evaluation=times.evaluation,
        seconds_per_attribution=times.attribution if settings.strategy in ATTRIBUTING else 0.0,
        seconds_per_candidate=times.candidate if settings.strategy in ATTRIBUTING else times.evaluation,
        budget=times.budget,
        minutes=settings.minutes,
        seconds=times.command(),
        memory=memory,
        available=available,
        run=None if run is None else str(run),
        warnings=(*memory_warnings(memory, available, device, dtype), *times.warnings()),
    )


def _layers(config: dict[str, object], space: Space) -> tuple[int, ...]:
    """The layers to search. Raises PlaceError."""
    return space.layers_of(Decoder(empty_model(config)))


def _places(checkpoint: Checkpoint, space: Space, layers: Sequence[int]) -> int:
    """Places of the space, in what there is of it in these layers."""
    names = (layer_tensor(layer, path) for layer in layers for path in space.paths())
    found = (checkpoint.matrices[name] for name in names if name in checkpoint.matrices)
    return sum(info.rows * places_in_row(info, space.granularity) for info in found)


def memory_warnings(memory: Footprint, available: int | None, device: str, dtype: str) -> Iterator[str]:
    """Of more than the device has left."""
    needed = memory.peak - (memory.process if device == "cpu" else 0)
    if available is not None and needed > available:
        half = " or --dtype bfloat16" if dtype == "float32" else ""
        yield (
            f"{_bytes(needed)} are needed and {_bytes(available)} available on {device}; "
            f"give fewer probes and texts, a smaller model{half}"
        )


def _bytes(size: float) -> str:
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.0f} MiB"


def _seconds(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.2g} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _span(low: float, high: float) -> str:
    """From low to high, or once where both read the same."""
    ends = dict.fromkeys((_seconds(low), _seconds(high)))
    return " to ".join(ends)
