"""A patch as a value: a set of flips with XOR algebra, and what is known about it.

Contract: `Flip`, `Binding`, `Manifest` and `Patch` are immutable and checked when made. Patches form an
abelian group under `^`: the empty patch is the identity and every patch is its own inverse. Whether a
model has a place is decided in `bankai.patch.places`.
"""

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import lru_cache
from operator import attrgetter
from typing import Any, Literal, Self

import msgspec

from bankai.errors import WrongBaseError

__all__ = ["MAX_BIT", "MAX_GROUP", "MAX_ROW", "Binding", "Flip", "Kind", "Manifest", "Patch"]

Kind = Literal["row", "group", "bit"]
"""What a flip negates: a row, a group of one, or a single weight by its own sign bit."""

MAX_ROW = 2**31 - 1
"""The largest row number that a patch can name."""
MAX_GROUP = 2**20 - 1
"""The largest group number that a patch can name."""
MAX_BIT = 255
"""The largest number of a weight in its group that a patch can name."""

_NAME = re.compile(r"(?=.{1,200}\Z)[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*\Z", re.ASCII)
_MAX_DEPTH = 16


@lru_cache(maxsize=1024)  # a patch may have hundreds of thousands of flips in a few tensors
def _is_name(text: str) -> bool:
    return _NAME.match(text) is not None


@dataclass(frozen=True, slots=True)
class Flip:
    """One place whose weights are negated.

    `tensor` is a canonical name ("model.layers.3.mlp.up_proj"), `row` an output of it. `group` is None for the whole
    row, else the index of a group of its columns (`bankai.quantization` says how many columns that is). `bit` is None
    for the whole group, else the index of a single weight in it, which has a sign bit of its own. Raises ValueError
    for what no model can have.
    """

    tensor: str
    row: int
    group: int | None = None
    bit: int | None = None

    def __post_init__(self) -> None:
        if not _is_name(self.tensor):
            raise ValueError(f"{self.tensor!r:.80} is not a tensor name")
        if type(self.row) is not int or not 0 <= self.row <= MAX_ROW:
            raise ValueError(f"row {self.row!r:.40} is not an integer from 0 to {MAX_ROW}")
        if self.group is not None and (type(self.group) is not int or not 0 <= self.group <= MAX_GROUP):
            raise ValueError(f"group {self.group!r:.40} is not an integer from 0 to {MAX_GROUP}")
        if self.bit is not None and (type(self.bit) is not int or not 0 <= self.bit <= MAX_BIT):
            raise ValueError(f"bit {self.bit!r:.40} is not an integer from 0 to {MAX_BIT}")
        if self.bit is not None and self.group is None:
            raise ValueError("a bit is counted from the start of its group; name the group too")

    @property
    def kind(self) -> Kind:
        """Whether it negates a row, a group or a single weight."""
        return "row" if self.group is None else "group" if self.bit is None else "bit"

    def __lt__(self, other: "Flip") -> bool:
        """By tensor name and row, then the whole row before its groups, a whole group before its bits."""
        return self._key < other._key

    @property
    def _key(self) -> tuple[str, int, int, int]:
        group, bit = (-1 if index is None else index for index in (self.group, self.bit))
        return self.tensor, self.row, group, bit


@dataclass(frozen=True, slots=True)
class Binding:
    """What ties a patch to its base: three 8-byte digests, defined in `bankai.patch.binding`.

    `fingerprint` covers what no patch changes; `before` and `after` the touched blocks without and with it. `version`
    is that of the definition: 1 for models that are true 1-bit throughout, 2 for all others.
    """

    fingerprint: bytes
    before: bytes
    after: bytes
    version: Literal[1, 2] = 1

    def __post_init__(self) -> None:
        if self.version not in (1, 2):
            raise ValueError(f"a binding is of version 1 or 2, not {self.version!r:.40}")
        for digest in (self.fingerprint, self.before, self.after):
            if not isinstance(digest, bytes) or len(digest) != 8:
                raise ValueError("a binding holds three digests of 8 bytes")


