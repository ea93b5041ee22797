"""Model files changed safely: apply, revert, status, and the sidecar that lists what is applied.

Contract: nothing is changed unless every check passed; a model file is never seen half-written. The digests
of the bits decide; the sidecar only says which patches to look for. Never imports torch.
"""

from bankai.patching.change import apply_patch, revert_patch
from bankai.patching.ledger import Status, bind_patch, status
from bankai.patching.live import LiveModel, apply_in_place, recover, revert_in_place
from bankai.patching.sidecar import Applied, sidecar_path

__all__ = [
    "Applied",
    "LiveModel",
    "Status",
    "apply_in_place",
    "apply_patch",
    "bind_patch",
    "recover",
    "revert_in_place",
    "revert_patch",
    "sidecar_path",
    "status",
]
