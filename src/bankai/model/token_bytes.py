"""What a token is in bytes, and where it stands in the text that is shown.

A byte-level token may hold a piece of a character, which has no text of its own. Bytes tell such tokens apart, and the
bytes of all shown tokens in order are the text.
"""

import codecs
from collections.abc import Iterable

from transformers import PreTrainedTokenizerBase

from bankai.checkpoint.synth import byte_alphabet

__all__ = ["Offsets", "is_hidden", "spell", "spell_out", "token_bytes"]

_BYTES = {letter: byte for byte, letter in enumerate(byte_alphabet())}
_BROKEN, _SIGN = "\ufffd", "\ufffd".encode()


def token_bytes(tokenizer: PreTrainedTokenizerBase, token: int) -> bytes:
    """The bytes that a token decodes to; a special token's are those of its name."""
    letters = tokenizer.convert_ids_to_tokens(token)
    found = [_BYTES.get(letter) for letter in letters]
    # As the decoder has it: a token with any other letter is spelled literally.
    return bytes(byte for byte in found if byte is not None) if None not in found else letters.encode()


def is_hidden(tokenizer: PreTrainedTokenizerBase, token: int) -> bool:
    """Whether it is a special token, of which a text shows nothing."""
    return not tokenizer.decode([token], skip_special_tokens=True)


def spell(data: bytes) -> str:
    r"""The text of a token, or `bytes:\xf0\x9f` for a piece of a character, as OpenAI's API has it."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in data)


class Offsets:
    """Counts where tokens begin in a text, in characters from `start` on.

    Bytes that are no UTF-8 count as the signs that they decode to. A token that continues a character begins where the
    character does.
    """

    def __init__(self, start: int = 0) -> None:
        self._told = start  # characters that are complete
        self._pieces = codecs.getincrementaldecoder("utf-8")("replace")

    def place(self, data: bytes) -> int:
        """Where the next token begins; it has these bytes, none if it is not shown."""
        if not data:
            return self._told
        open_piece, _ = self._pieces.getstate()
        text = self._pieces.decode(data[:1])
        breaks = bool(open_piece) and text.startswith(_BROKEN) and open_piece + data[:1] != _SIGN
        begin = self._told + breaks
        self._told += len(text) + len(self._pieces.decode(data[1:]))
        return begin


def spell_out(tokens: Iterable[bytes]) -> tuple[str, tuple[int, ...]]:
    """The text of some tokens, and where each begins in it."""
    tokens, offsets = list(tokens), Offsets()
    return b"".join(tokens).decode(errors="replace"), tuple(offsets.place(data) for data in tokens)