class Manifest(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What a reader wants to know about a patch; nothing in it changes what the patch does.

    `probes` is the digest of the probe set; `versions`, `results` and `metadata` hold JSON values only. Raises
    ValueError for others, such as NaN and integers beyond 64 bits.
    """

    name: str = ""
    description: str = ""
    base_model: str = ""
    seed: int | None = None
    objective: str = ""
    strategy: str = ""
    probes: str = ""
    versions: dict[str, Any] = {}
    results: dict[str, Any] = {}
    metadata: dict[str, Any] = {}

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            _check_json(getattr(self, name), name, _MAX_DEPTH)


def _check_json(value: object, name: str, depth: int) -> None:
    """Raise ValueError unless `value` is JSON: finite, 64-bit, string keys, nested at most `depth` deep."""
    if depth < 0:
        raise ValueError(f"manifest field {name!r} is nested more than {_MAX_DEPTH} deep")
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise ValueError(f"manifest field {name!r} has a key that is not a string")
            _check_json(key, name, depth)
            _check_json(item, name, depth - 1)
    elif isinstance(value, list):
        for item in value:
            _check_json(item, name, depth - 1)
    elif not _is_json_scalar(value):
        raise ValueError(f"manifest field {name!r} holds {value!r:.40}, which JSON does not")


def _is_json_scalar(value: object) -> bool:
    match value:
        case float():
            return math.isfinite(value)
        case int():
            return -(2**63) <= value < 2**63
        case str():
            return _is_text(value)
        case _:
            return value is None


def _is_text(value: str) -> bool:
    """Whether it has a UTF-8 form: Python's strings, and JSON's escapes, can hold half a surrogate pair."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


@dataclass(frozen=True, slots=True)
class Patch:
    """A set of flips. Equality and hash are the flips'; binding and manifest say what is known of them.

    A row flip, the flips of that row's groups and those of their bits are independent: flipping a row and one
    of its groups leaves that group as it was, and flipping a bit of it as well changes that bit alone.
    """

    flips: frozenset[Flip] = frozenset()
    binding: Binding | None = field(default=None, compare=False)
    manifest: Manifest = field(default=Manifest(), compare=False)

    @classmethod
    def empty(cls) -> Self:
        """The identity of `^`."""
        return cls()

    @classmethod
    def of(cls, flips: Iterable[Flip], manifest: Manifest | None = None) -> Self:
        """An unbound patch. Raises ValueError for a flip given twice, because two flips of one place cancel."""
        listed = list(flips)
        unique = frozenset(listed)
        if len(unique) != len(listed):
            raise ValueError("a flip is listed twice; two flips of one place cancel, so list it at most once")
        return cls(unique, None, manifest or Manifest())

    def __xor__(self, other: "Patch") -> "Patch":
        """Both patches, one after the other, in any order: the symmetric difference of their flips.

        The result is unbound and has no manifest, because digests and results are of each side's own places;
        with an empty side it is the other side, whole. Raises WrongBaseError when the sides are bound to
        different models.
        """
        if not isinstance(other, Patch):
            return NotImplemented
        if not other.flips:
            return self
        if not self.flips:
            return other
        if self.binding and other.binding and self.binding.fingerprint != other.binding.fingerprint:
            raise WrongBaseError("the patches are bound to different models; compose patches of one model")
        return Patch(self.flips ^ other.flips)

    def __len__(self) -> int:
        return len(self.flips)

    def __repr__(self) -> str:
        """Its size, because a list of all flips fills the screen."""
        flips = f"{len(self)} flip{'' if len(self) == 1 else 's'}"
        return f"Patch({flips}, {'bound' if self.binding else 'unbound'})"

    @property
    def inverse(self) -> "Patch":
        """The patch that takes this one off: itself."""
        return self

    @property
    def rows(self) -> tuple[Flip, ...]:
        """The flips of whole rows, sorted."""
        return self._of_kind("row")

    @property
    def groups(self) -> tuple[Flip, ...]:
        """The flips of whole groups, sorted."""
        return self._of_kind("group")

    @property
    def bits(self) -> tuple[Flip, ...]:
        """The flips of single weights, sorted."""
        return self._of_kind("bit")

    def _of_kind(self, kind: Kind) -> tuple[Flip, ...]:
        # By keys that are made once for each flip, not once for each comparison.
        return tuple(sorted((flip for flip in self.flips if flip.kind == kind), key=attrgetter("_key")))

    def unbound(self) -> "Patch":
        """The same flips and manifest without a binding."""
        return replace(self, binding=None)
