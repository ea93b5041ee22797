import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bankai.errors import PatchFormatError
from bankai.patch.rice import MAX_COUNT, Cursor, decode, encode, varint


@given(st.data(), st.integers(1, 10**7))
def test_round_trip(data: st.DataObject, limit: int) -> None:
    places = sorted(data.draw(st.sets(st.integers(0, limit - 1), min_size=1, max_size=200)))
    cursor = Cursor(encode(places, limit) + b"rest")
    assert decode(cursor, limit) == places
    assert cursor.take(4) == b"rest" and cursor.left == 0


@given(st.data(), st.integers(1, 400))
def test_any_choice_of_places_fits_the_stated_bound(data: st.DataObject, limit: int) -> None:
    """Uniform or not: n (k + 1) + N / 2^k bits, which is within 0.14 bits a place of n log2(N e / n)."""
    places = sorted(data.draw(st.sets(st.integers(0, limit - 1), min_size=1)))
    count = len(places)
    bits = 8 * len(encode(places, limit)[len(varint(count)) :])
    assert bits <= min(count * (k + 1) + (limit - count) / 2**k for k in range(10)) + 7 + 0.14 * count


@pytest.mark.parametrize("ratio", [1.5, 2, 2.5, 2.7, 4, 10, 30, 100, 137, 1000, 11000])
def test_parameter_is_the_best_for_random_places(ratio: float) -> None:
    """No other k codes geometric gaps shorter by more than 1 % (the rule rounds 2 ln(phi) and N/n - 1/2)."""
    count, limit = 10_000, int(10_000 * ratio)
    chosen = max(0, (26 * (2 * limit - count) // (27 * count)).bit_length() - 2)
    stay = 1 - count / limit

    def bits(k: int) -> float:
        return k + 1 + stay ** (2**k) / (1 - stay ** (2**k))

    assert bits(chosen) <= 1.01 * min(bits(k) for k in range(20))


@pytest.mark.parametrize(
    ("value", "data"), [(0, "00"), (127, "7f"), (128, "8001"), (2**63 - 1, "ff" * 8 + "7f")]
)
def test_varints(value: int, data: str) -> None:
    assert varint(value).hex() == data
    assert Cursor(bytes.fromhex(data)).varint() == value


@pytest.mark.parametrize("data", ["", "80", "8000", "ff" * 9, "80" * 9 + "01"])
def test_hostile_varints(data: str) -> None:
    with pytest.raises(PatchFormatError):
        Cursor(bytes.fromhex(data)).varint()


@pytest.mark.parametrize(
    ("data", "limit", "message"),
    [
        ("00ff", 10, "cannot hold the 0 places"),
        ("0bffff", 10, "cannot hold the 11 places"),
        ("09ff", 10, "cannot hold the 9 places"),
        ((varint(MAX_COUNT + 1) + bytes(MAX_COUNT)).hex(), 10**9, "cannot hold the 262145 places"),
        ("0100", 1, "run past its end"),
        ("0101", 1000, "run past its end"),
        ("0102", 4, "outside its own table"),
        ("02ff", 1, "cannot hold"),
    ],
)
def test_hostile_sequences(data: str, limit: int, message: str) -> None:
    with pytest.raises(PatchFormatError, match=message):
        decode(Cursor(bytes.fromhex(data)), limit)


def test_the_window_holds_the_worst_case() -> None:
    """All places at the far end of the table make the longest run of zeros."""
    for limit in range(1, 300):
        for count in {1, limit // 3, limit // 2, limit - 1, limit} - {0}:
            places = list(range(limit - count, limit))
            assert decode(Cursor(encode(places, limit)), limit) == places
    places = [10**12 - 1]
    assert math.ceil(8 * len(encode(places, 10**12))) < 60
