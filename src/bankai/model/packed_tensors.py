"""The binary tensors of a loaded model by canonical name, as patches, digests and fingerprints want them."""

from torch import nn

from bankai.errors import UnknownTensorError
from bankai.model.binary_linear import PackedWeight
from bankai.quantization.binary import BinaryTensor

__all__ = ["ModelBinaryTensors"]

_SUFFIX = ".packed"


class ModelBinaryTensors:
    """Implements :class:`bankai.quantization.binary.BinaryTensors` over a model's packed buffers.

    A head tied to the embedding goes by the embedding's name, as in model files.
    """

    def __init__(self, model: nn.Module) -> None:
        # named_modules yields a shared module once, under its first name.
        self._packed = {
            name.removesuffix(_SUFFIX): module
            for name, module in model.named_modules()
            if isinstance(module, PackedWeight)
        }

    def binary_names(self) -> tuple[str, ...]:
        """Canonical names: embedding, layers in order, an untied head."""
        return tuple(self._packed)

    def packed(self, name: str) -> PackedWeight:
        """The module that holds the tensor. Raises UnknownTensorError."""
        if name not in self._packed:
            raise UnknownTensorError(
                f"the model has no binary tensor {name!r}; use the model that the patch was made for"
            )
        return self._packed[name]

    def binary(self, name: str) -> BinaryTensor:
        """The tensor as read-only arrays: views of the buffers on the CPU, copies from other devices.

        Bits change through ``bankai.model.flip`` only, which keeps a dense copy in step.
        """
        packed = self.packed(name)
        signs, scales = packed.signs.cpu().numpy(), packed.scales.cpu().numpy()
        signs.flags.writeable = scales.flags.writeable = False
        return BinaryTensor(name, signs, scales)
