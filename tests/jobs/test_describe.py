"""What is said of patches, against the bits themselves."""

from pathlib import Path

import numpy as np
from builders import random_binary
from hypothesis import given
from hypothesis import strategies as st

from bankai.jobs.describe import count_bits, describe_patch
from bankai.patch import Flip, Patch, write_patch
from bankai.patch.binding import touched
from bankai.quantization.binary import BinaryTensor

ROWS, GROUPS = st.integers(0, 2), st.integers(0, 1)
FLIPS = st.one_of(
    st.builds(Flip, st.just("t"), ROWS),
    st.builds(Flip, st.just("t"), ROWS, GROUPS),
    st.builds(Flip, st.just("t"), ROWS, GROUPS, st.integers(0, 7)),
)


class Model:
    """One tensor "t" [3, 256]."""

    def __init__(self) -> None:
        self.tensor = random_binary("t", (3, 256), np.random.default_rng(0))

    def binary_names(self) -> tuple[str, ...]:
        return ("t",)

    def binary(self, name: str) -> BinaryTensor:
        return self.tensor


@given(st.frozensets(FLIPS, max_size=16))
def test_counted_bits_are_those_that_change(flips: frozenset[Flip]) -> None:
    model = Model()
    before = model.tensor.signs.copy()
    for places in touched(flips).values():
        model.tensor.flip(places.rows, places.groups, places.bits)
    assert count_bits(model, flips) == np.bitwise_count(before ^ model.tensor.signs).sum()


def test_bits_are_known_without_a_model_when_no_row_is_flipped(tmp_path: Path) -> None:
    flips = [Flip("t", 0, 0), Flip("t", 0, 0, 5), Flip("t", 1, 0, 5), Flip("t", 1, 1, 5)]
    write_patch(Patch.of(flips), tmp_path / "p.bankai")
    described = describe_patch(tmp_path / "p.bankai")
    assert (described.rows, described.groups, described.single_bits, described.bits) == (0, 1, 3, 129)
    write_patch(Patch.of([*flips, Flip("t", 2)]), tmp_path / "q.bankai")
    described = describe_patch(tmp_path / "q.bankai")
    assert (described.rows, described.groups, described.single_bits, described.bits) == (1, 1, 3, None)
