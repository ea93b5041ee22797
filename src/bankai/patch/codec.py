"""The `.bankai` patch file as bytes; `docs/format.md` is its specification.

Contract: `decode(encode(patch))` gives the same flips, binding and manifest; equal patches have equal bytes, except
that deflate implementations may compress a manifest differently. Any byte string either decodes or raises
PatchFormatError, and decoding it takes at most 256 MiB of memory, without a compressed manifest also at most 4,096
bytes per byte.
"""

import math
import zlib
from collections.abc import Sequence
from dataclasses import replace

import msgspec

from bankai.errors import PatchFormatError
from bankai.patch import rice
from bankai.patch.patch import Binding, Flip, Kind, Manifest, Patch
from bankai.patch.rice import Cursor, varint
from bankai.patch.universe import Universe

__all__ = ["MAGIC", "MAX_FILE", "MAX_MANIFEST", "decode", "encode", "entropy_bytes", "payload_bytes"]

MAGIC = b"\xb1XOR"
MAX_FILE = 16 << 20
"""The largest patch file in bytes, of either format."""
MAX_MANIFEST = 1 << 20
"""The largest manifest in bytes, unpacked."""

_BOUND, _ROWS, _GROUPS, _MANIFEST, _DEFLATED, _BITS = (1 << bit for bit in range(6))
_SECTIONS: dict[Kind, int] = {"row": _ROWS, "group": _GROUPS, "bit": _BITS}  # in the order of the file
_WEIGHTS = {1: 128, 2: 256}
"""By version of the file: places that the table of single weights has in a group."""
_KNOWN = _BOUND | _MANIFEST | _DEFLATED | sum(_SECTIONS.values())


def encode(patch: Patch, manifest: bool = True) -> bytes:
    """The file of a patch, optionally without its manifest.

    Raises PatchFormatError when the patch exceeds the format's bounds.
    """
    version = _version(patch)
    body, flags = _encode_body(patch, _WEIGHTS[version])
    if manifest:
        packed, more = _encode_manifest(patch.manifest)
        body, flags = body + packed, flags | more
    data = MAGIC + bytes([version, flags]) + body
    data += zlib.crc32(data).to_bytes(4, "little")
    if len(data) > MAX_FILE:
        raise PatchFormatError(f"the patch needs {len(data)} bytes, more than {MAX_FILE}; split it")
    return data


def decode(data: bytes, *, flips: int | None = None, manifest: int | None = None) -> Patch:
    """The patch of a `.bankai` file. Raises PatchFormatError for anything that `encode` does not write.

    A caller that reads many may ask for less than the format allows: at most so many `flips`, so many bytes of
    unpacked `manifest`.
    """
    if data[:4] != MAGIC:
        raise PatchFormatError(
            "not a .bankai patch: it does not begin with the mark of one; give a patch file"
        )
    if len(data) > MAX_FILE:
        raise PatchFormatError(f"the patch file is larger than {MAX_FILE} bytes; give a patch file")
    if len(data) > 4 and data[4] not in _WEIGHTS:
        raise PatchFormatError(f"the patch file has version {data[4]}, not 1 or 2; update bankai")
    if len(data) < 10 or zlib.crc32(data[:-4]).to_bytes(4, "little") != data[-4:]:
        raise PatchFormatError("the patch file is damaged (its checksum does not match); fetch it again")
    cursor = Cursor(data[:-4])
    cursor.take(4)
    version, flags = cursor.byte(), cursor.byte()
    if flags & ~_KNOWN or flags & _DEFLATED and not flags & _MANIFEST:
        raise PatchFormatError(f"the patch file has unknown flags {flags:#x}; update bankai")
    patch = _decode_body(cursor, version, flags, rice.MAX_COUNT if flips is None else flips)
    if flags & _MANIFEST:
        most = MAX_MANIFEST if manifest is None else min(manifest, MAX_MANIFEST)
        patch = replace(patch, manifest=_decode_manifest(cursor, bool(flags & _DEFLATED), most))
    if cursor.left:
        raise PatchFormatError(f"the patch file has {cursor.left} bytes after its end; fetch it again")
    return patch


def payload_bytes(patch: Patch) -> int:
    """The bytes that say which places are flipped: counts and Rice codes, without the tables."""
    weights = _WEIGHTS[_version(patch)]
    return sum(len(_encode_places(Universe.of(flips, weights), flips)) for flips in _sections(patch))


def entropy_bytes(patch: Patch) -> float:
    """The fewest bytes that can tell the flips from any other as many: log2 C(N, n) / 8.

    N is the number of places in the patch's own table (its layers x its families' largest rows), n its flips.
    """
    bits, weights = 0.0, _WEIGHTS[_version(patch)]
    for flips in _sections(patch):
        size, count = Universe.of(flips, weights).size, len(flips)
        count = min(count, size - count)
        bits += math.fsum(math.log2((size - index) / (index + 1)) for index in range(count))
    return bits / 8


