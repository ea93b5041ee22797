"""The order in which a file keeps the rows and groups of a tensor.

Patches name canonical rows and groups, those of Hugging Face's modules; so a patch fits a file of any order.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Order", "Permutation"]

Permutation = NDArray[np.intp]
"""Each number below n once, ``[n]``: at the canonical place, the place in the file."""


@dataclass(frozen=True, slots=True, eq=False)
class Order:
    """A file keeps row ``r`` at ``rows[r]`` and group ``g`` of a row at ``groups[g]``; None: in canonical order."""

    rows: Permutation | None = None
    groups: Permutation | None = None

    def __bool__(self) -> bool:
        return self.rows is not None or self.groups is not None

    def row(self, row: int) -> int:
        """Where the file keeps a canonical row."""
        return row if self.rows is None else int(self.rows[row])

    def stored(self, array: NDArray[Any]) -> NDArray[Any]:
        """A canonical array [rows, groups, ...] as the file has it."""
        return self.stored_groups(self.stored_rows(array))

    def stored_rows(self, array: NDArray[Any]) -> NDArray[Any]:
        """An array [rows, ...] with its rows as the file has them."""
        return array if self.rows is None else array[np.argsort(self.rows)]

    def stored_groups(self, array: NDArray[Any]) -> NDArray[Any]:
        """An array [n, groups, ...], of any rows, with its groups as the file has them."""
        return array if self.groups is None else array[:, np.argsort(self.groups)]

    def canonical(self, array: NDArray[Any], rows: Permutation | Sequence[int] | None = None) -> NDArray[Any]:
        """An array ``[rows, groups, ...]`` of the file in canonical order; with ``rows``, only those, as named here."""
        if rows is not None:
            rows = np.asarray(rows, np.intp)
            array = array[rows if self.rows is None else self.rows[rows]]
        elif self.rows is not None:
            array = array[self.rows]
        return array if self.groups is None else array[:, self.groups]
