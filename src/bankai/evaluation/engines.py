"""The same probes in the engine that a user runs: torch, llama.cpp or MLX.

Each engine only turns tokens into logits; tokenizing, scoring and *solved* are shared.
Does not know: patches.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from bankai.architectures.config import check_llama_cpp
from bankai.checkpoint.model_file import open_checkpoint
from bankai.errors import DeviceError, MissingExtraError, UnsupportedModelError
from bankai.evaluation.scoring import ProbeScore, score_probes, token_scores
from bankai.model.loader import load
from bankai.model.tokenizer import make_tokenizer
from bankai.probes.encode import EncodedAnswer, encode
from bankai.probes.probe import Probe

__all__ = ["Engine", "EngineName", "LlamaEngine", "MlxEngine", "TorchEngine", "open_engine"]

EngineName = Literal["torch", "llama", "mlx"]


class Engine(Protocol):
    """Something that can score probes."""

    def score(self, probes: Sequence[Probe]) -> list[ProbeScore]:
        """One score per probe, in their order."""
        ...


class TorchEngine:
    """This package's own forward pass."""

    def __init__(self, source: str | Path, *, device: str = "cpu", dtype: str = "float32") -> None:
        self.model, self.tokenizer = load(source, device=device, dtype=dtype)

    def score(self, probes: Sequence[Probe]) -> list[ProbeScore]:
        """See :class:`Engine`."""
        return score_probes(self.model, self.tokenizer, probes)


class _SequenceEngine(ABC):
    """An engine that reads one sequence at a time."""

    tokenizer: Any

    @abstractmethod
    def logits(self, ids: Sequence[int]) -> NDArray[np.float32]:
        """Next-token logits after every token: [tokens, vocab]."""

    def score(self, probes: Sequence[Probe]) -> list[ProbeScore]:
        """See :class:`Engine`."""
        return [self._best(encode(probe, self.tokenizer)) for probe in probes]

    def _best(self, answers: Sequence[EncodedAnswer]) -> ProbeScore:
        results = [self._score(answer) for answer in answers]
        return ProbeScore(max(r.score for r in results), max(r.margin for r in results))

    def _score(self, answer: EncodedAnswer) -> ProbeScore:
        logits = torch.from_numpy(self.logits(answer.ids[:-1])[answer.answer_start - 1 :])
        log_probs, margins = token_scores(logits, torch.tensor(answer.targets))
        return ProbeScore(float(log_probs.sum()), float(margins.min()))


class LlamaEngine(_SequenceEngine):
    """Stock llama.cpp through llama-cpp-python. Rounds activations to 8 bits. Raises MissingExtraError.

    ``threads``: None leaves the number to llama-cpp-python. ``adapter``: a GGUF LoRA to put on, which copies the
    weights to memory.
    """

    def __init__(
        self, source: str | Path, threads: int | None = None, *, adapter: str | Path | None = None
    ) -> None:
        self._threads = threads
        self._adapter = None if adapter is None else str(adapter)
        with open_checkpoint(source) as checkpoint:
            if checkpoint.format != "gguf":
                raise UnsupportedModelError(
                    f"llama.cpp reads GGUF; run `bankai convert {source} model.gguf` first"
                )
            check_llama_cpp(checkpoint.config)
            self.path = checkpoint.path
            self.tokenizer = make_tokenizer(checkpoint.tokenizer())
        self._llama: Any = None
        self._open(512)

    def logits(self, ids: Sequence[int]) -> NDArray[np.float32]:
        """See the base class; the context grows as needed."""
        if len(ids) > self._llama.n_ctx():
            self._open(2 * len(ids))
        self._llama.reset()
        self._llama.eval(list(ids))
        return np.array(self._llama.scores[: len(ids)], dtype=np.float32)

    def _open(self, context: int) -> None:
        try:
            from llama_cpp import Llama
        except ImportError as error:
            raise MissingExtraError(
                "the llama engine needs llama-cpp-python; install it with pip install 'bankai[llama]'"
            ) from error
        try:
            self._llama = Llama(
                str(self.path),
                n_ctx=context,
                n_threads=self._threads,
                n_threads_batch=self._threads,
                lora_path=self._adapter,
                logits_all=True,
                verbose=False,
            )
        except RuntimeError as error:
            raise UnsupportedModelError(
                f"llama.cpp does not load {self._adapter} on {self.path} ({error}); export it for this base"
            ) from error
        except ValueError as error:
            raise UnsupportedModelError(
                f"llama.cpp does not load {self.path} ({error}); use --engine torch"
            ) from error


class MlxEngine(_SequenceEngine):
    """MLX's own 1-bit matrix product over the packed bits, without torch. Raises MissingExtraError."""

    def __init__(self, source: str | Path) -> None:
        try:
            from bankai.evaluation.mlx_qwen3 import MlxQwen3
        except ImportError as error:
            raise MissingExtraError(
                "the mlx engine needs mlx; install it with pip install 'bankai[mlx]'"
            ) from error
        with open_checkpoint(source) as checkpoint:
            self._model = MlxQwen3(checkpoint)
            self.tokenizer = make_tokenizer(checkpoint.tokenizer())

    def logits(self, ids: Sequence[int]) -> NDArray[np.float32]:
        """See the base class."""
        return self._model.logits(ids)


def open_engine(
    name: EngineName, source: str | Path, *, device: str = "cpu", dtype: str = "float32"
) -> Engine:
    """Open a model file in the named engine. ``device`` and ``dtype`` are as in ``bankai.load``.

    Raises MissingExtraError, DeviceError for what the engine does not let us choose, and what opening raises.
    """
    if name == "torch":
        return TorchEngine(source, device=device, dtype=dtype)
    if (device, dtype) != ("cpu", "float32"):
        raise DeviceError(
            f"only the torch engine has a choice of device and dtype, {name} has its own; leave them out"
        )
    return LlamaEngine(source) if name == "llama" else MlxEngine(source)
