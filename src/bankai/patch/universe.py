"""The table of places that a patch chooses from, and its bytes.

Contract: a `Universe` is derived from the flips alone, so equal flips give equal bytes; it numbers its
places from 0 to `size - 1` in the order layer, family, row, group, bit. It holds flips of one kind. It knows
tensor names only as text: a family is a name with its layer number cut out ("model.layers.{}.mlp.up_proj").
"""

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import accumulate

from bankai.errors import PatchFormatError
from bankai.patch.patch import Flip, Kind
from bankai.patch.rice import Cursor, varint
from bankai.tensor_names import MOST_LAYERS, TensorName, parse_tensor_name

__all__ = ["FAMILIES", "Universe"]

FAMILIES = (
    "model.layers.{}.self_attn.q_proj",
    "model.layers.{}.self_attn.k_proj",
    "model.layers.{}.self_attn.v_proj",
    "model.layers.{}.self_attn.o_proj",
    "model.layers.{}.mlp.gate_proj",
    "model.layers.{}.mlp.up_proj",
    "model.layers.{}.mlp.down_proj",
    "model.embed_tokens",
    "lm_head",
)
"""The families with a code of one byte, their index here. Part of the format: append, never reorder."""

_OTHER = 255
_CODES = {template: code for code, template in enumerate(FAMILIES)}
_MAX_LAYER_BYTES = MOST_LAYERS // 8
_MAX_PLACES = 2**63
_MAX_FAMILIES = 4096  # bounds what a hostile table costs; models have a few dozen at most
_MAX_TENSORS = 32_768  # bounds the time that names take; models have a few hundred, with experts 20,000


@dataclass(frozen=True, slots=True)
class _Family:
    template: str
    rows: int
    groups: int  # 1 in a universe of whole rows

    @property
    def layered(self) -> bool:
        return "{}" in self.template

    @property
    def order(self) -> tuple[bool, int, str]:
        return not self.layered, _CODES.get(self.template, _OTHER), self.template


