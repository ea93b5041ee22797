"""One spelling of texts, and whole words in them."""

import re
import unicodedata
from collections.abc import Iterable

__all__ = ["has_word", "normalized"]


def normalized(text: str) -> str:
    """One spelling for texts that differ in case, blanks or the width of characters."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def has_word(text: str, words: Iterable[str]) -> bool:
    """Whether one of the words or phrases stands in the text as a whole, whatever the case, blanks and width.

    A number is not found inside a longer one, neither 7 in 7.4 nor 100 in 2,100, nor under a minus: 7 in -7.
    """
    text = normalized(text)
    wanted = "|".join(re.escape(normalized(word)) for word in words)
    return (
        re.search(rf"(?<!\w)(?<!\d[.,])(?<!(?<!\w)[-−](?=\d))(?:{wanted})(?!\w)(?![.,]\d)", text) is not None
    )
