"""A loaded model on which patches are searched and measured."""

import math
from collections.abc import Sequence
from pathlib import Path

import torch

from bankai.checkpoint.model_file import Checkpoint, open_checkpoint
from bankai.evaluation.drift_meter import DriftMeter
from bankai.evaluation.engines import TorchEngine
from bankai.evaluation.grading import results
from bankai.evaluation.report import Comparison, Result, compare
from bankai.evaluation.scoring import perplexity
from bankai.model import load, patched
from bankai.model.generation import stream
from bankai.patch import Patch
from bankai.probes import Probe
from bankai.probes.encode import context_ids, encode

__all__ = ["DENSE_BYTES", "ITEM_BYTES", "Workbench", "keeps_dense"]

DENSE_BYTES = 2**30  # of expanded weights that are worth their memory for not being unpacked at every step
ITEM_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}


class Workbench:
    """A model by its source; small ones are kept expanded (`dense`), big ones packed."""

    def __init__(self, source: str | Path, *, device: str = "cpu", dtype: str = "float32") -> None:
        self.source, self.name = source, Path(source).name
        with open_checkpoint(source) as checkpoint:
            self.dense = keeps_dense(checkpoint, dtype)
        self.model, self.tokenizer = load(source, dense=self.dense, device=device, dtype=dtype)

    def compare(self, patch: Patch, probes: Sequence[Probe]) -> Comparison:
        """The model without and with the patch on the same probes."""
        base = self.results(probes)
        with patched(self.model, patch):
            return compare(base, self.results(probes), probes)

    def results(self, probes: Sequence[Probe]) -> list[Result]:
        """What comes of the probes with what is on the model at the time."""
        return results(TorchEngine(self.model, self.tokenizer), probes)

    @torch.no_grad()
    def drift(self, patch: Patch, replies: Sequence[Probe]) -> float:
        """KL divergence of the base from the patched model on replies, in nats per token: the mean over the replies."""
        meter = DriftMeter(self.model, [encode(probe, self.tokenizer)[0] for probe in replies])
        with patched(self.model, patch):
            return float(meter.drift().mean())

    def perplexity(self, probes: Sequence[Probe]) -> float:
        """Of running text: two answered plain probes after one another, geometric mean over the pairs.

        Probes end at their stop; this also reads what comes after it.
        """
        texts = [f"{probe.prompt}{probe.answers[0]}{probe.stop}" for probe in probes if probe.prompt]
        pairs = ["".join(pair) for pair in zip(texts[::2], texts[1::2], strict=False)]
        logs = [math.log(perplexity(self.model, self.tokenizer, text)) for text in pairs]
        return math.exp(sum(logs) / len(logs))

    def reply(self, probe: Probe) -> str:
        """The first line that the model gives, greedily."""
        ids = context_ids(probe, self.tokenizer)
        return "".join(stream(self.model, self.tokenizer, ids, max_tokens=24, stops=("\n",))).strip()


def keeps_dense(checkpoint: Checkpoint, dtype: str) -> bool:
    """Whether the weights of a model are kept expanded, without reading them."""
    weights = sum(math.prod(info.shape) for info in checkpoint.matrices.values())
    return weights * ITEM_BYTES[dtype] <= DENSE_BYTES
