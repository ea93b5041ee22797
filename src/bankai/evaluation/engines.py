"""The engines that evaluation can ask: torch, llama.cpp and MLX."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from bankai.architectures import architecture
from bankai.checkpoint.model_file import open_checkpoint
from bankai.errors import DeviceError, MissingExtraError, UnsupportedModelError
from bankai.evaluation.batches import prepare_encoded
from bankai.evaluation.engine import Engine, Trace
from bankai.evaluation.scoring import score_batch
from bankai.model.generation import CachedStep, Step
from bankai.model.loader import load
from bankai.model.sampling import Logits
from bankai.model.tokenizer import make_tokenizer
from bankai.probes.encode import EncodedAnswer

__all__ = ["EngineName", "LlamaEngine", "MlxEngine", "TorchEngine", "open_engine"]

EngineName = Literal["torch", "llama", "mlx"]


class TorchEngine(Engine):
    """A loaded model in this package's own forward pass, with whatever is on it at the time."""

    batch = 16

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
        self.model, self.tokenizer = model, tokenizer
        self.context = model.config.max_position_embeddings

    @torch.no_grad()
    def logits(self, ids: Sequence[int]) -> NDArray[np.float32]:
        """See :class:`Engine`."""
        output = self.model(torch.tensor([ids], device=self.model.device), use_cache=False)
        return output.logits[0].float().cpu().numpy()

    def step(self) -> Step:
        """See :class:`Engine`; what was read is kept."""
        return CachedStep(self.model)

    @torch.no_grad()
    def traces(self, answers: Sequence[EncodedAnswer]) -> Iterator[tuple[int, Trace]]:
        """See :class:`Engine`; in batches."""
        for batch in prepare_encoded([[answer] for answer in answers]).batches:
            log_probs, margins = score_batch(self.model, batch)
            owners = batch.owners.to(margins.device)
            for owner in owners.unique().tolist():
                mine = owners == owner  # in the order of the answer's tokens
                yield owner, Trace(tuple(log_probs[mine].tolist()), tuple(margins[mine].tolist()))


class LlamaEngine(Engine):
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
            architecture(checkpoint.architecture).check_llama_cpp(checkpoint.config)
            self.path = checkpoint.path
            self.tokenizer = make_tokenizer(checkpoint.tokenizer())
            self.context = checkpoint.config["max_position_embeddings"]
        self._llama: Any = None
        self._open(512)

    def logits(self, ids: Sequence[int]) -> NDArray[np.float32]:
        """See :class:`Engine`; the context of llama.cpp grows as needed."""
        if len(ids) > self._llama.n_ctx():
            self._open(2 * len(ids))
        self._llama.reset()
        self._llama.eval(list(ids))
        return np.array(self._llama.scores[: len(ids)], dtype=np.float32)

    def step(self) -> Step:
        """See :class:`Engine`; what was read is kept, unless another text was read in between."""
        text: list[int] = []

        def step(new: Sequence[Sequence[int]]) -> Sequence[Logits]:
            (tokens,) = new
            known = self._llama.input_ids[: self._llama.n_tokens].tolist()
            going_on = bool(text) and known == text and len(text) + len(tokens) <= self._llama.n_ctx()
            text.extend(tokens)
            if not going_on:
                return [self.logits(text)[-1]]
            self._llama.eval(list(tokens))
            return [np.array(self._llama.scores[len(text) - 1], dtype=np.float32)]

        return step

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


class MlxEngine(Engine):
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
            self.context = checkpoint.config["max_position_embeddings"]

    def logits(self, ids: Sequence[int]) -> NDArray[np.float32]:
        """See :class:`Engine`."""
        return self._model.logits(ids)


def open_engine(
    name: EngineName, source: str | Path, *, device: str = "cpu", dtype: str = "float32"
) -> Engine:
    """Open a model file in the named engine. ``device`` and ``dtype`` are as in ``bankai.load``.

    Raises MissingExtraError, DeviceError for what the engine does not let us choose, and what opening raises.
    """
    if name == "torch":
        return TorchEngine(*load(source, device=device, dtype=dtype))
    if (device, dtype) != ("cpu", "float32"):
        raise DeviceError(
            f"only the torch engine has a choice of device and dtype, {name} has its own; leave them out"
        )
    return LlamaEngine(source) if name == "llama" else MlxEngine(source)
