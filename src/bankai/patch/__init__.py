"""Patches: values with XOR algebra, their files, and what ties them to a model.

Contract: importing this package imports neither numpy nor any model code. What needs them, such as `bind`, `state` and
`check_places`, is loaded when first used.
"""

from typing import TYPE_CHECKING, Any

from bankai.patch.codec import decode, encode, entropy_bytes, payload_bytes
from bankai.patch.files import read_patch, write_patch
from bankai.patch.json_format import decode_json, encode_json
from bankai.patch.patch import Binding, Flip, Kind, Manifest, Patch

if TYPE_CHECKING:
    from bankai.patch.binding import State, bind, digest, fingerprint, state
    from bankai.patch.places import check_places

__all__ = [
    "Binding",
    "Flip",
    "Kind",
    "Manifest",
    "Patch",
    "State",
    "bind",
    "check_places",
    "decode",
    "decode_json",
    "digest",
    "encode",
    "encode_json",
    "entropy_bytes",
    "fingerprint",
    "payload_bytes",
    "read_patch",
    "state",
    "write_patch",
]


def __getattr__(name: str) -> Any:
    if name == "check_places":
        from bankai.patch.places import check_places

        return check_places
    if name in __all__:
        from bankai.patch import binding

        return getattr(binding, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
