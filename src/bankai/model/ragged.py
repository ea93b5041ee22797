"""One forward over the tokens of many texts laid end to end: nothing is padded, whatever their lengths.

The layers are transformers' own. How a token attends and what corrects the output of a matrix is the caller's: which
text a token belongs to, and what lies in the past, is known there.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from torch import Tensor, nn
from transformers import AttentionInterface, PreTrainedModel

from bankai.architectures import architecture
from bankai.errors import UnsupportedModelError
from bankai.model.layers import Linear
from bankai.model.matrices import WeightMatrix

__all__ = ["Work", "check_model", "final_hidden"]

_ATTENTION = "bankai_ragged"  # the name under which transformers calls `_attend`


class Work(Protocol):
    """What differs between the texts."""

    def changes(self, matrix: WeightMatrix) -> bool:
        """Whether the outputs of this matrix are corrected."""
        ...

    def change(self, matrix: WeightMatrix, x: Tensor, y: Tensor) -> Tensor:
        """Correct the outputs [tokens, out] of the inputs [tokens, in], in place."""
        ...

    def attend(self, index: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """What every token reads in a layer: query [tokens, heads, width], key and value [tokens, key heads, width],
        both rotated already, to [tokens, heads, width].
        """
        ...


def check_model(model: PreTrainedModel) -> None:
    """Raises UnsupportedModelError for a model in which a text is more than its keys and values."""
    known = architecture(model.config.model_type)
    if known.recurrent:
        raise UnsupportedModelError(
            f"texts with a patch each are not computed yet for models of type {model.config.model_type}; use "
            "--engine llama, or put one patch on this one (`bankai swap`)"
        )


def final_hidden(model: PreTrainedModel, hidden: Tensor, positions: Tensor, work: Work) -> Tensor:
    """The residual after the last layer, normed: embedded tokens [tokens, hidden] to the same."""
    decoder, hidden = model.model, hidden[None]
    rotary = decoder.rotary_emb(hidden, positions[None])
    with _working(model, work):
        for layer in decoder.layers:
            hidden = layer(hidden, position_embeddings=rotary, work=work)
    final: Tensor = decoder.norm(hidden[0])
    return final


@contextmanager
def _working(model: PreTrainedModel, work: Work) -> Iterator[None]:
    """Inside, the layers attend and correct as the work says."""
    before = model.config._attn_implementation
    corrected = [
        layer
        for layer in model.model.layers.modules()
        if isinstance(layer, Linear) and work.changes(layer.matrix)
    ]
    for layer in corrected:
        layer.versions = _Corrections(work, layer.matrix)
    model.config._attn_implementation = _ATTENTION
    try:
        yield
    finally:
        model.config._attn_implementation = before
        for layer in corrected:
            layer.versions = None


class _Corrections:
    """Those of one matrix; implements `bankai.model.layers.Versions`."""

    def __init__(self, work: Work, matrix: WeightMatrix) -> None:
        self._work, self._matrix = work, matrix

    def change(self, x: Tensor, y: Tensor) -> Tensor:
        self._work.change(self._matrix, x[0], y[0])
        return y


def _attend(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: None, *, work: Work, **_: Any
) -> tuple[Tensor, None]:
    """transformers' interface: [1, heads, tokens, width] to [1, tokens, heads, width]."""
    query, key, value = (part[0].transpose(0, 1) for part in (query, key, value))
    return work.attend(module.layer_idx, query, key, value)[None], None


AttentionInterface.register(_ATTENTION, _attend)