def _version(patch: Patch) -> int:
    """The version of the file: 1 whenever that can hold the patch, so that older readers take it.

    Raises PatchFormatError for a patch that is bound to a true 1-bit model and flips a weight that none has.
    """
    beyond = any(flip.bit is not None and flip.bit >= _WEIGHTS[1] for flip in patch.flips)
    if beyond and patch.binding is not None and patch.binding.version == 1:
        raise PatchFormatError(
            f"the patch is bound to a true 1-bit model, whose groups have {_WEIGHTS[1]} weights, and flips a weight "
            "beyond; bind it to its own base"
        )
    return 2 if beyond or patch.binding is not None and patch.binding.version == 2 else 1


def _sections(patch: Patch) -> list[Sequence[Flip]]:
    """The flips of each kind that the patch has, in the order of the file."""
    return [flips for flips in (patch.rows, patch.groups, patch.bits) if flips]


def _encode_places(universe: Universe, flips: Sequence[Flip]) -> bytes:
    return rice.encode(universe.places(flips), universe.size)


def _encode_body(patch: Patch, weights: int) -> tuple[bytes, int]:
    body, flags = b"", 0
    if patch.binding is not None:
        body = patch.binding.fingerprint + patch.binding.before + patch.binding.after
        flags = _BOUND
    if len(patch) > rice.MAX_COUNT:
        raise PatchFormatError(f"the patch has {len(patch)} flips, more than {rice.MAX_COUNT}; split it")
    for flips in _sections(patch):
        universe = Universe.of(flips, weights)
        body += universe.encode() + _encode_places(universe, flips)
        flags |= _SECTIONS[universe.kind]
    return body, flags


def _decode_body(cursor: Cursor, version: int, flags: int, most: int) -> Patch:
    binding = None
    if flags & _BOUND:
        binding = Binding(cursor.take(8), cursor.take(8), cursor.take(8), 1 if version == 1 else 2)
    flips: list[Flip] = []
    for kind, flag in _SECTIONS.items():
        if flags & flag:
            flips += _decode_section(cursor, kind, _WEIGHTS[version], len(flips), most)
    patch = Patch(frozenset(flips), binding)
    if _version(patch) != version:
        raise PatchFormatError(
            "the patch file is not in canonical form: version 1 can hold it; ask its writer"
        )
    return patch


def _decode_section(cursor: Cursor, kind: Kind, weights: int, before: int, most: int) -> list[Flip]:
    """The flips of one section, in time and memory proportional to their number.

    `before` is how many flips other sections had; with them there may be at most `most`.
    """
    start = cursor.at
    universe = Universe.decode(cursor, kind, weights)
    table = cursor.data[start : cursor.at]
    start = cursor.at
    places = rice.decode(cursor, universe.size)
    if before + len(places) > most:
        raise PatchFormatError(f"the patch file has more than {most} flips; split the patch")
    try:
        flips = universe.flips(places)
    except ValueError as error:
        raise PatchFormatError(f"the patch file names an impossible place: {error}; ask its writer") from None
    # Two comparisons hold every rule of canonical form. The table that these flips would be given: order, smallest
    # size, nothing unused or named twice. The places written again: shortest count, zero padding.
    written = rice.encode(places, universe.size)
    if Universe.of(flips, weights).encode() != table or written != cursor.data[start : cursor.at]:
        raise PatchFormatError("the patch file is not in canonical form; ask its writer")
    return flips


def _encode_manifest(manifest: Manifest) -> tuple[bytes, int]:
    """Varint size and MessagePack map with sorted keys, in zlib when that is smaller; nothing if blank."""
    if manifest == Manifest():
        return b"", 0
    try:
        plain = msgspec.msgpack.encode(manifest, order="sorted")
    except (TypeError, ValueError, OverflowError) as error:
        raise PatchFormatError(f"the manifest cannot be written: {error}; correct it") from None
    if len(plain) > MAX_MANIFEST:
        raise PatchFormatError(f"the manifest needs {len(plain)} bytes, more than {MAX_MANIFEST}; shorten it")
    packed = zlib.compress(plain, 9)
    if len(packed) < len(plain):
        return varint(len(packed)) + packed, _MANIFEST | _DEFLATED
    return varint(len(plain)) + plain, _MANIFEST


def _decode_manifest(cursor: Cursor, deflated: bool, most: int) -> Manifest:
    data = cursor.take(cursor.varint())
    if deflated:
        data = _inflate(data, most)
    if len(data) > most:
        raise PatchFormatError(f"the manifest is larger than {most} bytes; shorten it")
    try:
        manifest = msgspec.msgpack.decode(data, type=Manifest)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise PatchFormatError(f"the manifest is malformed: {error}; ask its writer") from None
    if manifest == Manifest() or msgspec.msgpack.encode(manifest, order="sorted") != data:
        raise PatchFormatError("the manifest is not in canonical form; ask its writer")
    return manifest


def _inflate(data: bytes, most: int) -> bytes:
    """Undo zlib; stop one byte past the bound of `most` bytes."""
    inflater = zlib.decompressobj()
    try:
        plain = inflater.decompress(data, most + 1)
    except zlib.error as error:
        raise PatchFormatError(f"the manifest cannot be unpacked: {error}; ask its writer") from None
    if len(plain) <= most and (not inflater.eof or inflater.unused_data):
        raise PatchFormatError("the manifest's compressed data has a wrong end; ask its writer")
    return plain
