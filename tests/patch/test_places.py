"""Places: checks in one wording, numbers within a row, and one definition of what flips touch."""

from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from quantized import NAMES

from bankai.errors import RowRangeError, UnknownTensorError
from bankai.patch import Flip, Kind, check_places
from bankai.patch.places import Places, flip_of, number_of, places_by_tensor, places_in_row
from bankai.quantization import MatrixInfo, quantization


class Shapes:
    """A model of which only the matrices are known."""

    def __init__(self, **matrices: MatrixInfo) -> None:
        self.matrices: Mapping[str, MatrixInfo] = matrices


def info(name: str) -> MatrixInfo:
    kind = quantization(name)
    return MatrixInfo(kind, (4, 3 * kind.weights))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", ["row", "group", "bit"])
def test_places_of_a_row_are_numbered_in_their_order(name: str, kind: Kind) -> None:
    matrix = info(name)
    if kind == "bit" and not matrix.quantization.own_signs:
        with pytest.raises(RowRangeError, match=f"in {name} no weight has a sign of its own"):
            places_in_row(matrix, kind)
        return
    count = places_in_row(matrix, kind)
    flips = [flip_of("t", 2, kind, number, matrix) for number in range(count)]
    assert flips == sorted(flips) and len(set(flips)) == count == {"row": 1, "group": 3}.get(
        kind, matrix.shape[1]
    )
    assert [number_of(flip, matrix) for flip in flips] == list(range(count))
    assert {flip.kind for flip in flips} == {kind}
    check_places(Shapes(t=matrix), flips)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("flip", "message"),
    [
        (Flip("t", 4), "t has 4 rows, the patch flips row 4"),
        (Flip("t", 4, 0), "t has 4 rows, the patch flips row 4"),
        (Flip("t", 0, 3), "t has 3 groups, the patch flips group 3"),
        (Flip("t", 0, 3, 0), "t has 3 groups, the patch flips group 3"),
        (Flip("t", 0, 0, 32), "t has 32 weights, the patch flips weight 32"),
    ],
)
def test_places_outside_are_refused(flip: Flip, message: str) -> None:
    with pytest.raises(RowRangeError, match=f"{message}; use the model that the patch was made for"):
        check_places(Shapes(t=info("F32")), [Flip("t", 0), flip])  # type: ignore[arg-type]


def test_unknown_tensors_and_weights_without_a_sign_are_refused() -> None:
    model = Shapes(t=info("Q4_1"))
    with pytest.raises(UnknownTensorError, match="the model has no weight matrix u; use the model"):
        check_places(model, [Flip("u", 0)])  # type: ignore[arg-type]
    with pytest.raises(RowRangeError, match="t is Q4_1, in which no weight has a sign of its own; flip rows"):
        check_places(model, [Flip("t", 0, 0, 0)])  # type: ignore[arg-type]


FLIPS = st.sets(
    st.one_of(
        st.builds(Flip, st.sampled_from("ab"), st.integers(0, 3)),
        st.builds(Flip, st.sampled_from("ab"), st.integers(0, 3), st.integers(0, 2)),
        st.builds(Flip, st.sampled_from("ab"), st.integers(0, 3), st.integers(0, 2), st.integers(0, 31)),
    )
)


@given(FLIPS)
def test_places_are_the_flips_by_tensor(flips: set[Flip]) -> None:
    found = places_by_tensor(flips)
    assert list(found) == sorted({flip.tensor for flip in flips})
    back = {
        *(Flip(name, row) for name, places in found.items() for row in places.rows),
        *(Flip(name, *place) for name, places in found.items() for place in places.groups),
        *(Flip(name, *place) for name, places in found.items() for place in places.weights),
    }
    assert back == flips
    for name, places in found.items():
        assert places.touched_rows == sorted({flip.row for flip in flips if flip.tensor == name})


@given(FLIPS, st.sets(st.integers(0, 3)))
def test_masks_within_some_rows_are_those_of_these_rows(flips: set[Flip], rows: set[int]) -> None:
    matrix = info("F16")
    for places in places_by_tensor(flips).values():
        everywhere, masks = places.masks(matrix)
        some, fewer = places.within(rows).masks(matrix)
        assert some.tolist() == [row for row in everywhere if row in rows]
        assert (fewer == masks[np.isin(everywhere, list(rows))]).all()


def test_a_weight_in_a_flipped_group_counts_once() -> None:
    places = Places((1,), ((0, 2), (1, 0)), ((0, 2, 5), (2, 1, 0)))
    assert places.single_groups == [(0, 2), (2, 1)] and places.touched_rows == [0, 1, 2]
