"""Where in a model's files the flips of a patch lie, as bytes to XOR. Only reads."""

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from bankai.checkpoint.model_file import Checkpoint, SignBytes
from bankai.journal import Edit
from bankai.patch import Flip
from bankai.patch.binding import check_places, touched
from bankai.quantization.binary import GROUP_BYTES

__all__ = ["edits"]


def edits(model: Checkpoint, flips: Iterable[Flip]) -> list[Edit]:
    """One edit for each run of groups that change in a row; scales between them have a mask of 0. Raises PlaceError."""
    flips = frozenset(flips)
    check_places(model, flips)
    found: list[Edit] = []
    for name, places in touched(flips).items():
        where = model.sign_bytes(name)
        rows, masks = places.masks(where.row // where.group)
        for row, signs in zip(rows, where.order.stored_groups(masks), strict=True):
            found += _row_edits(where, where.order.row(int(row)), signs)
    return found


def _row_edits(where: SignBytes, row: int, signs: NDArray[np.uint8]) -> Iterator[Edit]:
    """Of a row of the file, its groups in the file's order."""
    gap = where.group - GROUP_BYTES  # bytes of other things after the signs of a group
    padded = np.pad(signs, ((0, 0), (0, gap)))
    changing = np.flatnonzero(signs.any(1))
    for run in np.split(changing, np.flatnonzero(np.diff(changing) > 1) + 1):
        if len(run):
            mask = padded[run[0] : run[-1] + 1].tobytes()
            yield Edit(
                where.file,
                where.offset + row * where.row + int(run[0]) * where.group,
                mask[: len(mask) - gap],
            )
