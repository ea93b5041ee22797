"""Searches on a Ray cluster: many workers, the patch of one process. Needs the `[ray]` extra.

`Cluster` says where workers are and what each gets; `staffed` hires them for the time of a search. A search does not
know that it runs on a cluster: it has a crew (`bankai.search.crew`), and here is one whose replicas are in other
processes. Importing this needs no Ray.
"""

from bankai.cluster.hiring import ModelSource, staffed, threads_of
from bankai.cluster.settings import Cluster

__all__ = ["Cluster", "ModelSource", "staffed", "threads_of"]
