"""Tokens to text while they come: whole characters only, and nothing of a stop string. Does not know: models, HTTP."""

from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

__all__ = ["TextStream"]

_BROKEN = "\ufffd"  # what a piece of a character decodes to


class TextStream:
    """Turns the tokens of one text into pieces that can be shown at once.

    Text that may be the beginning of a stop string waits until it is known not to be; `stopped` tells that one came.
    The text ends before it.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, stops: Sequence[str] = ()) -> None:
        self._tokenizer, self._stops = tokenizer, tuple(stops)
        self._tokens: list[int] = []
        self._text, self._told = "", 0
        self.stopped = False

    def push(self, token: int) -> str:
        """The text that is certain now and was not before."""
        self._tokens.append(token)
        text = self._tokenizer.decode(self._tokens, skip_special_tokens=True)
        if text.endswith(_BROKEN):
            return ""
        self._text = text
        ends = [end for stop in self._stops if (end := text.find(stop)) >= 0]
        if ends:
            self.stopped, self._text = True, text[: min(ends)]
            return self.flush()
        return self._tell(len(text) - self._held())

    def flush(self) -> str:
        """What still waits, when no more tokens come."""
        return self._tell(len(self._text))

    def _held(self) -> int:
        """Length of the longest end of the text that a stop string begins with."""
        most = max((len(stop) - 1 for stop in self._stops), default=0)
        lengths = range(min(most, len(self._text)), 0, -1)
        return next((n for n in lengths if any(stop.startswith(self._text[-n:]) for stop in self._stops)), 0)

    def _tell(self, end: int) -> str:
        piece, self._told = self._text[self._told : max(end, self._told)], max(end, self._told)
        return piece
