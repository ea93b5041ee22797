"""Scale edits: the same bits with other group scales, which any 1-bit engine reads as it is.

Negating a scale is a group flip.
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

from bankai.architectures.base import MLP
from bankai.baselines.baseline import Baseline
from bankai.baselines.training import train
from bankai.errors import UnsupportedModelError
from bankai.model.decoder import Decoder
from bankai.model.hooks import hooked
from bankai.model.matrices import WeightMatrix, expand
from bankai.model.patching import ModelMatrices
from bankai.quantization.one_bit import Q1_0, one_bit_blocks, scales_of, signs_of
from bankai.search.parts import SearchProbes
from bankai.search.settings import SearchSettings
from bankai.search.training import DEFAULTS, TrainingFitness

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
        tensors = ModelMatrices(model)
        differ = {name: int((_scales(tensors.matrix(name)) != new).sum()) for name, new in scales.items()}
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
        """See :meth:`Baseline.on`. Raises UnknownTensorError, and UnsupportedModelError for one that is not 1-bit."""
        tensors = ModelMatrices(model)
        matrices = {name: tensors.matrix(name) for name in self.scales}
        before = {name: _scales(matrix) for name, matrix in matrices.items()}
        try:
            for name, matrix in matrices.items():
                _set(matrix, self.scales[name])
            yield model
        finally:
            for name, matrix in matrices.items():
                _set(matrix, before[name])


def _scales(matrix: WeightMatrix) -> Tensor:
    """float16 [out, groups], on the CPU."""
    if matrix.info.quantization is not Q1_0:
        raise UnsupportedModelError(
            f"scale edits are of 1-bit weights, not of {matrix.info.quantization}; leave this baseline out"
        )
    return torch.from_numpy(scales_of(matrix.blocks()).copy())


def _set(matrix: WeightMatrix, scales: Tensor) -> None:
    matrix.replace(one_bit_blocks(scales.numpy(), signs_of(matrix.blocks())))


def train_scales(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    probes: SearchProbes,
    *,
    steps: int = 200,
    rate: float = RATE,
    settings: SearchSettings = DEFAULTS,
    seed: int = 0,
    projections: Sequence[str] = tuple(MLP),
) -> ScaleEdit:
    """Scales of every layer, each times a factor fitted to the targets of a search and its controls.

    While it trains, the ±1 of these projections are held expanded.
    """
    decoder, tensors = Decoder(model), ModelMatrices(model)
    names = [decoder.name(layer, name) for layer in range(decoder.layers) for name in projections]
    factors = {
        name: torch.ones_like(_scales(tensors.matrix(name)), dtype=torch.float32, device=decoder.device)
        for name in names
    }
    training = TrainingFitness(model, tokenizer, probes, settings=settings, seed=seed)
    with _scaled(model, factors):
        parameters = [factor.requires_grad_() for factor in factors.values()]
        found = train(training, parameters, steps=steps, rate=rate)
    new = {
        name: (_scales(tensors.matrix(name)).float() * factor.cpu()).half()
        for name, factor in zip(names, found, strict=True)
    }
    return ScaleEdit.of(model, new)


@contextmanager
def _scaled(model: PreTrainedModel, factors: Mapping[str, Tensor]) -> Iterator[None]:
    """While open, outputs are those of scales times the factors, with a gradient for the factors."""
    tensors, hooks = ModelMatrices(model), {}
    for name, factor in factors.items():
        matrix = tensors.matrix(name)
        scales = _scales(matrix)
        signs = expand(torch.from_numpy(signs_of(matrix.blocks()).copy()), torch.ones_like(scales))
        hooks[name] = partial(_product, signs.to(factor), scales.to(factor), factor)
    with hooked(model, hooks):
        yield


def _product(
    signs: Tensor, scales: Tensor, factor: Tensor, _: Any, inputs: tuple[Tensor, ...], y: Tensor
) -> Tensor:
    """Instead of `y`; signs [out, in], scales and factor [out, groups]."""
    weight = (signs.unflatten(1, (-1, Q1_0.weights)) * (scales * factor)[:, :, None]).flatten(1)
    return functional.linear(inputs[0], weight.to(y))
