"""How far an adapter is from the patch that it stands for, in logits of the same text.

Nothing here prints. Measuring needs the `[search]` extra, in llama.cpp `[llama]` too; importing does not.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from bankai.patch import Patch
from bankai.patching import apply_patch
from bankai.probes import load_probe_set
from bankai.tensor_names import EMBEDDING

if TYPE_CHECKING:
    from torch import nn

__all__ = ["Drift", "drift_between", "llama_drift", "peft_drift"]

PROBES = "controls"
TOKENS = 256  # of the text, at most


class Drift(msgspec.Struct, frozen=True):
    """The adapter beside the true patch, over the next-token logits after `tokens` tokens of a text.

    `max_logit`: the largest difference of a logit. `kl`: divergence of the adapter's distribution from the patch's,
    nats per token, mean. `agreement`: part of the tokens after which both say the same next one.
    """

    engine: str
    tokens: int
    max_logit: float
    kl: float
    agreement: float


def drift_between(wanted: NDArray[np.floating[Any]], found: NDArray[np.floating[Any]], engine: str) -> Drift:
    """Logits [tokens, vocab] under the true patch and under the adapter."""
    import torch

    from bankai.model.divergence import divergence

    p, q = (torch.from_numpy(logits).double().log_softmax(1) for logits in (wanted, found))
    return Drift(
        engine=engine,
        tokens=len(wanted),
        max_logit=float(np.abs(wanted - found).max()),
        kl=float(divergence(p, q).clamp(min=0).mean()),  # rounding makes a zero negative
        agreement=float((wanted.argmax(axis=1) == found.argmax(axis=1)).mean()),
    )


def peft_drift(base: str | Path, patch: Patch, adapter: Path) -> Drift:
    """Of a PEFT directory, in torch, float32: PEFT's own sums, on the packed weights where the model is large.

    Raises what loading a model raises.
    """
    from bankai.evaluation.engines import TorchEngine
    from bankai.jobs.workbench import Workbench
    from bankai.model import patched

    bench = Workbench(base)
    engine = TorchEngine(bench.model, bench.tokenizer)
    ids = _text(engine.tokenizer, engine.context)
    with patched(bench.model, patch):
        wanted = engine.logits(ids)
    with _adapted(bench.model, adapter):
        found = engine.logits(ids)
    return drift_between(wanted, found, "torch")


def llama_drift(base: str | Path, patch: Patch, adapter: Path) -> Drift:
    """Of a GGUF adapter, in llama.cpp, against a patched copy of the GGUF file `base`.

    Raises MissingExtraError, and UnsupportedModelError when llama.cpp takes neither model or adapter.
    """
    from bankai.evaluation.engines import LlamaEngine

    with TemporaryDirectory() as folder:
        apply_patch(base, patch, Path(folder) / "patched.gguf")
        engine = LlamaEngine(Path(folder) / "patched.gguf")
        ids = _text(engine.tokenizer, engine.context)
        wanted = engine.logits(ids)
    return drift_between(wanted, LlamaEngine(base, adapter=adapter).logits(ids), "llama")


def _text(tokenizer: Any, context: int) -> list[int]:
    """One built-in probe of each category with its answer, one after the other, as any model can read them."""
    plain = [probe for probe in load_probe_set(PROBES).probes if probe.prompt]
    first = {probe.category: probe for probe in reversed(plain)}
    text = "".join(f"{probe.prompt}{probe.answers[0]}{probe.stop}" for probe in first.values())
    ids: list[int] = tokenizer(text)["input_ids"]
    return ids[: min(TOKENS, context)]


@contextmanager
def _adapted(model: "nn.Module", adapter: Path) -> Iterator[None]:
    """The model with what PEFT adds to its layers: `B (A x)`, read from the directory."""
    from safetensors.torch import load_file
    from torch.nn import functional

    from bankai.model.hooks import hooked

    weights = {key: value.float() for key, value in load_file(adapter / "adapter_model.safetensors").items()}
    hooks = {}
    for key in [key for key in weights if "lora_A" in key or "lora_embedding_A" in key]:
        name = key.removeprefix("base_model.model.").partition(".lora_")[0]
        a, b = weights[key], weights[key.replace("_A", "_B")]  # [rank, in], [out, rank]

        def add(_: Any, inputs: Any, y: Any, a: Any = a, b: Any = b, embeds: bool = name == EMBEDDING) -> Any:
            low = functional.embedding(inputs[0], a.T) if embeds else functional.linear(inputs[0], a)
            return y + functional.linear(low, b)

        hooks[name] = add
    with hooked(model, hooks):
        yield
