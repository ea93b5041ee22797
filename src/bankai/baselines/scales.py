"""Scale edits: the same bits with other group scales, which any 1-bit engine reads as it is.

Negating a scale is a group flip. Does not know: model files.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from math import ceil
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from bankai.baselines.baseline import Baseline
from bankai.baselines.lesson import DEFAULTS, Lesson, train
from bankai.model.binary_linear import PackedWeight, expand
from bankai.model.decoder import MLP, Decoder
from bankai.model.packed_tensors import ModelBinaryTensors
from bankai.quantization.binary import GROUP
from bankai.search.parts import SearchProbes
from bankai.search.settings import SearchSettings

__all__ = ["ScaleEdit", "train_scales"]

ITEM_BYTES = 2
RATE = 1e-2


@dataclass(frozen=True)
class ScaleEdit(Baseline):
    """New float16 scales [out, groups] by canonical tensor name, and which of them differ, of how many."""

    scales: Mapping[str, Tensor]
    changed: int

    @classmethod
    def of(cls, model: PreTrainedModel, scales: Mapping[str, Tensor]) -> "ScaleEdit":
        """Against the scales that the model has now; tensors where none differs are left out."""
        tensors = ModelBinaryTensors(model)
        differ = {name: int((tensors.packed(name).scales != new).sum()) for name, new in scales.items()}
        return cls(
            {name: scales[name].clone() for name, count in differ.items() if count}, sum(differ.values())
        )

    @property
    def bytes(self) -> int:
        """The scales that differ, and one bit for each group of their tensors to say which."""
        places = sum(ceil(new.numel() / 8) for new in self.scales.values())
        return ITEM_BYTES * self.changed + places

    @contextmanager
    def on(self, model: PreTrainedModel) -> Iterator[PreTrainedModel]:
        """See :meth:`Baseline.on`. Raises UnknownTensorError."""
        tensors = ModelBinaryTensors(model)
        packed = {name: tensors.packed(name) for name in self.scales}
        before = {name: weight.scales.clone() for name, weight in packed.items()}
        try:
            for name, weight in packed.items():
                _set(weight, self.scales[name])
            yield model
        finally:
            for name, weight in packed.items():
                _set(weight, before[name])


def _set(weight: PackedWeight, scales: Tensor) -> None:
    weight.scales.copy_(scales)
    if weight.dense is not None:
        weight.densify()


def train_scales(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    probes: SearchProbes,
    *,
    steps: int = 200,
    rate: float = RATE,
    settings: SearchSettings = DEFAULTS,
    seed: int = 0,
    projections: Sequence[str] = MLP,
) -> ScaleEdit:
    """Scales of every layer, each times a factor fitted to the targets of a search and its controls.

    While it trains, the ±1 of these projections are held expanded.
    """
    decoder, tensors = Decoder(model), ModelBinaryTensors(model)
    names = [decoder.name(layer, name) for layer in range(decoder.layers) for name in projections]
    factors = {name: torch.ones_like(tensors.packed(name).scales, dtype=torch.float32) for name in names}
    lesson = Lesson(model, tokenizer, probes, settings=settings, seed=seed)
    with _scaled(model, factors):
        parameters = [factor.requires_grad_() for factor in factors.values()]
        found = train(lesson, parameters, steps=steps, rate=rate)
    new = {name: _rounded(tensors.packed(name), factor) for name, factor in zip(names, found, strict=True)}
    return ScaleEdit.of(model, new)


def _rounded(weight: PackedWeight, factor: Tensor) -> Tensor:
    return (weight.scales.float() * factor).half()


@contextmanager
def _scaled(model: PreTrainedModel, factors: Mapping[str, Tensor]) -> Iterator[None]:
    """While open, outputs are those of scales times the factors, with a gradient for the factors."""
    tensors, handles = ModelBinaryTensors(model), []
    for name, factor in factors.items():
        weight = tensors.packed(name)
        signs = expand(weight.signs, torch.ones_like(weight.scales))
        hook = partial(_product, signs, weight.scales.float(), factor)
        handles.append(model.get_submodule(name).register_forward_hook(hook))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _product(
    signs: Tensor, scales: Tensor, factor: Tensor, _: Any, inputs: tuple[Tensor, ...], y: Tensor
) -> Tensor:
    """Instead of `y`; signs [out, in], scales and factor [out, groups]."""
    weight = (signs.unflatten(1, (-1, GROUP)) * (scales * factor)[:, :, None]).flatten(1)
    return functional.linear(inputs[0], weight.to(y))
