"""Flips of an open model file as edits: which bytes of which file are XORed with what."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from bankai.checkpoint.model_file import Checkpoint, Span
from bankai.journal import Edit
from bankai.patch import Flip
from bankai.patch.places import places_by_tensor
from bankai.quantization import Blocks

__all__ = ["edits", "moved"]


def edits(model: Checkpoint, flips: Iterable[Flip]) -> list[Edit]:
    """One edit for each run of groups that change in a row.

    It covers whole groups, so that whoever compares the bytes of an edit sees all that the digest of a patch covers.
    The places must be those of the model: a patch whose state on it is known has been checked.
    """
    found: list[Edit] = []
    for name, places in places_by_tensor(flips).items():
        where = model.location(name)
        rows, masks = places.masks(model.matrices[name])
        for row, mask in zip(rows, where.order.stored_groups(masks), strict=True):
            for span in where.spans:
                found += _row_edits(span, where.order.row(int(row)), mask[:, span.start : span.stop])
    return found


def _row_edits(span: Span, row: int, masks: Blocks) -> Iterator[Edit]:
    """Edits of a row of the file, from masks ``[groups, bytes of the span]`` in the file's order.

    Bytes of a group outside the span have a mask of 0.
    """
    gap = span.group - (span.stop - span.start)
    padded = np.pad(masks, ((0, 0), (0, gap)))
    changing = np.flatnonzero(masks.any(1))
    for run in np.split(changing, np.flatnonzero(np.diff(changing) > 1) + 1):
        if len(run):
            mask = padded[run[0] : run[-1] + 1].tobytes()
            offset = span.offset + row * span.row + int(run[0]) * span.group
            yield Edit(span.file, offset, mask[: len(mask) - gap])


def moved(edits: Iterable[Edit], source: Path, copy: Path) -> list[Edit]:
    """The edits of the model `source` in its `copy`; both are files, or both directories."""
    return [
        Edit(copy if edit.file == source else copy / edit.file.relative_to(source), edit.offset, edit.mask)
        for edit in edits
    ]
