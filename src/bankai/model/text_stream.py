"""Tokens to text while they come: whole characters only, and nothing of a stop string."""

from collections.abc import Iterator, Sequence

from transformers import PreTrainedTokenizerBase

from bankai.model.token_bytes import is_hidden

__all__ = ["BROKEN", "TextStream"]

BROKEN = "\ufffd"
"""What a piece of a character decodes to."""

_Letters = list[tuple[str, bool]]
"""Of a text: each letter, and whether it is shown."""


class TextStream:
    """Turns the tokens of one text into pieces that can be shown at once.

    Text that may be the beginning of a stop string waits until it is known not to be; `stopped` tells that one came.
    The text ends before it, however it was cut into tokens: before the one that was complete first. A stop string is
    looked for in the text that is shown, and in the text with its special tokens, so that it may name them. Without
    stop strings the pieces and what `flush` returns are what decoding all tokens at once gives. `special`: whether
    special tokens are shown.
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, stops: Sequence[str] = (), *, special: bool = False
    ) -> None:
        self._tokenizer, self._stops, self._special = tokenizer, tuple(stops), special
        self._open: list[int] = []  # shown tokens since the last one that ended a character
        self._taken = 0  # characters of theirs that are certain
        self._held: _Letters = []  # certain, but maybe the beginning of a stop string
        self.stopped = False

    def push(self, token: int) -> str:
        """The text that is certain now and was not before."""
        if self.stopped:
            return ""
        if not self._special and is_hidden(self._tokenizer, token):
            return self._tell(self._tokenizer.decode([token]), shown=False)
        self._open.append(token)
        text = self._decoded()
        certain = text.rstrip(BROKEN)
        fresh, self._taken = certain[self._taken :], len(certain)
        if certain == text:
            self._open, self._taken = [], 0
        return self._tell(fresh)

    def flush(self) -> str:
        """What still waits, when no more tokens come: also a piece of a character, which decodes to a sign for it."""
        piece = self._tell(self._decoded()[self._taken :]) + _shown(self._held)
        self._open, self._taken, self._held = [], 0, []
        return piece

    def _decoded(self) -> str:
        return str(self._tokenizer.decode(self._open)) if self._open else ""

    def _tell(self, fresh: str, *, shown: bool = True) -> str:
        letters = self._held + [(letter, shown) for letter in fresh]
        views = [range(len(letters)), [at for at, (_, seen) in enumerate(letters) if seen]]
        found = [place for view in views for place in self._found(letters, view)]
        if found:
            self.stopped, self._held, self._open = True, [], []
            return _shown(letters[: min(found)[1]])
        certain = min(self._certain(letters, view) for view in views)
        self._held = letters[certain:]
        return _shown(letters[:certain])

    def _found(self, letters: _Letters, view: Sequence[int]) -> Iterator[tuple[int, int]]:
        """Last and first place of the stop strings among the letters of a view."""
        text = "".join(letters[at][0] for at in view)
        for stop in self._stops:
            if (at := text.find(stop)) >= 0:
                yield view[at + len(stop) - 1], view[at]

    def _certain(self, letters: _Letters, view: Sequence[int]) -> int:
        """How many letters come before what may be the beginning of a stop string in a view."""
        text = "".join(letters[at][0] for at in view)
        most = max((len(stop) - 1 for stop in self._stops), default=0)
        for count in range(min(most, len(text)), 0, -1):
            if text.endswith(tuple(stop[:count] for stop in self._stops if len(stop) > count)):
                return view[-count]
        return len(letters)


def _shown(letters: _Letters) -> str:
    return "".join(letter for letter, seen in letters if seen)
