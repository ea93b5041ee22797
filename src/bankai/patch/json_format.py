"""The earlier public patch format `bankai_row_xor_v1`, in and out.

Contract: an imported patch is unbound, because the format has nowhere to say which bits it expects. Export
keeps what the format can hold: row and group flips on the seven projections of a layer, name, description,
base model, stats, metadata; the manifest's other fields travel in `metadata["bankai"]` and are taken back
from there. Single bits are refused both ways: a reader that skips the key would flip the whole group. A
flip listed twice is refused: under XOR the two cancel, and a file that says so by accident is more likely
than one that means it.
"""

from typing import Annotated, Any, Literal

import msgspec

from bankai.errors import PatchFormatError
from bankai.io import decode_text
from bankai.patch import rice
from bankai.patch.codec import MAX_MANIFEST
from bankai.patch.patch import MAX_GROUP, MAX_ROW, Flip, Manifest, Patch
from bankai.tensor_names import layer_tensor, parse_tensor_name

__all__ = ["decode_json", "encode_json"]

_PARENTS = {
    **dict.fromkeys(("q_proj", "k_proj", "v_proj", "o_proj"), "self_attn"),
    **dict.fromkeys(("gate_proj", "up_proj", "down_proj"), "mlp"),
}
_FORMAT = "bankai_row_xor_v1"
_EXTRA = ("seed", "objective", "strategy", "probes", "versions")

_Projection = Literal["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


class _Flip(msgspec.Struct, omit_defaults=True):
    layer: Annotated[int, msgspec.Meta(ge=0, le=9999)]
    proj: _Projection
    row: Annotated[int, msgspec.Meta(ge=0, le=MAX_ROW)]
    group: Annotated[int, msgspec.Meta(ge=0, le=MAX_GROUP)] | None = None
    bit: None = None  # the format has none

    @property
    def order(self) -> tuple[int, str, int, int]:
        return self.layer, self.proj, self.row, -1 if self.group is None else self.group


_NOTHING = msgspec.Raw(b"null")


class _File(msgspec.Struct, kw_only=True):
    version: Literal[1] = 1
    format: Literal["bankai_row_xor_v1"]
    name: str | None = None
    description: str | None = None
    base_model: str | None = None
    flips: list[_Flip]
    stats: msgspec.Raw = _NOTHING  # measured before it is decoded
    metadata: msgspec.Raw = _NOTHING


class _Extra(msgspec.Struct, omit_defaults=True, forbid_unknown_fields=True):
    seed: int | None = None
    objective: str = ""
    strategy: str = ""
    probes: str = ""
    versions: dict[str, Any] = {}


def decode_json(data: bytes) -> Patch:
    """The unbound patch of a JSON file. Raises PatchFormatError, which names the key that is wrong.

    Takes at most 64 bytes of memory per byte of the file.
    """
    try:
        file = msgspec.json.decode(decode_text(data), type=_File)
        if len(file.flips) > rice.MAX_COUNT:
            raise ValueError(f"it has more than {rice.MAX_COUNT} flips; split the patch")
        flips = [
            Flip(layer_tensor(flip.layer, f"{_PARENTS[flip.proj]}.{flip.proj}"), flip.row, flip.group)
            for flip in file.flips
        ]
        return Patch.of(flips, _manifest(file))
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise PatchFormatError(f"not a {_FORMAT} patch: {error!s:.200}") from None  # it may quote the file


def _manifest(file: _File) -> Manifest:
    metadata = _object(file.metadata, "metadata")
    extra = _Extra()
    if "bankai" in metadata:
        try:
            extra = msgspec.convert(metadata["bankai"], _Extra)
            del metadata["bankai"]
        except msgspec.ValidationError:
            pass  # someone else's key of that name: it stays metadata
    return Manifest(
        name=file.name or "",
        description=file.description or "",
        base_model=file.base_model or "",
        results=_object(file.stats, "stats"),
        metadata=metadata,
        **{name: getattr(extra, name) for name in _EXTRA},
    )


def _object(raw: msgspec.Raw, name: str) -> dict[str, Any]:
    """The object under a key, empty for null. Raises ValueError when it holds more values than a manifest may.

    Counted before it is decoded: in MessagePack every comma, colon and bracket stands for at least one byte.
    """
    text = bytes(raw)
    for marks in (b",:", b"[{"):
        if sum(text.count(mark) for mark in marks) > MAX_MANIFEST:
            raise ValueError(f"`{name}` holds more than a manifest of {MAX_MANIFEST} bytes can")
    try:
        return msgspec.json.decode(text, type=dict[str, Any] | None) or {}
    except msgspec.ValidationError as error:
        raise ValueError(f"{error} - in `{name}`") from None


def encode_json(patch: Patch) -> bytes:
    """The JSON file of a patch, without its binding. Raises PatchFormatError for flips that it cannot name."""
    manifest = patch.manifest
    extra = _Extra(**{name: getattr(manifest, name) for name in _EXTRA})
    metadata = dict(manifest.metadata)
    if extra != _Extra():
        metadata["bankai"] = msgspec.to_builtins(extra)
    file = _File(
        format="bankai_row_xor_v1",
        name=manifest.name,
        description=manifest.description,
        base_model=manifest.base_model,
        flips=sorted((_json_flip(flip) for flip in patch.flips), key=lambda flip: flip.order),
        stats=msgspec.Raw(msgspec.json.encode(manifest.results)),
        metadata=msgspec.Raw(msgspec.json.encode(metadata)),
    )
    return msgspec.json.format(msgspec.json.encode(file), indent=1) + b"\n"


def _json_flip(flip: Flip) -> _Flip:
    if flip.bit is not None:
        raise PatchFormatError(f"{_FORMAT} has no flips of single bits; write a .bankai file instead")
    name = parse_tensor_name(flip.tensor)
    if name.layer is not None and name.path == f"{_PARENTS.get(name.projection)}.{name.projection}":
        return _Flip(name.layer, name.projection, flip.row, flip.group)  # type: ignore[arg-type]
    raise PatchFormatError(f"{_FORMAT} cannot name {flip.tensor}; write a .bankai file instead")
