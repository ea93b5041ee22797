"""One change of bits in mapped files, prepared so that making it takes microseconds."""

import hashlib
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from bankai.errors import WrongBaseError
from bankai.journal import Edit

__all__ = ["Transition"]

Bytes = NDArray[np.uint8]


class Transition:
    """XOR of edits into writable maps, from the bytes that they hold now; `view` gives the bytes of an edit.

    Contract: `make` leaves the bytes all changed or all as they were, unless the process is killed inside it. The first
    time it calls `prove`, and undoes the change when that raises. `size` is how many bytes change.
    """

    def __init__(
        self,
        edits: Sequence[Edit],
        view: Callable[[Edit], Bytes],
        prove: Callable[[], None] = lambda: None,
    ) -> None:
        masks = [np.frombuffer(edit.mask, np.uint8) for edit in edits]
        self.size = sum(int(np.count_nonzero(mask)) for mask in masks)
        self._pairs = list(zip(map(view, edits), masks, strict=True))
        self._old = [view.copy() for view, _ in self._pairs]
        self._before = _digest(self._old)
        self._prove: Callable[[], None] | None = prove
        self._after = _digest([old ^ mask for old, mask in zip(self._old, masks, strict=True)])

    def make(self) -> None:
        """Check, change, check. Raises WrongBaseError when the bytes are not the expected ones before or after."""
        self._expect(self._before)
        try:
            self.xor()
            self._expect(self._after)
            if self._prove:
                self._prove()
                self._prove = None
        except BaseException:
            for (view, _), old in zip(self._pairs, self._old, strict=True):
                view[:] = old
            raise

    def made(self) -> bool:
        """Whether the bytes are the changed ones."""
        return _digest([view for view, _ in self._pairs]) == self._after

    def xor(self) -> None:
        """The change alone, unchecked. Made twice, it undoes itself."""
        for view, mask in self._pairs:
            np.bitwise_xor(view, mask, out=view)

    def _expect(self, digest: bytes) -> None:
        if _digest([view for view, _ in self._pairs]) != digest:
            raise WrongBaseError("the bits were changed by something else meanwhile; start from a fresh copy")


def _digest(parts: Sequence[Bytes]) -> bytes:
    hasher = hashlib.blake2b(digest_size=16)
    for part in parts:
        hasher.update(part.data)
    return hasher.digest()
