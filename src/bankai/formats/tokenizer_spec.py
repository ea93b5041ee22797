"""What a byte-level BPE tokenizer is, as plain data, in GGUF's terms and in those of ``tokenizer.json``.

Tokens are spelled in GPT-2's byte alphabet (``Ġ`` for a space), special ones literally. The two files say the
same thing, so a specification survives GGUF -> tokenizer.json -> GGUF unchanged.

This module tokenizes nothing and does not import a tokenizer library.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from bankai.errors import ModelFormatError, UnsupportedModelError

__all__ = ["CONTROL", "NORMAL", "UNUSED", "USER_DEFINED", "TokenizerSpec"]

# Token types of llama.cpp
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)

_PREFIX = "tokenizer.ggml."


class TokenizerSpec(msgspec.Struct, frozen=True):
    """A byte-level BPE tokenizer.

    ``tokens``         text of each id
    ``merges``         ``"left right"``, best first
    ``token_types``    NORMAL, CONTROL, USER_DEFINED or UNUSED of each id
    ``pre``            pre-tokenizer by llama.cpp's name: ``qwen2``, ``gpt-2`` or ``default``
    ``bos_id`` ...     special ids; ``add_bos``: put ``bos_id`` before every text
    ``chat_template``  Jinja source
    """

    tokens: list[str]
    merges: list[str]
    token_types: list[int]
    pre: str = "qwen2"
    bos_id: int | None = None
    eos_id: int | None = None
    pad_id: int | None = None
    add_bos: bool = False
    chat_template: str | None = None

    @classmethod
    def from_gguf(cls, metadata: Mapping[str, Any]) -> "TokenizerSpec":
        """The tokenizer in GGUF ``metadata``. Raises ModelFormatError and UnsupportedModelError."""

        def get(key: str, kind: type, default: Any = None) -> Any:
            value = metadata.get(_PREFIX + key, default)
            if value is not default and type(value) is not kind:
                raise ModelFormatError(
                    f"{_PREFIX}{key} is not a {kind.__name__}; the file is damaged, get it again"
                )
            return value

        model = get("model", str)
        if model != "gpt2":
            raise UnsupportedModelError(
                f"tokenizer model {model!r} is not supported yet; only byte-level BPE (gpt2) is"
            )
        tokens = get("tokens", list, [])
        pre = get("pre", str, "default")
        spec = cls(
            tokens=tokens,
            merges=get("merges", list, []),
            token_types=get("token_type", list, [NORMAL] * len(tokens)),
            pre=_PRE_ALIASES.get(pre, pre),
            bos_id=get("bos_token_id", int),
            eos_id=get("eos_token_id", int),
            pad_id=get("padding_token_id", int),
            add_bos=get("add_bos_token", bool, False),
            chat_template=metadata.get("tokenizer.chat_template"),
        )
        return spec

    def to_gguf(self) -> dict[str, Any]:
        """GGUF metadata of this tokenizer."""
        values = {
            "model": "gpt2",
            "pre": self.pre,
            "tokens": self.tokens,
            "token_type": self.token_types,
            "merges": self.merges,
            "bos_token_id": self.bos_id,
            "eos_token_id": self.eos_id,
            "padding_token_id": self.pad_id,
            "add_bos_token": self.add_bos,
        }
        metadata = {_PREFIX + key: value for key, value in values.items() if value is not None}
        if self.chat_template is not None:
            metadata["tokenizer.chat_template"] = self.chat_template
        return metadata


_PRE_ALIASES = {"gpt2": "gpt-2"}
