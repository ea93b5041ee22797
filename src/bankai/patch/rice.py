"""Sorted integers as Rice-coded gaps, and the byte cursor and varints around them.

Contract: `encode` writes the one canonical form (`docs/format.md`, "Places"); `decode` reads it and never allocates
more than eight bytes per byte it was given, plus its result.

Rice codes: R. F. Rice, "Some practical universal noiseless coding techniques", JPL 79-22, 1979.
"""

from collections.abc import Sequence

from bankai.errors import PatchFormatError

__all__ = ["MAX_COUNT", "Cursor", "decode", "encode", "varint"]

MAX_COUNT = 2**18
"""The most places that one sequence may list."""


def varint(value: int) -> bytes:
    """Unsigned LEB128: seven bits a byte, low bits first, the high bit set on all bytes but the last."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


class Cursor:
    """Reads a byte string from front to back; raises PatchFormatError instead of running past its end."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    @property
    def left(self) -> int:
        return len(self.data) - self.at

    def take(self, count: int) -> bytes:
        if count > self.left:
            raise PatchFormatError("the patch file ends too early; fetch it again")
        self.at += count
        return self.data[self.at - count : self.at]

    def byte(self) -> int:
        return self.take(1)[0]

    def varint(self) -> int:
        """A varint below 2^63 in its shortest form."""
        value = 0
        for index in range(9):
            byte = self.byte()
            value |= (byte & 0x7F) << 7 * index
            if byte < 0x80:
                if byte == 0 and index:
                    raise PatchFormatError(
                        "the patch file holds a number that is not in its shortest form; ask its writer"
                    )
                return value
        raise PatchFormatError("the patch file holds a number beyond 63 bits; ask its writer")


def _parameter(count: int, limit: int) -> int:
    """The best k for n places drawn at random below N: the largest with 27 n 2^(k+1) <= 26 (2N - n).

    Gaps are then geometric with q = 1 - n/N, and k + 1 beats k as soon as 2^(k+1) < -2 ln(phi) / ln(q), phi
    the golden ratio; -1 / ln(q) is N/n - 1/2 but for terms of n/N, and 2 ln(phi) is 26/27. Taken from n and
    N alone, k costs no byte, and no choice of places can take more than n (k + 1) + N / 2^k bits.
    """
    return max(0, (26 * (2 * limit - count) // (27 * count)).bit_length() - 2)


def encode(places: Sequence[int], limit: int) -> bytes:
    """Varint count, then per gap to the place before: gap >> k zeros, a one, the k low bits of the gap.

    `places` are strictly increasing, at least one, below `limit`. Bits fill bytes from the highest down;
    zeros pad the last.
    """
    k = _parameter(len(places), limit)
    gaps = [place - before - 1 for before, place in zip([-1, *places], places, strict=False)]
    bits = "".join("0" * (gap >> k) + f"{gap & (1 << k) - 1 | 1 << k:b}" for gap in gaps)
    size = (len(bits) + 7) // 8
    packed = int(bits, 2) << 8 * size - len(bits)
    return varint(len(places)) + packed.to_bytes(size, "big")


def decode(cursor: Cursor, limit: int) -> list[int]:
    """The places that `encode` wrote at the cursor; raises PatchFormatError unless all are below `limit`."""
    count = cursor.varint()
    if not 1 <= count <= min(limit, MAX_COUNT, 8 * cursor.left):
        raise PatchFormatError(f"the patch file cannot hold the {count} places it announces; ask its writer")
    k = _parameter(count, limit)
    # N / 2^k is below 3 n for this k, so no more than k + 4 bits a place belong to the sequence.
    window = cursor.data[cursor.at : cursor.at + (count * (k + 4) + 7) // 8]
    bits = f"{int.from_bytes(window, 'big'):0{8 * len(window)}b}"
    places, at, place = [], 0, -1
    for _ in range(count):
        one = bits.find("1", at)
        if one < 0 or one + 1 + k > len(bits):
            raise PatchFormatError("the places in the patch file run past its end; ask its writer")
        place += ((one - at) << k) + int(bits[one : one + 1 + k], 2) - (1 << k) + 1
        if place >= limit:
            raise PatchFormatError("a place in the patch file lies outside its own table; ask its writer")
        places.append(place)
        at = one + 1 + k
    cursor.take((at + 7) // 8)
    return places
