"""Tokens to text while they come: whole characters only, and nothing of a stop string."""

from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

__all__ = ["BROKEN", "TextStream"]

BROKEN = "\ufffd"
"""What a piece of a character decodes to."""


class TextStream:
    """Turns the tokens of one text into pieces that can be shown at once.

    Text that may be the beginning of a stop string waits until it is known not to be; `stopped` tells that one came.
    The text ends before it, however it was cut into tokens: before the one that was complete first. Without stop
    strings the pieces and what `flush` returns are what decoding all tokens at once gives. `special`: whether special
    tokens are shown.
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, stops: Sequence[str] = (), *, special: bool = False
    ) -> None:
        self._tokenizer, self._stops, self._special = tokenizer, tuple(stops), special
        self._open: list[int] = []  # tokens since the last one that ended a character
        self._taken = 0  # characters of theirs that are certain
        self._held = ""  # certain, but maybe the beginning of a stop string
        self.stopped = False

    def push(self, token: int) -> str:
        """The text that is certain now and was not before."""
        if self.stopped:
            return ""
        self._open.append(token)
        text = self._decoded()
        certain = text.rstrip(BROKEN)
        fresh, self._taken = certain[self._taken :], len(certain)
        if certain == text:
            self._open, self._taken = [], 0
        return self._tell(fresh)

    def flush(self) -> str:
        """What still waits, when no more tokens come: also a piece of a character, which decodes to a sign for it."""
        piece = self._tell(self._decoded()[self._taken :]) + self._held
        self._open, self._taken, self._held = [], 0, ""
        return piece

    def _decoded(self) -> str:
        if not self._open:
            return ""
        return str(self._tokenizer.decode(self._open, skip_special_tokens=not self._special))

    def _tell(self, fresh: str) -> str:
        text = self._held + fresh
        found = [(at + len(stop), at) for stop in self._stops if (at := text.find(stop)) >= 0]
        if found:
            self.stopped, self._held, self._open = True, "", []
            return text[: min(found)[1]]
        most = max((len(stop) - 1 for stop in self._stops), default=0)
        lengths = range(min(most, len(text)), 0, -1)
        held = next(
            (n for n in lengths if text.endswith(tuple(stop[:n] for stop in self._stops if len(stop) > n))), 0
        )
        self._held = text[len(text) - held :]
        return text[: len(text) - held]
