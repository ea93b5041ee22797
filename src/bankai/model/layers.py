"""Linear and embedding layers over a weight matrix, which may be packed or dense."""

from typing import Protocol

from torch import Tensor, nn

from bankai.model.matrices import WeightMatrix

__all__ = ["Embedding", "Linear", "Versions"]


class Versions(Protocol):
    """What corrects the outputs of a layer for parts of a batch."""

    def change(self, x: Tensor, y: Tensor) -> Tensor:
        """Outputs [..., out] of the inputs [..., in], corrected."""
        ...


class _Layer(nn.Module):
    """What both layers have in common: ``matrix``, the weight matrix."""

    def __init__(self, matrix: WeightMatrix) -> None:
        super().__init__()
        self.matrix = matrix

    @property
    def weight(self) -> Tensor:
        """The weight [out, in], to look at; change it with `bankai.model.flip`."""
        return self.matrix.expand()

    def extra_repr(self) -> str:
        return "{} x {}, {}".format(*self.matrix.shape, self.matrix.info.quantization)


class Linear(_Layer):
    """``y = x @ W.T``, without a bias.

    Flipping a row negates that output exactly, bit for bit: rounding is symmetric in sign. `versions`, set by
    :func:`bankai.model.overlay.overlaid`, corrects the outputs where parts of a batch have their own flips.
    """

    versions: Versions | None = None

    @property
    def in_features(self) -> int:
        return self.matrix.shape[1]

    @property
    def out_features(self) -> int:
        return self.matrix.shape[0]

    def forward(self, x: Tensor) -> Tensor:
        """[..., in] to [..., out]."""
        y = self.matrix.product(x)
        return y if self.versions is None else self.versions.change(x, y)


class Embedding(_Layer):
    """Rows of a weight matrix; of a packed one only the rows that are looked up are unpacked."""

    @property
    def num_embeddings(self) -> int:
        return self.matrix.shape[0]

    @property
    def embedding_dim(self) -> int:
        return self.matrix.shape[1]

    def forward(self, ids: Tensor) -> Tensor:
        """int [...] to [..., in]."""
        return self.matrix.rows(ids)
