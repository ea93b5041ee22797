"""Which slot of an engine's KV cache a text is computed in, and how much of it stands there already.

Contract: what was computed under one key is never found under another. A text is found only as far as computing it
again would give the same bits: engines compute a single token otherwise than several together, so it matters which
were.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count

__all__ = ["Found", "Slot", "Slots"]


@dataclass(eq=False)
class Slot:
    """`tokens`: those whose keys and values it holds. The first `exact` of them were computed as a prompt is."""

    number: int
    key: str = ""
    tokens: list[int] = field(default_factory=list)
    exact: int = 0
    busy: bool = False
    used: int = 0  # when, by a counter

    def read(self, tokens: Sequence[int]) -> None:
        """So many tokens of a prompt were computed together."""
        if self.exact == len(self.tokens) and len(tokens) > 1:
            self.exact += len(tokens)
        self.tokens += tokens


@dataclass(frozen=True, slots=True)
class Found:
    """A `slot` for a text; its first `kept` tokens are in `source`, which is the slot itself or another one."""

    slot: Slot
    source: Slot
    kept: int


class Slots:
    """`piece`: about how many tokens of a prompt are computed together here; `chunk`, a multiple of it, how many are
    when the engine has the prompt alone. Both end where a multiple of them does. `worth`: how many tokens must be
    found in another slot to copy them from there. A `recurrent` model has a state of a whole text, not of its
    beginnings, so nothing is found again.
    """

    def __init__(
        self, number: int, piece: int, chunk: int, worth: int = 1, *, recurrent: bool = False
    ) -> None:
        self.all = [Slot(index) for index in range(number)]
        self._recurrent = recurrent
        self._piece, self._chunk, self._worth, self._clock = piece, chunk, worth, count(1)

    def take(self, key: str, ids: Sequence[int], *, again: bool = True) -> Found:
        """A slot that is not busy, and is now: the one longest unused, unless another holds the beginning.

        What the slot held after that is forgotten; the caller brings the KV cache in line. `again`: whether what was
        computed before may be found again.
        """
        kept = {slot: self._kept(slot, key, ids) if again else 0 for slot in self.all}
        free = sorted((slot for slot in self.all if not slot.busy), key=lambda slot: slot.used)
        source = max(self.all, key=lambda slot: (kept[slot], not slot.busy))
        if not source.busy and 2 * kept[source] >= len(source.tokens):  # little is lost
            slot = source
        elif kept[source] < self._worth:
            slot = source = free[0]
        else:
            slot = next((one for one in free if one is not source), source)
        tokens = source.tokens[: kept[source]]
        source.used = slot.used = next(self._clock)
        slot.key, slot.tokens, slot.exact, slot.busy = key, tokens, len(tokens), True
        return Found(slot, source, len(tokens))

    def release(self, slot: Slot) -> None:
        """What it holds may be found again."""
        slot.busy, slot.used = False, next(self._clock)

    def end(self, start: int, length: int) -> int:
        """Where the piece ends that starts there, in a prompt of that length."""
        end = min((start // self._piece + 1) * self._piece, length)
        left_alone = length - end == 1 and end % self._chunk
        return length if left_alone else end

    def _kept(self, slot: Slot, key: str, ids: Sequence[int]) -> int:
        """How many tokens need not be computed again. Of the last one the logits are wanted."""
        if slot.key != key or self._recurrent:
            return 0
        pairs = zip(slot.tokens[: slot.exact], ids[:-1], strict=False)
        same = next(
            (at for at, (one, other) in enumerate(pairs) if one != other), min(slot.exact, len(ids) - 1)
        )
        alone = self.end(same, len(ids)) - same == 1 and same % self._chunk
        return same - 1 if alone else same
