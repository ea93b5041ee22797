"""What is said of patches, against the bits themselves."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from quantized import random_tensor

from bankai.jobs.describe import count_bits, describe_patch
from bankai.patch import Flip, Patch, write_patch
from bankai.quantization import MatrixInfo, PackedTensor
from bankai.quantization.one_bit import Q1_0

ROWS, GROUPS = st.integers(0, 2), st.integers(0, 1)


class Model:
    """One tensor "t" [3, 256]."""

    tensor = random_tensor("t", Q1_0, (3, 256), np.random.default_rng(0))

    @property
    def matrices(self) -> dict[str, MatrixInfo]:
        return {"t": self.tensor.info}

    def packed(self, name: str, rows: Sequence[int] | None = None) -> PackedTensor:
        return self.tensor


FLIPS = st.one_of(
    st.builds(Flip, st.just("t"), ROWS),
    st.builds(Flip, st.just("t"), ROWS, GROUPS),
    st.builds(Flip, st.just("t"), ROWS, GROUPS, st.integers(0, 7)),
)


def changed(tensor: PackedTensor, flips: frozenset[Flip]) -> int:
    """Signs of the weights that differ after every flip was made on the weights, one after the other."""
    dense = tensor.to_dense()
    after = dense.copy()
    for flip in flips:
        width = tensor.quantization.weights
        start = 0 if flip.group is None else flip.group * width + (flip.bit or 0)
        stop = None if flip.group is None else start + (width if flip.bit is None else 1)
        after[flip.row, start:stop] *= -1
    return int((np.signbit(dense) != np.signbit(after)).sum())


@given(st.frozensets(FLIPS, max_size=16))
def test_counted_bits_are_those_that_change(flips: frozenset[Flip]) -> None:
    model = Model()
    assert count_bits(model, flips) == changed(model.tensor, flips)


def test_bits_are_known_without_a_model_when_no_row_is_flipped(tmp_path: Path) -> None:
    flips = [Flip("t", 0, 0), Flip("t", 0, 0, 5), Flip("t", 1, 0, 5), Flip("t", 1, 1, 5)]
    write_patch(Patch.of(flips), tmp_path / "p.bankai")
    described = describe_patch(tmp_path / "p.bankai")
    assert (described.rows, described.groups, described.single_bits, described.bits) == (0, 1, 3, 129)
    write_patch(Patch.of([*flips, Flip("t", 2)]), tmp_path / "q.bankai")
    described = describe_patch(tmp_path / "q.bankai")
    assert (described.rows, described.groups, described.single_bits, described.bits) == (1, 1, 3, None)
