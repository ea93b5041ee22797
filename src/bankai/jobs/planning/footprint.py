"""The memory that a search needs at its worst moment, by formulas of shapes, and what the machine has.

Cached streams, reference and estimates are exact. The working set is the largest of the three heaviest steps, counted
in copies of their largest arrays (a layer's are its architecture's to tell); what an allocator wastes is not in it.
"""

import os
import sys
from math import prod
from pathlib import Path

import msgspec
import torch

from bankai.architectures import Config, architecture
from bankai.evaluation.batches import BATCH_TOKENS, Batch
from bankai.jobs.planning.work import Work
from bankai.jobs.workbench import ITEM_BYTES
from bankai.model.loader import Loadable
from bankai.model.matrices import matrix_bytes
from bankai.search import ATTRIBUTING, SearchSettings
from bankai.search.attribution import BLOCK
from bankai.search.batched import CHUNK_TOKENS
from bankai.search.guided import candidates
from bankai.search.parts import LOGITS

__all__ = ["Footprint", "available_bytes", "footprint", "stream_bytes"]

FLOAT = 4
ESTIMATES = 4  # sums that a ranking keeps of every place
HEAD_COPIES, HEAD_GRADIENT_COPIES = 3, 6  # of logits [positions, vocabulary], alive together
BLOCK_COPIES = 3  # of effects below row level


class Footprint(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes. `process` is this one, with its libraries and tokenizer; `reference` what the base reads in the texts.

    `peak` is what the device holds: on the CPU all of it, else all but the process and the estimates of a ranking.
    """

    process: int
    weights: int
    streams: int
    reference: int
    estimates: int
    working: int
    peak: int


def footprint(
    model: Loadable,
    work: Work,
    settings: SearchSettings,
    places: int,
    *,
    dense: bool,
    device: str,
    dtype: str,
) -> Footprint:
    """The memory of a search in this process."""
    config, item, guided = model.config, ITEM_BYTES[dtype], settings.strategy in ATTRIBUTING
    held = {
        "weights": _weights(model, dense, item),
        "streams": sum(stream_bytes(config, batch, item) for batch in work.batches()) if guided else 0,
        "reference": item
        * config["hidden_size"]
        * sum(len(batch.rows) for part in work.parts for batch in part.neutral.batches),
        "working": max(_working(config, batch, settings, item) for batch in work.batches()),
    }
    local = {"process": _resident_bytes(), "estimates": FLOAT * ESTIMATES * places if guided else 0}
    return Footprint(
        **held, **local, peak=sum(held.values()) + (sum(local.values()) if device == "cpu" else 0)
    )


def stream_bytes(config: Config, batch: Batch, item: int) -> int:
    """What `bankai.search.streams` caches of a batch: two residuals of every layer, and the embedded tokens."""
    return batch.tokens * config["hidden_size"] * (2 * config["num_hidden_layers"] + 1) * item


def _weights(model: Loadable, dense: bool, item: int) -> int:
    matrices = sum(matrix_bytes(info, item, dense=dense) for info in model.matrices.values())
    return matrices + sum(map(prod, model.vectors.values())) * item


def _working(config: Config, batch: Batch, settings: SearchSettings, item: int) -> int:
    """The heaviest step on a batch: candidates in a layer, the head, or a step of attribution."""
    tokens, vocabulary = batch.tokens, config["vocab_size"]
    arch, (sequences, length) = architecture(config["model_type"]), batch.ids.shape
    piece = next(batch.pieces(batch.answers(), BATCH_TOKENS))
    followed = len(piece), batch.padded(piece) // len(piece)
    guided = settings.strategy in ATTRIBUTING
    together = max(1, min(candidates(settings.budget), CHUNK_TOKENS // tokens)) if guided else 1
    layer = together * arch.layer_bytes(config, sequences, length, item)
    rows = min(together * len(batch.rows), max(1, LOGITS // vocabulary))
    head = HEAD_COPIES * FLOAT * rows * vocabulary
    if not guided:
        return max(layer, head)
    top = HEAD_GRADIENT_COPIES * FLOAT * len(batch.rows) * vocabulary
    below = 0 if settings.space.granularity == "row" else BLOCK_COPIES * FLOAT * BLOCK
    return max(layer, head, top, arch.step_bytes(config, *followed, item) + below)


def _resident_bytes() -> int:
    """Memory of this process; its peak where the system does not tell the present."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else 1024 * peak


def available_bytes(device: str) -> int | None:
    """What a device has left for others; None when nobody tells."""
    if torch.device(device).type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    if torch.device(device).type == "mps":
        return torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory()
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return 1024 * int(next(line.split()[1] for line in lines if line.startswith("MemAvailable")))
    except (OSError, StopIteration):
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else None