class Universe:
    """A numbering of the places of all layers x the families with layers, then of the families without; of one `kind`.

    `weights` is how many places a group has where single weights are the places.
    """

    def __init__(self, layers: list[int], families: list[_Family], kind: Kind, weights: int) -> None:
        self.layers = layers
        self.families = families
        self.kind = kind
        self._bits = weights if kind == "bit" else 1  # places in a group
        sizes = [family.rows * family.groups * self._bits for family in families]
        inner = sum(family.layered for family in families)
        self._inner = [0, *accumulate(sizes[:inner])]
        self._outer = [0, *accumulate(sizes[inner:])]
        self._split = self._inner[-1] * len(layers)
        self.size = self._split + self._outer[-1]

    @classmethod
    def of(cls, flips: Iterable[Flip], weights: int) -> "Universe":
        """The smallest universe of these flips, all of one kind: their layers, and per family the largest row
        and group.
        """
        layers: set[int] = set()
        rows: dict[str, int] = {}
        groups: dict[str, int] = {}
        kind: Kind = "row"
        templates: dict[str, str] = {}
        for flip in flips:
            template = templates.get(flip.tensor)
            if template is None:
                if len(templates) == _MAX_TENSORS:
                    raise PatchFormatError(f"the patch names more than {_MAX_TENSORS} tensors; split it")
                name = parse_tensor_name(flip.tensor)
                template = templates[flip.tensor] = name.family
                if name.layer is not None:
                    layers.add(name.layer)
            kind = flip.kind
            rows[template] = max(rows.get(template, 0), flip.row + 1)
            groups[template] = max(groups.get(template, 1), (flip.group or 0) + 1)
        families = [_Family(template, count, groups[template]) for template, count in rows.items()]
        universe = cls(sorted(layers), sorted(families, key=lambda family: family.order), kind, weights)
        if universe.size >= _MAX_PLACES:
            raise PatchFormatError("the patch spans more than 2^63 places; split it")
        return universe

    def places(self, flips: Iterable[Flip]) -> list[int]:
        """The sorted numbers of flips, all of which lie in this universe."""
        inner = len(self._inner) - 1
        layer_index = {layer: index for index, layer in enumerate(self.layers)}
        base = {}
        for index, family in enumerate(self.families):
            start = self._inner[index] if index < inner else self._split + self._outer[index - inner]
            base[family.template] = start, family.groups
        places = []
        for flip in flips:
            name = parse_tensor_name(flip.tensor)
            start, groups = base[name.family]
            if name.layer is not None:
                start += self._inner[-1] * layer_index[name.layer]
            group = flip.row * groups + (flip.group or 0)
            places.append(start + group * self._bits + (flip.bit or 0))
        return sorted(places)

    def flips(self, places: Iterable[int]) -> list[Flip]:
        """The flips of these rising numbers, all below `size`; ValueError when a template makes no tensor name."""
        flips: list[Flip] = []
        start, end, groups, name, tensors = 0, 0, 1, "", 0
        for place in places:
            if place >= end:  # looked up once per tensor: a patch may hold hundreds of thousands of flips
                start, end, groups, name = self._tensor_at(place)
                tensors += 1
                if tensors > _MAX_TENSORS:
                    raise PatchFormatError(
                        f"the patch file names more than {_MAX_TENSORS} tensors; split the patch"
                    )
            rest, bit = divmod(place - start, self._bits)
            row, group = divmod(rest, groups)
            if self.kind == "row":
                flips.append(Flip(name, row))
            else:
                flips.append(Flip(name, row, group, bit if self.kind == "bit" else None))
        return flips

    def _tensor_at(self, place: int) -> tuple[int, int, int, str]:
        """The tensor that a place is in: its first place, the one after its last, groups in a row, name."""
        inner = len(self._inner) - 1
        if place < self._split:
            layer, rest = divmod(place, self._inner[-1])
            index = bisect_right(self._inner, rest) - 1
            first, last = self._inner[index : index + 2]
            name = str(TensorName(self.families[index].template, self.layers[layer]))
        else:
            rest = place - self._split
            at = bisect_right(self._outer, rest) - 1
            first, last = self._outer[at : at + 2]
            index, name = inner + at, self.families[inner + at].template
        start = place - rest + first
        return start, start + last - first, self.families[index].groups, name

    def encode(self) -> bytes:
        """Layer bitmap and families (`docs/format.md`, "Sections")."""
        bitmap = sum(1 << layer for layer in self.layers)
        size = (bitmap.bit_length() + 7) // 8
        if len(self.families) > _MAX_FAMILIES:
            raise PatchFormatError(
                f"a patch file holds at most {_MAX_FAMILIES} tensor families; split the patch"
            )
        out = [varint(size), bitmap.to_bytes(size, "little"), varint(len(self.families))]
        for family in self.families:
            code = _CODES.get(family.template, _OTHER)
            out.append(bytes([code]))
            if code == _OTHER:
                out += varint(len(family.template)), family.template.encode()
            out.append(varint(family.rows))
            if self.kind != "row":
                out.append(varint(family.groups))
        return b"".join(out)

    @classmethod
    def decode(cls, cursor: Cursor, kind: Kind, weights: int) -> "Universe":
        """Read what `encode` wrote. What is read is bounded, but may be in another form: the codec compares the bytes.

        Raises PatchFormatError.
        """
        size = cursor.varint()
        if size > _MAX_LAYER_BYTES:
            raise PatchFormatError("the patch file names layers beyond 9999; ask its writer")
        bitmap = int.from_bytes(cursor.take(size), "little")
        layers = [layer for layer in range(8 * size) if bitmap >> layer & 1]
        count = cursor.varint()
        if count > min(cursor.left // 2, _MAX_FAMILIES):
            raise PatchFormatError(
                f"the patch file cannot hold the {count} tensor families it announces; ask its writer"
            )
        families = [_decode_family(cursor, kind) for _ in range(count)]
        universe = cls(layers, sorted(families, key=lambda family: not family.layered), kind, weights)
        if universe.size >= _MAX_PLACES:
            raise PatchFormatError("the patch file spans more than 2^63 places; split the patch")
        return universe


def _decode_family(cursor: Cursor, kind: Kind) -> _Family:
    code = cursor.byte()
    if code < len(FAMILIES):
        template = FAMILIES[code]
    elif code == _OTHER:
        try:
            template = cursor.take(cursor.varint()).decode("ascii")
        except UnicodeDecodeError:
            raise PatchFormatError(
                "the patch file holds a tensor name that is not ASCII; ask its writer"
            ) from None
    else:
        raise PatchFormatError(f"the patch file has unknown tensor family {code}; update bankai")
    rows = cursor.varint()
    groups = 1 if kind == "row" else cursor.varint()
    return _Family(template, rows, groups)
