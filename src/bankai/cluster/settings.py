"""Which cluster computes, and what each of its workers gets. Plain values."""

import re
from typing import Annotated

import msgspec

from bankai.errors import ClusterError

__all__ = ["Cluster"]

_LOCAL = re.compile(r"local(?::([1-9]\d{0,3}))?")
_ADDRESS = re.compile(r"(?!(?:local|auto):)(?P<host>\[[0-9a-fA-F:]+\]|[A-Za-z0-9_.-]+):(?P<port>\d{1,5})")


class Cluster(msgspec.Struct, frozen=True, kw_only=True):
    """`where`: "local" or "local:4" for workers on this machine, "auto" for the cluster it belongs to, or HOST:PORT.

    `threads` of a worker are CPUs that Ray gives it; the result depends on them in its last digits, not on how many
    workers there are. `gpus_per_worker` may be a fraction. Both have defaults: see `bankai.cluster.staff`. Raises
    ClusterError.
    """

    where: str
    threads: Annotated[int, msgspec.Meta(ge=1, le=1024)] | None = None
    gpus_per_worker: Annotated[float, msgspec.Meta(gt=0, le=1)] | None = None

    def __post_init__(self) -> None:
        if not (_LOCAL.fullmatch(self.where) or self.where == "auto" or _ADDRESS.fullmatch(self.where)):
            raise ClusterError(
                f"{self.where!r} is no cluster; give local, local:N for N workers here, auto or HOST:PORT"
            )

    @property
    def is_local(self) -> bool:
        """Whether the workers are to be started here, for this search alone."""
        return _LOCAL.fullmatch(self.where) is not None

    @property
    def workers(self) -> int | None:
        """How many were asked for; None for as many as there is room for."""
        local = _LOCAL.fullmatch(self.where)
        return int(local[1]) if local and local[1] else None

    @property
    def address(self) -> tuple[str, int] | None:
        """Host and port, where they were given."""
        found = _ADDRESS.fullmatch(self.where)
        return (found["host"].strip("[]"), int(found["port"])) if found else None
