"""How well a model predicts a text, and how far a patch moves its predictions.

A text is read in windows that share one token, so every token but the first is predicted exactly once.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from bankai.errors import ProbeFormatError
from bankai.evaluation.scoring import token_scores
from bankai.io import RefusedFileError, decode_text, read_bounded
from bankai.model.divergence import divergence
from bankai.model.loader import load
from bankai.model.patching import patched
from bankai.patch import Patch, read_patch
from bankai.probes.neutral import builtin_neutral_texts, load_neutral_texts
from bankai.steps import StepListener, ignore_steps

__all__ = ["TextReport", "measure_text", "measure_text_file"]

MAX_FILE_BYTES = 2**30
WINDOW = 512  # tokens read at a time, or the whole context of a model that has less


@dataclass(frozen=True, slots=True)
class TextReport:
    """Perplexity per token over the `tokens` predicted; the rest with a patch only.

    `kl`: divergence of the patched model's next-token distribution from the base's, nats per token, mean.
    `agreement`: part of the tokens before which both have the same most probable one.
    """

    tokens: int
    window: int
    perplexity: float
    patched: float | None = None
    kl: float | None = None
    agreement: float | None = None


def measure_text_file(
    source: str | Path,
    text: str | Path,
    patch: str | Path | None = None,
    *,
    window: int = WINDOW,
    unbound: bool = False,
    device: str = "cpu",
    dtype: str = "float32",
    listen: StepListener = ignore_steps,
) -> TextReport:
    """A model file on a UTF-8 text file or a built-in neutral text. The model file is not changed.

    Raises ProbeFormatError for a text that is not UTF-8, too short or larger than 1 GiB, and what reading model and
    patch raises.
    """
    content, change = _content(text), None if patch is None else read_patch(Path(patch))
    model, tokenizer = load(source, device=device, dtype=dtype)
    return measure_text(model, tokenizer, content, change, window=window, unbound=unbound, listen=listen)


@torch.no_grad()
def measure_text(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    text: str,
    patch: Patch | None = None,
    *,
    window: int = WINDOW,
    unbound: bool = False,
    listen: StepListener = ignore_steps,
) -> TextReport:
    """Perplexity of a text; with a patch also under it, and how far the two are apart.

    Raises ProbeFormatError below two tokens, and what putting the patch on raises.
    """
    window = min(window, model.config.max_position_embeddings)
    ids = tokenizer(text, return_tensors="pt")["input_ids"][0]
    tokens = len(ids) - 1
    if tokens < 1:
        raise ProbeFormatError("the text has less than two tokens, so none to predict; give a longer one")
    base, changed, kl, agreed = 0.0, 0.0, 0.0, 0
    for start, piece in _windows(ids, window):
        logits = model(input_ids=piece[None, :-1].to(model.device), use_cache=False).logits[0]
        base += _nats(logits, piece[1:])
        if patch is not None:
            with patched(model, patch, unbound=unbound):
                other = model(input_ids=piece[None, :-1].to(model.device), use_cache=False).logits[0]
            changed += _nats(other, piece[1:])
            kl += _divergence(logits, other)
            agreed += int((logits.argmax(1) == other.argmax(1)).sum())
        listen("tokens of text", start + len(piece) - 1, tokens)
    if patch is None:
        return TextReport(tokens, window, math.exp(base / tokens))
    return TextReport(
        tokens, window, math.exp(base / tokens), math.exp(changed / tokens), kl / tokens, agreed / tokens
    )


def _windows(ids: Tensor, window: int) -> Iterator[tuple[int, Tensor]]:
    """Start and tokens of each piece: the last of one is the first of the next."""
    for start in range(0, len(ids) - 1, window):
        yield start, ids[start : start + window + 1]


def _nats(logits: Tensor, targets: Tensor) -> float:
    log_probs, _ = token_scores(logits, targets[:, None])
    return -float(log_probs.double().sum())


def _divergence(base: Tensor, other: Tensor) -> float:
    """KL of the base from the other, nats, summed over the positions [positions, vocabulary]."""
    kl = divergence(base.float().log_softmax(1), other.float().log_softmax(1))
    return float(kl.clamp(min=0).double().sum())  # rounding makes a zero negative


def _content(text: str | Path) -> str:
    if str(text) in builtin_neutral_texts():
        return "\n\n".join(load_neutral_texts(text))
    try:
        return decode_text(read_bounded(text, MAX_FILE_BYTES))
    except RefusedFileError as error:
        raise ProbeFormatError(f"{text} is {error.strerror}; give a text file") from None
    except UnicodeDecodeError as error:
        raise ProbeFormatError(f"{text}: byte {error.start} is not UTF-8; save the text as UTF-8") from error
